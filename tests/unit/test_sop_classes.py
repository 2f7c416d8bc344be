"""SOP classes by UID, keyword or group."""

from __future__ import annotations

import pytest

from gatekeeper.sop_classes import GROUPS, UnknownSopClassError, expand, name_of, parse, takes

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"


def test_a_class_is_named_by_uid_keyword_or_group_in_any_case() -> None:
    """Entries are kept as the standard or we write them, each once."""
    assert parse(["mr", "MR", " 1.2.3 ", "CTImageStorage"]) == ("MR", "1.2.3", "CTImageStorage")
    assert takes(("CTImageStorage",), CT)
    assert takes(("1.2.3",), "1.2.3")


def test_no_entry_and_all_mean_every_class() -> None:
    """What is not limited takes what nobody has heard of, too."""
    assert parse(["MR", "all"]) == ()
    assert expand(()) is None
    assert takes((), "1.2.3.4.5")


@pytest.mark.parametrize(
    ("entry", "within", "without"),
    [
        ("MR", [MR, ENHANCED_MR], [CT, SECONDARY_CAPTURE, REPORT]),
        ("CT", [CT], [MR, REPORT]),
        ("images", [MR, ENHANCED_MR, CT, SECONDARY_CAPTURE], [REPORT]),
        ("SR", [REPORT], [MR, SECONDARY_CAPTURE]),
        ("SC", [SECONDARY_CAPTURE], [MR]),
    ],
)
def test_a_group_has_the_classes_that_its_name_says(
    entry: str, within: list[str], without: list[str]
) -> None:
    """Enhanced images are with the modality's, reports are no images."""
    assert all(takes((entry,), uid) for uid in within)
    assert not any(takes((entry,), uid) for uid in without)


def test_every_group_has_classes() -> None:
    """No pattern is a misprint."""
    assert all(expand((name,)) for name in GROUPS)


@pytest.mark.parametrize("entry", ["", "MRI", "1.2.", "mrimagestorage", "1" * 65])
def test_what_is_no_class_is_refused_with_the_choices(entry: str) -> None:
    """A misprint would else reject everything a scanner sends."""
    with pytest.raises(UnknownSopClassError, match="MRImageStorage"):
        parse([entry])


def test_a_class_has_a_name_for_people() -> None:
    """The standard's, and the UID where it has none."""
    assert name_of(MR) == "MR Image"
    assert name_of("1.2.3") == "1.2.3"
