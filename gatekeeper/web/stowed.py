"""The answer to a STOW-RS request: the Store Instances Response Module in DICOM JSON.

PS3.18 table 10.5.3-1 and annex I.2. The HTTP status: 200 when everything is kept, 202 when some of
it is, 409 when nothing is, and 503 when nothing is and the only reason was ours (out of resources),
so that the sender comes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatekeeper.listen.receive import OUT_OF_RESOURCES
from gatekeeper.web.upload import Stowed

REFERENCED_SOP_SEQUENCE = "00081199"
FAILED_SOP_SEQUENCE = "00081198"
OTHER_FAILURES_SEQUENCE = "0008119A"
_CLASS_UID = "00081150"
_INSTANCE_UID = "00081155"
_FAILURE_REASON = "00081197"
_RETRIEVE_URL = "00081190"


def http_status(stowed: Sequence[Stowed]) -> int:
    """Return the HTTP status to answer with."""
    if all(one.kept for one in stowed):
        return 200
    if any(one.kept for one in stowed):
        return 202
    return 503 if all(one.answer.status == OUT_OF_RESOURCES for one in stowed) else 409


def module(stowed: Sequence[Stowed]) -> dict[str, Any]:
    """Return the Store Instances Response Module; sequences without items are left out."""
    kept = [_reference(one) for one in stowed if one.kept]
    refused = [one for one in stowed if not one.kept]
    failed = [_reference(one) | _reason(one) for one in refused if one.sop_instance_uid]
    others = [_reason(one) for one in refused if not one.sop_instance_uid]
    found: dict[str, Any] = {_RETRIEVE_URL: {"vr": "UR"}}
    for tag, items in (
        (FAILED_SOP_SEQUENCE, failed),
        (REFERENCED_SOP_SEQUENCE, kept),
        (OTHER_FAILURES_SEQUENCE, others),
    ):
        if items:
            found[tag] = {"vr": "SQ", "Value": items}
    return found


def _reference(one: Stowed) -> dict[str, Any]:
    return {
        _CLASS_UID: {"vr": "UI", "Value": [one.sop_class_uid]},
        _INSTANCE_UID: {"vr": "UI", "Value": [one.sop_instance_uid]},
    }


def _reason(one: Stowed) -> dict[str, Any]:
    return {_FAILURE_REASON: {"vr": "US", "Value": [one.answer.status]}}
