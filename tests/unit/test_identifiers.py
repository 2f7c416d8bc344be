"""Uid, AeTitle and Digest refuse what DICOM refuses, at the edge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import IdentifierError
from gatekeeper.identifiers import AeTitle, Digest, Uid


@pytest.mark.parametrize("text", ["1.2.840.10008.1.1", "2.25.0", "1.2.3\0", "0.1", "1" * 64])
def test_a_valid_uid_is_kept_without_its_padding(text: str) -> None:
    """What PS3.5 9.1 allows is a Uid."""
    assert Uid.parse(text) == text.rstrip("\0")


@pytest.mark.parametrize(
    "text",
    ["", "1..2", ".1", "1.", "1.02", "../../etc/x", "1.2.a", "1" * 65, "1.2\n", " 1.2", "6f9b-a1"],
)
def test_an_invalid_uid_is_refused(text: str) -> None:
    """Traversal, letters, leading zeros and over-long values never become a Uid."""
    with pytest.raises(IdentifierError, match=r"PS3\.5"):
        Uid.parse(text)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_a_derived_uid_is_valid_and_always_the_same(parts: list[str]) -> None:
    """The same parts give the same UID, and it is one."""
    assert Uid.parse(Uid.derive(*parts)) == Uid.derive(*parts)


@given(st.lists(st.text(max_size=6), max_size=4), st.lists(st.text(max_size=6), max_size=4))
def test_different_parts_give_different_uids(one: list[str], other: list[str]) -> None:
    """Moving a character from one part to the next changes the UID."""
    assert (Uid.derive(*one) == Uid.derive(*other)) == (one == other)


def test_an_ae_title_loses_its_padding_and_nothing_else() -> None:
    """Leading and trailing spaces are not significant (PS3.5 6.2)."""
    assert AeTitle.parse("  CT 1  ") == "CT 1"


@pytest.mark.parametrize("text", ["", "   ", "A" * 17, "A\\B", "A\nB", "CÄSAR"])
def test_an_invalid_ae_title_is_refused(text: str) -> None:
    """Seventeen characters, backslashes, controls and non-ASCII are refused."""
    with pytest.raises(IdentifierError):
        AeTitle.parse(text)


def test_a_digest_is_64_lower_case_hexadecimal_characters() -> None:
    """Anything else cannot become a path."""
    assert Digest.parse(Digest.of(b"x")) == Digest.of(b"x")
    with pytest.raises(ValueError, match="digest"):
        Digest.parse("../" + "a" * 61)
