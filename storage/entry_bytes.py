"""Entries, and what came of them, as bytes: between a listener and the recorder.

Both are always of one release. An entry is a head of numbers and then its texts, with a NUL between
them; a reply is a head, and after it a text where something went wrong.
"""

from __future__ import annotations

import operator
import struct

from storage.entries import Bearer, Entered, Entry
from storage.instances import Recorded
from storage.records import Instance

_NOBODY = -1
"""Stands for an association that has no row yet, or for none."""

# Deadline, size, association, flags.
_ENTRY = struct.Struct("<dqqB")
_OWN_RESULT, _PRIOR, _BEARER, _LINKED, _VOUCHED = 1, 2, 4, 8, 16
_TEXTS = operator.attrgetter(
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "study_instance_uid",
    "series_instance_uid",
    "modality",
    "digest",
    "source_ae",
)

# Trouble, association, flags.
_REPLY = struct.Struct("<BqB")
_NO_TROUBLE = 0
_NEW, _CONFLICT, _REMOVED, _OWN = 1, 2, 4, 8


def pack_entry(entry: Entry, deadline: float) -> bytes:
    """Return an entry as bytes.

    Args:
        entry: of its instance, what the database tells (`received_at`, `conflict`, `removed_at`) is
            left out.
        deadline: monotonic time after which it is not to be entered.

    Raises:
        ValueError: if a text has a NUL in it.
    """
    instance, bearer = entry.instance, entry.bearer
    flags = _OWN_RESULT * instance.own_result | _PRIOR * instance.prior | _VOUCHED * entry.vouched
    texts = [entry.slot, *_TEXTS(instance)]
    association = _NOBODY
    if bearer is not None:
        flags |= _BEARER | _LINKED * bearer.linked
        texts += bearer.calling_ae, bearer.address
        association = _NOBODY if bearer.id is None else bearer.id
    head = _ENTRY.pack(deadline, instance.size, association, flags)
    joined = "\0".join(texts)
    if joined.count("\0") >= len(texts):
        raise ValueError("an entry with a NUL in a text")
    return head + joined.encode("utf-8", "surrogatepass")


def unpack_entry(data: bytes) -> tuple[Entry, float]:
    """Return the entry and the deadline of `pack_entry`.

    Raises:
        ValueError: if it is not whole.
    """
    try:
        deadline, size, association, flags = _ENTRY.unpack_from(data)
    except struct.error:
        raise ValueError("an entry without its head") from None
    slot, *texts = data[_ENTRY.size :].decode("utf-8", "surrogatepass").split("\0")
    bearer = None
    if flags & _BEARER:
        *texts, calling_ae, address = texts
        row = None if association == _NOBODY else association
        bearer = Bearer(row, calling_ae, address, bool(flags & _LINKED))
    uid, sop_class, syntax, study, series, modality, digest, source = texts
    own, prior = bool(flags & _OWN_RESULT), bool(flags & _PRIOR)
    instance = Instance(
        uid, sop_class, syntax, study, series, modality, digest, size, source, own, prior
    )
    return Entry(slot, instance, bearer, bool(flags & _VOUCHED)), deadline


def pack_entered(entered: Entered) -> bytes:
    """Return what was found on entering as bytes."""
    found = entered.recorded
    flags = _NEW * found.new | _CONFLICT * found.conflict | _REMOVED * found.removed
    flags |= _OWN * entered.own_result
    association = _NOBODY if entered.association is None else entered.association
    return _REPLY.pack(_NO_TROUBLE, association, flags)


def pack_trouble(trouble: int, text: str) -> bytes:
    """Return as bytes why an entry was not made: a number from 1 on, and words."""
    return _REPLY.pack(trouble, _NOBODY, 0) + text.encode("utf-8", "replace")


def unpack_reply(data: bytes) -> Entered | tuple[int, str]:
    """Return what `pack_entered` was given, or `pack_trouble`.

    Raises:
        ValueError: if it is not whole.
    """
    try:
        trouble, association, flags = _REPLY.unpack_from(data)
    except struct.error:
        raise ValueError("a reply without its head") from None
    if trouble != _NO_TROUBLE:
        return trouble, data[_REPLY.size :].decode()
    found = Recorded(bool(flags & _NEW), bool(flags & _CONFLICT), bool(flags & _REMOVED))
    row = None if association == _NOBODY else association
    return Entered(found, row, bool(flags & _OWN))
