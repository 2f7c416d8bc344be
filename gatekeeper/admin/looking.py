"""Looking: every look at a patient's study is noted, without a word about the patient.

One place that all pages of a study go through, so that who looked is in the log of requests, and
wherever else looks are to be reported.
"""

from __future__ import annotations

from fastapi import Request

from gatekeeper.admin import auditing
from gatekeeper.admin.routing import principal_of
from gatekeeper.log import get_logger
from gatekeeper.web.guard import audit_of

log = get_logger()


def looked_at(request: Request, study_uid: str) -> None:
    """Note that whoever is signed in looks at a study; once for a page, not for its live parts.

    Args:
        request: of the page; its route is named as it was declared, never as it was typed.
        study_uid: the Study Instance UID, of a study that is known here.
    """
    audit = audit_of(request.scope)
    audit.study = study_uid
    log.info(
        "study_looked_at", study=study_uid, route=audit.route, token=principal_of(request).name
    )
    auditing.looked(request, study_uid)
