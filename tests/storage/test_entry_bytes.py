"""Entries and replies as bytes: they come out as they went in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.entries import Bearer, Entered, Entry
from storage.entry_bytes import (
    pack_entries,
    pack_replies,
    unpack_entries,
    unpack_replies,
)
from storage.instances import Recorded
from storage.records import Instance

TEXT = st.text(st.characters(exclude_characters="\0"), max_size=20)
ROW = st.integers(0, 2**62) | st.none()


ENTRY = st.builds(
    Entry,
    TEXT,
    st.builds(
        Instance,
        *[TEXT] * 7,
        size=st.integers(0, 2**62),
        source_ae=TEXT,
        own_result=st.booleans(),
        prior=st.booleans(),
    ),
    st.none() | st.builds(Bearer, ROW, TEXT, TEXT, st.booleans()),
    st.booleans(),
)
FOUND = st.builds(
    Entered, st.builds(Recorded, st.booleans(), st.booleans(), st.booleans()), ROW, st.booleans()
)
TROUBLE = st.tuples(st.integers(1, 255), st.text(st.characters(exclude_categories=["Cs"])))


@given(st.lists(ENTRY, max_size=5), st.floats(allow_nan=False))
def test_entries_come_out_as_they_went_in(entries: list[Entry], deadline: float) -> None:
    """Whatever their texts hold but NUL, which no identifier and no title can."""
    assert unpack_entries(pack_entries(entries, deadline)) == (entries, deadline)


@given(st.lists(FOUND | TROUBLE, max_size=5))
def test_replies_come_out_as_they_went_in(replies: list[Entered | tuple[int, str]]) -> None:
    """What was found, or what was wrong, of each."""
    assert unpack_replies(pack_replies(replies)) == replies


def test_what_is_not_whole_is_refused(an_instance: Callable[..., Instance]) -> None:
    """No entry is made of a part of one, nor of one whose texts cannot be told apart."""
    entry = Entry("owner/1", an_instance(1), None)
    whole = pack_entries([entry, entry], 1.0)
    for size in (0, 4, 20, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match=r"head|not whole"):
            unpack_entries(whole[:size])
    odd = replace(entry, instance=replace(an_instance(1), modality="M\0R"))
    with pytest.raises(ValueError, match="NUL"):
        pack_entries([odd], 1.0)
    for size in (3, len(pack_replies([(1, "gone")])) - 1):
        with pytest.raises(ValueError, match=r"head|not whole"):
            unpack_replies(pack_replies([(1, "gone")])[:size])
