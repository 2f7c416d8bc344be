"""Slots: ready before they are needed, and gone at the end."""

from __future__ import annotations

import fcntl
import itertools
import os
import time
from pathlib import Path

import pytest
from support.waiting import until

from storage.slots import Abandoned, Slots, abandoned, sweep_unnamed


def test_slots_are_filled_up_before_the_last_is_taken(tmp_path: Path) -> None:
    """Taking more than half of them has others made meanwhile; at the end the empty ones go."""
    slots = Slots(tmp_path, 4)
    slots.fill()
    folder = next(path for path in (tmp_path / "slots").iterdir())
    taken = [slots.take() for _ in range(3)]

    until(lambda: len(list(folder.glob("0*"))) == 3 + 4, 30, "slots are made")

    slots.close()
    assert sorted(folder.glob("0*")) == sorted(Path(path) for _, path in taken)
    for descriptor, _ in taken:
        os.close(descriptor)


def test_a_folder_in_the_making_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery that comes before its lock is held takes nothing, and the slots are there."""
    flock = fcntl.flock
    recovery = abandoned(tmp_path)
    found: list[Abandoned] = []

    def recovered_first(lock: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        found.extend(itertools.islice(recovery, 1))
        sweep_unnamed(tmp_path, older_than=time.time() - 60)
        flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", recovered_first)
    slots = Slots(tmp_path, 1)
    slots.fill()

    assert found == []
    descriptor, path = slots.take()
    os.close(descriptor)
    assert Path(path).exists()
    slots.close()


def test_a_folder_whose_owner_died_making_it_goes_once_it_is_old(tmp_path: Path) -> None:
    """With or without its lock; a younger one may still be on its way."""
    for name in (".young", ".old", ".bare"):
        (tmp_path / "slots" / name).mkdir(parents=True)
    (tmp_path / "slots" / ".old" / "lock").touch()
    an_hour_ago = time.time() - 3600
    for name in (".old", ".bare"):
        os.utime(tmp_path / "slots" / name, (an_hour_ago, an_hour_ago))

    sweep_unnamed(tmp_path, older_than=time.time() - 60)

    assert [path.name for path in (tmp_path / "slots").iterdir()] == [".young"]
