"""What the messages of the Storage Commitment Push Model say (PS3.4 annex J): pure.

The N-ACTION names instances under a Transaction UID (table J.3-1); the N-EVENT-REPORT says for
each of them that it is kept, or why not (table J.3-2; failure reasons PS3.3 C.14.1.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatekeeper import elements
from gatekeeper.elements import Element, NotReadable
from storage.records import CommitmentItem

PUSH_MODEL = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its well-known SOP Instance."""
REQUEST_ACTION = 1
"""Action Type ID: request storage commitment."""
ALL_KEPT, FAILURES_EXIST = 1, 2
"""Event Type IDs: success, and complete with failures."""

PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
CLASS_CONFLICT = 0x0119

LARGEST_DATA_SET = 16 * 1024 * 1024
"""Bytes; about 80,000 references."""

_TRANSACTION_UID = 0x00081195
_FAILURE_REASON = 0x00081197
_FAILED, _REFERENCED = 0x00081198, 0x00081199
_CLASS, _INSTANCE = 0x00081150, 0x00081155

REASONS = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such instance",
    0x0213: "resource limitation",
    0x0122: "SOP class not supported",
    CLASS_CONFLICT: "class and instance disagree",
    0x0131: "duplicate transaction UID",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request for commitment: its Transaction UID and the instances."""

    transaction_uid: str
    items: tuple[CommitmentItem, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A report: what is kept, and why the rest is not.

    Attributes:
        transaction_uid: of the request.
        kept: SOP Instance UIDs.
        failures: Failure Reason by SOP Instance UID.
    """

    transaction_uid: str
    kept: frozenset[str]
    failures: Mapping[str, int]

    def missing(self, expected: Sequence[str]) -> dict[str, str]:
        """Return why each of the expected instances is not kept; one not mentioned is not."""
        return {
            uid: reason_text(self.failures[uid]) if uid in self.failures else "not in the report"
            for uid in expected
            if uid in self.failures or uid not in self.kept
        }


def reason_text(failure: int) -> str:
    """Return a Failure Reason in words, its number first."""
    return f"{failure:04X} {REASONS.get(failure, 'reason on no list of the standard')}"


def action(request: Request, transfer_syntax_uid: str) -> bytes:
    """Return the Action Information of a request."""
    references = [_reference(item) for item in request.items]
    return elements.write(
        [
            elements.uid(_TRANSACTION_UID, request.transaction_uid),
            Element(_REFERENCED, "SQ", references),
        ],
        transfer_syntax_uid,
    )


def event(
    transaction_uid: str, items: Sequence[CommitmentItem], transfer_syntax_uid: str
) -> tuple[int, bytes]:
    """Return Event Type ID and Event Information of a report on `items`."""
    kept = [_reference(item) for item in items if item.failure is None]
    failed = [
        [*_reference(item), elements.number(_FAILURE_REASON, item.failure)]
        for item in items
        if item.failure is not None
    ]
    body = [elements.uid(_TRANSACTION_UID, transaction_uid)]
    if failed:
        body.append(Element(_FAILED, "SQ", failed))
    if kept:
        body.append(Element(_REFERENCED, "SQ", kept))
    kind = FAILURES_EXIST if failed else ALL_KEPT
    return kind, elements.write(body, transfer_syntax_uid)


def read_action(data: bytes, transfer_syntax_uid: str) -> Request:
    """Read the Action Information of a request.

    Raises:
        NotReadable: naming what is missing or cannot be read.
    """
    dataset = elements.read(data, transfer_syntax_uid, LARGEST_DATA_SET)
    transaction = elements.text_of(dataset, _TRANSACTION_UID)
    items = tuple(
        CommitmentItem(elements.text_of(one, _CLASS), elements.text_of(one, _INSTANCE))
        for one in elements.items_of(dataset, _REFERENCED)
    )
    if not _is_uid(transaction):
        raise NotReadable("no Transaction UID")
    if not items:
        raise NotReadable("no Referenced SOP Sequence")
    if not all(_is_uid(one.sop_class_uid) and _is_uid(one.sop_instance_uid) for one in items):
        raise NotReadable("a reference without SOP Class UID or SOP Instance UID")
    return Request(transaction, items)


def read_event(data: bytes, transfer_syntax_uid: str) -> Report:
    """Read the Event Information of a report.

    Raises:
        NotReadable: naming what is missing or cannot be read.
    """
    dataset = elements.read(data, transfer_syntax_uid, LARGEST_DATA_SET)
    transaction = elements.text_of(dataset, _TRANSACTION_UID)
    if not _is_uid(transaction):
        raise NotReadable("no Transaction UID")
    kept = (elements.text_of(one, _INSTANCE) for one in elements.items_of(dataset, _REFERENCED))
    failures = {
        elements.text_of(one, _INSTANCE): (
            elements.number_of(one, _FAILURE_REASON) or PROCESSING_FAILURE
        )
        for one in elements.items_of(dataset, _FAILED)
    }
    return Report(transaction, frozenset(kept), failures)


def _reference(item: CommitmentItem) -> list[Element]:
    return [
        elements.uid(_CLASS, item.sop_class_uid),
        elements.uid(_INSTANCE, item.sop_instance_uid),
    ]


def _is_uid(text: str) -> bool:
    """Return whether a text fits where UIDs go; odd characters are carried as instances' are."""
    return 0 < len(text) <= 64 and "\\" not in text and text.isprintable()
