"""What the answer to a STOW-RS request means for each object that was in it: pure decisions.

PS3.18 section 10.5.3 and annex I. An object counts as stored only when the answer lists it as
stored; reasons of failure and warning are C-STORE statuses, so `statuses` judges them. An answer
without such a list is judged by its HTTP status:

=================================  ============================================================
HTTP status                        what becomes of the objects
=================================  ============================================================
200, 202 without a list            retried briefly: nothing says that they are stored
400, 409, 422, 500                 asked again in halves, so that one bad object holds up no
                                   other; alone: retried briefly, 500 to the end of the attempts
413, 415                           likewise; alone: set aside
408, 429, 502, 503, 504            the node is busy or away: the attempt ends, and the next one
                                   comes no sooner than Retry-After asks for
401, 403, 404, 3xx, any other      no object's fault: all are retried briefly, and a person looks
=================================  ============================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from gatekeeper.errors import TransportError
from gatekeeper.send.statuses import Disposition, judge
from gatekeeper.send.transport import InstanceStatus, SendObject

REFERENCED_SOP = "00081199"
FAILED_SOP = "00081198"
OTHER_FAILURES = "0008119A"
_INSTANCE_UID = "00081155"
_FAILURE_REASON = "00081197"
_WARNING_REASON = "00081196"

BUSY = frozenset({408, 429, 502, 503, 504})
DIVISIBLE = {
    400: Disposition.RETRY_BRIEFLY,
    409: Disposition.RETRY_BRIEFLY,
    413: Disposition.DEAD,
    415: Disposition.DEAD,
    422: Disposition.RETRY_BRIEFLY,
    500: Disposition.RETRY,
}
_DUPLICATE = 0x0111
MEANING = {
    400: "it calls the request bad",
    401: "it does not know our credentials",
    403: "it does not let us store",
    404: "no DICOMweb service at its URL",
    409: "it stored none of them",
    413: "it is too large for the node",
    415: "the node does not take this kind of object",
}


class NodeBusy(TransportError):
    """A node that asks to be called later.

    Args:
        text: for people.
        retry_after: seconds that it asks us to wait; None when it does not say.
    """

    def __init__(self, text: str, retry_after: float | None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of the objects of one request.

    Attributes:
        answers: one for each object; none when the objects are to be asked about in halves.
        lasting: whether objects that were not sent yet would fare the same.
    """

    answers: tuple[InstanceStatus, ...]
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class _Listed:
    """The lists of an answer: reasons by SOP Instance UID, None where there is none."""

    stored: dict[str, int | None]
    failed: dict[str, int | None]
    others: tuple[int | None, ...]


def judge_answer(
    sent: Sequence[SendObject], status: int, body: bytes | None, retry_after: float | None
) -> Judged:
    """Return what becomes of the objects of a request.

    Args:
        sent: the objects, each of another SOP Instance UID.
        status: HTTP status of the answer.
        body: the answer, None when it was too long to read.
        retry_after: seconds that the node asks to wait.

    Raises:
        NodeBusy: if the node is to be called later.
    """
    listed = _listed(body)
    if status in {200, 202} or (listed is not None and _names(listed, sent)):
        return Judged(tuple(_one(item, status, listed, alone=len(sent) == 1) for item in sent))
    meaning = MEANING.get(status)
    text = f"HTTP {status}" + (f": {meaning}" if meaning else "")
    if status in BUSY:
        raise NodeBusy(f"the node answered {text}", retry_after)
    if status in DIVISIBLE and len(sent) > 1:
        return Judged(())
    disposition = DIVISIBLE.get(status, Disposition.RETRY_BRIEFLY)
    answers = tuple(InstanceStatus(item, None, disposition, text) for item in sent)
    return Judged(answers, lasting=status not in DIVISIBLE)


def _one(item: SendObject, status: int, listed: _Listed | None, *, alone: bool) -> InstanceStatus:
    if listed is None:
        return _unlisted(item, f"HTTP {status} without a list of what is stored")
    uid = item.sop_instance_uid
    if uid in listed.failed:
        return _failed(item, listed.failed[uid])
    if uid in listed.stored:
        warning = listed.stored[uid]
        disposition, reason = judge(warning or 0)
        if not disposition.stored:
            # Listed as stored: the reason can only be a warning that no list has.
            disposition = Disposition.WARNED
        return InstanceStatus(item, warning or 0, disposition, reason)
    if alone and listed.others:
        return _failed(item, listed.others[0])
    return _unlisted(item, f"HTTP {status}, and the answer does not list the object")


def _failed(item: SendObject, status: int | None) -> InstanceStatus:
    disposition, reason = judge(status)
    if disposition.stored and status != _DUPLICATE:
        return _unlisted(item, f"listed as failed, with the reason {status or 0:04X}")
    return InstanceStatus(item, status, disposition, reason)


def _unlisted(item: SendObject, reason: str) -> InstanceStatus:
    return InstanceStatus(item, None, Disposition.RETRY_BRIEFLY, reason)


def _names(listed: _Listed, sent: Sequence[SendObject]) -> bool:
    uids = {item.sop_instance_uid for item in sent}
    alone = len(sent) == 1 and bool(listed.others)
    return alone or not uids.isdisjoint(listed.stored.keys() | listed.failed.keys())


def _listed(body: bytes | None) -> _Listed | None:
    """Read a Store Instances Response Module (PS3.18 table 10.5.3-1) in DICOM JSON, or None."""
    try:
        found = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and len(cast(list[Any], found)) == 1:
        found = cast(list[Any], found)[0]
    if not isinstance(found, dict):
        return None
    module = cast(dict[str, Any], found)
    stored = {
        uid: _number(item, _WARNING_REASON)
        for item in _values(module, REFERENCED_SOP)
        if (uid := _text(item, _INSTANCE_UID))
    }
    failed = {
        uid: _number(item, _FAILURE_REASON)
        for item in _values(module, FAILED_SOP)
        if (uid := _text(item, _INSTANCE_UID))
    }
    others = tuple(_number(item, _FAILURE_REASON) for item in _values(module, OTHER_FAILURES))
    return _Listed(stored, failed, others)


def _values(item: Any, tag: str) -> Iterator[Any]:
    """Yield the values of an attribute in DICOM JSON (PS3.18 F.2), whatever else is there."""
    attribute = cast(dict[str, Any], item).get(tag) if isinstance(item, dict) else None
    values = cast(dict[str, Any], attribute).get("Value") if isinstance(attribute, dict) else None
    if isinstance(values, list):
        yield from cast(list[Any], values)


def _text(item: Any, tag: str) -> str:
    return next((value for value in _values(item, tag) if isinstance(value, str)), "")


def _number(item: Any, tag: str) -> int | None:
    for value in _values(item, tag):
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF:
            return value
    return None
