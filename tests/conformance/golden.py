"""The golden conformance statement: that of one documented configuration, as it was last looked at.

The example is a hospital with two scanners, an archive that confirms and is asked for priors, a
downstream AI, a workstation and a cloud archive that is called by DICOMweb. TLS and the web service
are open. It lies in ``docs/``, where it is an example for the reader, too.

The statement says what the code's tables say. So a change of what the program negotiates, answers
or writes shows here, and in docs, as a difference. After one that is meant, and looked at: ``make
golden``. It holds the version, so that a release makes it anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Connection

from gatekeeper.conformance import as_markdown
from gatekeeper.conformance.document import Document
from gatekeeper.conformance.site import Site
from gatekeeper.conformance.statement import statement
from gatekeeper.peering import with_roles
from gatekeeper.rules.document import parse_rule, write_rule
from gatekeeper.settings import Settings
from storage import nodes, rules
from storage.records import Confirm, Node, Retrieve, Role

FILE = Path(__file__).resolve().parents[2] / "docs" / "conformance-statement.md"
PRIVATE_CLASS = "1.3.46.670589.11.0.0.12.1"

RULES = (
    {
        "name": "priors of every MR",
        "when": ["modalities is MR"],
        "then": [{"priors": "PACS", "count": 2}],
    },
    {
        "name": "trauma",
        "when": ["StudyDescription contains trauma"],
        "then": [{"forward": "AI"}],
    },
)


def settings() -> Settings:
    """Return the settings of the example."""
    plain = Settings()
    return dataclasses.replace(
        plain,
        listen=dataclasses.replace(
            plain.listen, tls_port=2762, private_sop_classes=(PRIVATE_CLASS,)
        ),
        tls=dataclasses.replace(
            plain.tls,
            certificate="/etc/gatekeeper/gate.pem",
            key="/etc/gatekeeper/gate.key",
            ca="/etc/gatekeeper/ca.pem",
        ),
        web=dataclasses.replace(plain.web, port=8042, host="10.1.2.1"),
        send=dataclasses.replace(plain.send, web_credentials="/etc/gatekeeper/credentials.toml"),
        results=dataclasses.replace(plain.results, institution="Example Hospital"),
    )


def example_nodes() -> Iterable[Node]:
    """Return the nodes of the example."""
    yield dataclasses.replace(
        with_roles(Node("MR1", "10.1.2.3", 104), (Role.SCANNER,)), sop_classes=("MR", "SR")
    )
    yield dataclasses.replace(
        with_roles(Node("CT1", "ct1.hospital.example", 104), (Role.SCANNER,)), tls=True
    )
    yield dataclasses.replace(
        with_roles(Node("PACS", "pacs.hospital.example", 2762), (Role.ARCHIVE,)),
        receives_studies=True,
        confirm=Confirm.COMMITMENT,
        retrieve=Retrieve.MOVE,
        tls=True,
        objects=("report", "montage", "heatmap", "segmentation", "parametric-map"),
    )
    yield dataclasses.replace(
        with_roles(Node("AI", "10.1.9.20", 104), (Role.DOWNSTREAM,)), receives_studies=False
    )
    yield dataclasses.replace(
        with_roles(Node("READING", "10.1.9.30", 104), (Role.WORKSTATION,)),
        language="de",
        objects=("plain-report", "presentation", "key-objects"),
    )
    yield Node(
        "CLOUD", "pacs.example", 443, receives_results=True, url="https://pacs.example/dicom-web"
    )
    yield Node("OLD", "10.1.9.99", 104, may_send=True, enabled=False)


def enter(tx: Connection) -> None:
    """Enter the example's nodes and rules."""
    for node in example_nodes():
        nodes.save(tx, node)
    for stated in RULES:
        document = write_rule(parse_rule(stated))
        rules.save(tx, document.pop("name"), document, enabled=True)


def site() -> Site:
    """Return the example as it is read from a database."""
    known = sorted(example_nodes(), key=lambda node: node.ae_title)
    return Site(
        settings(),
        tuple(node for node in known if node.enabled),
        frozenset({"AI"}),
        frozenset({"PACS"}),
    )


def document() -> Document:
    """Return the example's statement."""
    return statement(site())


def written() -> str:
    """Return the example's statement as Markdown."""
    return as_markdown.render(document())


def write() -> None:
    """Make the golden file anew."""
    FILE.write_text(written(), encoding="utf-8")


if __name__ == "__main__":
    write()
