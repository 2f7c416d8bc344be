"""Entries, and what came of them, as bytes: between a listener and the recorder.

Both are always of one release. A message is a deadline and then entries, each a head of numbers and
its texts, with a NUL between them; a reply has, in the same order, a head for each entry and after
it a text where something went wrong.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from storage.entries import Bearer, Entered, Entry
from storage.instances import Recorded
from storage.records import Instance

_NOBODY = -1
"""Stands for an association that has no row yet, or for none."""

_DEADLINE = struct.Struct("<d")
# Bytes of the texts, size, association, flags.
_ENTRY = struct.Struct("<IqqB")
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

# Bytes of the text, trouble, association, flags.
_REPLY = struct.Struct("<IBqB")
_NO_TROUBLE = 0
_NEW, _CONFLICT, _REMOVED, _OWN = 1, 2, 4, 8


def pack_entries(entries: Sequence[Entry], deadline: float) -> bytes:
    """Return entries as one message.

    Args:
        entries: of an instance, what the database tells (`received_at`, `conflict`, `removed_at`)
            is left out.
        deadline: monotonic time after which they are not to be entered.

    Raises:
        ValueError: if a text has a NUL in it.
    """
    return _DEADLINE.pack(deadline) + b"".join(map(_packed, entries))


def _packed(entry: Entry) -> bytes:
    instance, bearer = entry.instance, entry.bearer
    flags = _OWN_RESULT * instance.own_result | _PRIOR * instance.prior | _VOUCHED * entry.vouched
    texts = [entry.slot, *_TEXTS(instance)]
    association = _NOBODY
    if bearer is not None:
        flags |= _BEARER | _LINKED * bearer.linked
        texts += bearer.calling_ae, bearer.address
        association = _NOBODY if bearer.id is None else bearer.id
    joined = "\0".join(texts)
    if joined.count("\0") >= len(texts):
        raise ValueError("an entry with a NUL in a text")
    text = joined.encode("utf-8", "surrogatepass")
    return _ENTRY.pack(len(text), instance.size, association, flags) + text


def unpack_entries(message: bytes) -> tuple[list[Entry], float]:
    """Return the entries and the deadline of `pack_entries`.

    Raises:
        ValueError: if it is not whole.
    """
    if len(message) < _DEADLINE.size:
        raise ValueError("a message without its head")
    [deadline] = _DEADLINE.unpack_from(message)
    return [_unpacked(*one) for one in _parts(message, _DEADLINE.size, _ENTRY)], deadline


def _unpacked(text: bytes, size: int, association: int, flags: int) -> Entry:
    slot, *texts = text.decode("utf-8", "surrogatepass").split("\0")
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
    return Entry(slot, instance, bearer, bool(flags & _VOUCHED))


def pack_replies(replies: Sequence[Entered | tuple[int, str]]) -> bytes:
    """Return as one message what was found on entering each of several entries.

    Args:
        replies: for one that was not made, the number of a trouble, from 1 on, and words.
    """
    return b"".join(_reply(one) for one in replies)


def _reply(one: Entered | tuple[int, str]) -> bytes:
    if isinstance(one, tuple):
        trouble, words = one
        text = words.encode("utf-8", "replace")
        return _REPLY.pack(len(text), trouble, _NOBODY, 0) + text
    found = one.recorded
    flags = _NEW * found.new | _CONFLICT * found.conflict | _REMOVED * found.removed
    flags |= _OWN * one.own_result
    association = _NOBODY if one.association is None else one.association
    return _REPLY.pack(0, _NO_TROUBLE, association, flags)


def unpack_replies(message: bytes) -> list[Entered | tuple[int, str]]:
    """Return what `pack_replies` was given.

    Raises:
        ValueError: if it is not whole.
    """
    replies: list[Entered | tuple[int, str]] = []
    for text, trouble, association, flags in _parts(message, 0, _REPLY):
        if trouble != _NO_TROUBLE:
            replies.append((trouble, text.decode()))
            continue
        found = Recorded(bool(flags & _NEW), bool(flags & _CONFLICT), bool(flags & _REMOVED))
        row = None if association == _NOBODY else association
        replies.append(Entered(found, row, bool(flags & _OWN)))
    return replies


def _parts(message: bytes, start: int, head: struct.Struct) -> Iterator[tuple[Any, ...]]:
    """Yield the text of each part of a message and the numbers of its head but the first, which is
    the length of the text."""
    end = len(message)
    while start < end:
        if end - start < head.size:
            raise ValueError("a part of a message without its head")
        length, *numbers = head.unpack_from(message, start)
        start += head.size + length
        if start > end:
            raise ValueError("a part of a message is not whole")
        yield (message[start - length : start], *numbers)
