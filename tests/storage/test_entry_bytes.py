"""Entries and replies as bytes: they come out as they went in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.entries import Bearer, Entered, Entry
from storage.entry_bytes import (
    pack_entered,
    pack_entry,
    pack_trouble,
    unpack_entry,
    unpack_reply,
)
from storage.instances import Recorded
from storage.records import Instance

TEXT = st.text(st.characters(exclude_characters="\0"), max_size=20)
ROW = st.integers(0, 2**62) | st.none()


@given(
    st.builds(
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
    ),
    st.floats(allow_nan=False),
)
def test_an_entry_comes_out_as_it_went_in(entry: Entry, deadline: float) -> None:
    """Whatever its texts hold but NUL, which no identifier and no title can."""
    assert unpack_entry(pack_entry(entry, deadline)) == (entry, deadline)


@given(
    st.builds(
        Entered,
        st.builds(Recorded, st.booleans(), st.booleans(), st.booleans()),
        ROW,
        st.booleans(),
    ),
    st.integers(1, 255),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_reply_comes_out_as_it_went_in(entered: Entered, trouble: int, words: str) -> None:
    """What was found, or what was wrong."""
    assert unpack_reply(pack_entered(entered)) == entered
    assert unpack_reply(pack_trouble(trouble, words)) == (trouble, words)


def test_what_is_not_whole_is_refused(an_instance: Callable[..., Instance]) -> None:
    """No entry is made of a part of one, nor of one whose texts cannot be told apart."""
    entry = Entry("owner/1", an_instance(1), None)
    for data in (b"", pack_entry(entry, 1.0)[:10], pack_entry(entry, 1.0)[:40]):
        with pytest.raises(ValueError, match=r"head|not enough"):
            unpack_entry(data)
    odd = replace(entry, instance=replace(an_instance(1), modality="M\0R"))
    with pytest.raises(ValueError, match="NUL"):
        pack_entry(odd, 1.0)
    with pytest.raises(ValueError, match="head"):
        unpack_reply(b"\0")
