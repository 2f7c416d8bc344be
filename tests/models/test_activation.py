"""Profiles are named in one way, and the choice that an earlier version kept is read or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models import activation
from models.activation import ACTIVE, ProfileKey
from models.errors import ModelError

T1 = ProfileKey("MR", "BRAIN", "T1")
FLAIR = ProfileKey("MR", "BRAIN", "FLAIR")


def test_a_choice_is_read_as_an_earlier_version_wrote_it(tmp_path: Path) -> None:
    """Profiles and names; its history is not needed any more."""
    active = {"MR/BRAIN/T1": "gate", "MR/BRAIN/FLAIR": ""}
    content = {"format": 1, "active": active, "history": [{"at": "", "who": "anna@gate"}]}
    (tmp_path / ACTIVE).write_text(json.dumps(content))

    assert activation.read(tmp_path) == {T1: "gate", FLAIR: ""}


def test_a_folder_without_a_choice_has_none(tmp_path: Path) -> None:
    """The defaults answer then."""
    assert activation.read(tmp_path) == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "active": {}, "history": []}',
        '{"format": 1, "active": {"MR": "x"}, "history": []}',
        '{"format": 1, "active": {"MR/BRAIN/T1": 3}, "history": []}',
        "\x00",
    ],
)
def test_what_is_not_a_choice_is_refused(tmp_path: Path, content: str) -> None:
    """A damaged file is an error, never an empty choice."""
    (tmp_path / ACTIVE).write_text(content)

    with pytest.raises(ModelError, match=ACTIVE):
        activation.read(tmp_path)


@pytest.mark.parametrize("text", ["", "MR", "MR/BRAIN", "MR//T1", "/BRAIN/T1", "MR/BRAIN/T1/x"])
def test_a_profile_is_a_modality_a_part_and_a_sequence(text: str) -> None:
    """The sequence alone may be empty, for any."""
    with pytest.raises(ModelError, match="not a profile"):
        ProfileKey.parse(text)
    assert ProfileKey.parse("mr/brain/") == ProfileKey("MR", "BRAIN", "")
