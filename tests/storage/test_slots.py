"""Slots: ready before they are needed, and gone at the end."""

from __future__ import annotations

import os
from pathlib import Path

from support.waiting import until

from storage.slots import Slots


def test_slots_are_filled_up_before_the_last_is_taken(tmp_path: Path) -> None:
    """Taking more than half of them has others made meanwhile; at the end the empty ones go."""
    slots = Slots(tmp_path, 4)
    slots.fill()
    folder = next(path for path in (tmp_path / "slots").iterdir())
    taken = [slots.take() for _ in range(3)]

    until(lambda: len(list(folder.glob("0*"))) == 3 + 4, 30, "slots are made")

    slots.close()
    assert sorted(folder.glob("0*")) == sorted(path for _, path in taken)
    for descriptor, _ in taken:
        os.close(descriptor)
