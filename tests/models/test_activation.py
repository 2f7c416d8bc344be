"""A site's choice is kept whole, with its history, and every change can be undone."""

from __future__ import annotations

import json
from multiprocessing import get_context
from pathlib import Path

import pytest

from models import activation
from models.activation import ACTIVE, NOBODY, Activation, ProfileKey
from models.errors import ModelError

T1 = ProfileKey("MR", "BRAIN", "T1")
FLAIR = ProfileKey("MR", "BRAIN", "FLAIR")


def test_a_choice_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Profiles, names and history come back; nothing else is left in the folder."""
    choice = (
        Activation({})
        .changed("activate", T1, "gate", "2.0.0", "a" * 64)
        .changed("deactivate", FLAIR, NOBODY)
    )

    activation.write(tmp_path, choice)

    assert activation.read(tmp_path) == choice
    assert [path.name for path in tmp_path.iterdir()] == [ACTIVE]


def test_a_folder_without_a_choice_has_none(tmp_path: Path) -> None:
    """The defaults answer then."""
    assert activation.read(tmp_path) == Activation({})


def test_history_says_who_changed_what_from_what(tmp_path: Path) -> None:
    """Each change has a time, an account, and the bundle before and after."""
    choice = Activation({}).changed("activate", T1, "a").changed("activate", T1, "b", "2", "d")
    last = choice.history[-1]

    assert (last.before, last.after, last.version, last.digest) == ("a", "b", "2", "d")
    assert "@" in last.who
    assert last.at.endswith("+00:00")


def test_every_change_can_be_undone_one_after_the_other() -> None:
    """Rolling back twice undoes the last two changes, not the first rollback."""
    choice = Activation({}).changed("activate", T1, "a").changed("activate", FLAIR, "f")
    choice = choice.changed("activate", T1, "b")

    once = choice.rolled_back()
    assert dict(once.active) == {T1: "a", FLAIR: "f"}
    twice = once.rolled_back()
    assert dict(twice.active) == {T1: "a"}
    assert dict(twice.rolled_back().active) == {}
    with pytest.raises(ModelError, match="no change"):
        twice.rolled_back().rolled_back()


def test_a_change_after_a_rollback_is_the_next_to_be_undone() -> None:
    """History only grows; what was undone stays undone."""
    choice = Activation({}).changed("activate", T1, "a").rolled_back().changed("activate", T1, "c")

    assert dict(choice.rolled_back().active) == {}
    assert [change.action for change in choice.rolled_back().history] == [
        "activate",
        "rollback",
        "activate",
        "rollback",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "active": {}, "history": []}',
        '{"format": 1, "active": {"MR": "x"}, "history": []}',
        '{"format": 1, "active": {"MR/BRAIN/T1": 3}, "history": []}',
        '{"format": 1, "active": {}, "history": [{"at": ""}]}',
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


def _add_one(folder: str) -> None:
    with activation.locked(Path(folder)):
        choice = activation.read(Path(folder))
        activation.write(Path(folder), choice.changed("activate", T1, str(len(choice.history))))


def test_two_administrators_at_once_lose_no_change(tmp_path: Path) -> None:
    """Changes by several processes all stand in the history."""
    context = get_context("fork")
    processes = [context.Process(target=_add_one, args=(str(tmp_path),)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)

    history = json.loads((tmp_path / ACTIVE).read_text())["history"]
    assert [change["after"] for change in history] == ["0", "1", "2", "3"]
