"""The statement: its chapters and annexes, in the order of PS3.2 annex N."""

from __future__ import annotations

import gatekeeper
from gatekeeper.conformance.communication import communication
from gatekeeper.conformance.configuration import configuration
from gatekeeper.conformance.document import Code, Document
from gatekeeper.conformance.objects import coded, created
from gatekeeper.conformance.overview import NOTICE, introduction, model, overview
from gatekeeper.conformance.security import character_sets, security
from gatekeeper.conformance.services import services
from gatekeeper.conformance.site import Site


def statement(site: Site) -> Document:
    """Return the conformance statement of a configuration."""
    return Document(
        "DICOM Conformance Statement",
        (
            ("Product", "Gatekeeper"),
            ("Version", gatekeeper.__version__),
            ("AE title", Code(site.ae_title)),
            ("Institution", site.settings.results.institution or "not stated"),
        ),
        NOTICE,
        (
            overview(site),
            introduction(),
            model(site),
            services(site),
            configuration(site),
            communication(site),
            security(site),
            character_sets(site),
        ),
        (created(), coded()),
    )
