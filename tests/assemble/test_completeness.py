"""When a study counts as complete."""

from __future__ import annotations

import pytest

from gatekeeper.assemble.completeness import is_complete, quiet_seconds_of
from storage.records import Node, Study, StudyState
from storage.studies import OpenStudy


def study(quiet_for: float, active_associations: int = 0) -> OpenStudy:
    row = Study("1.2.3", "SCANNER", StudyState.RECEIVING, 0, "", 1, 1, 0.0, 0.0)
    return OpenStudy(row, quiet_for, active_associations)


@pytest.mark.parametrize(
    ("quiet_for", "active", "complete"),
    [
        (29.9, 0, False),
        (30.0, 0, True),
        (300.0, 1, False),
        (599.9, 3, False),
        (600.0, 3, True),
    ],
)
def test_silence_completes_unless_the_sender_is_still_there(
    quiet_for: float, active: int, complete: bool
) -> None:
    """Thirty seconds of silence, or ten minutes when an association never ends."""
    assert is_complete(study(quiet_for, active), 30.0, 600.0) is complete


def test_without_patience_an_open_association_holds_for_ever() -> None:
    """The default of the pure rule; the setting brings the patience."""
    assert not is_complete(study(1e9, 1), 30.0)


def test_patience_is_never_shorter_than_the_quiet_time() -> None:
    """A node with a longer quiet time than the patience keeps its quiet time."""
    assert not is_complete(study(700.0, 1), 900.0, 600.0)
    assert is_complete(study(900.0, 1), 900.0, 600.0)


def test_a_node_may_have_its_own_quiet_time() -> None:
    """Zero is a time; none means the setting."""
    assert quiet_seconds_of(None, 30.0) == 30.0
    assert quiet_seconds_of(Node("MR", "mr", 104), 30.0) == 30.0
    assert quiet_seconds_of(Node("MR", "mr", 104, quiet_seconds=0.0), 30.0) == 0.0
