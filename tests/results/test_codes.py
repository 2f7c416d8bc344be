"""Codes of our own fit their attributes and are never two things at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.results import codes

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)
PARTS = (codes.level_score, codes.level_median, codes.level_p_value)


@given(names=st.lists(NAMES, min_size=2, max_size=6, unique=True))
def test_two_levels_never_share_a_code(names: list[str]) -> None:
    """Nor a meaning; nor does a level share one with a code that has a fixed value."""
    found = [part(name) for name in names for part in PARTS]

    assert len({code.value for code in found}) == len(found)
    assert len({code.meaning for code in found}) == len(found)
    assert {code.value for code in found}.isdisjoint(code.value for code in codes.ALL_OURS)


@given(name=NAMES)
def test_a_level_is_known_by_its_codes(name: str) -> None:
    """Its three codes have one key and one name, on every run."""
    found = [codes.level_of(part(name)) for part in PARTS]

    assert [one.part for one in found if one] == list(codes.LevelPart)
    assert len({(one.key, one.name) for one in found if one}) == 1
    assert found == [codes.level_of(part(name)) for part in PARTS]


@given(name=NAMES)
def test_codes_of_levels_fit_their_attributes(name: str) -> None:
    """Code Value has 16 characters (SH), Code Meaning 64 (LO), both in every character set."""
    for part in PARTS:
        code = part(name)
        assert len(code.value) <= 16
        assert len(code.meaning) <= 64
        assert (code.value + code.meaning).isascii()
        assert "\\" not in code.meaning


def test_names_of_levels_are_in_the_meaning() -> None:
    """The code is short; what it means is said in words."""
    assert codes.level_p_value("features.global") != codes.level_p_value("features.focal")
    assert codes.level_p_value("features.global").meaning == (
        "Conformal p-value, level 'features.global'"
    )


def test_a_code_that_is_no_levels_is_of_no_level() -> None:
    """Fixed codes, and those of another scheme, are not taken for a level's."""
    for code in codes.ALL_OURS:
        assert codes.level_of(code) is None
    other = codes.level_score("global")
    assert codes.level_of(other._replace(scheme_designator="99OTHER")) is None
