"""Holds and waits end by the database's clock, which here stands still unless moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clock import DAY, Clock
from support.passage import Passage

from gatekeeper.gate import limits, people
from gatekeeper.gate.policy import Action, Policy
from gatekeeper.ledger import balance
from gatekeeper.rules.plan import Holding, Plan
from storage import audit
from storage.engine import Database
from storage.records import ForwardState

STUDY = "1.2.3"
HOUR = 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passage(tmp_path: Path, sqlite_url: str, clock: Clock) -> Iterator[Passage]:
    """A site on SQLite whose clock is ours."""
    database = Database.connect(sqlite_url)
    clock.rule(database)
    yield Passage(tmp_path, database)
    database.dispose()


def look(passage: Passage) -> int:
    return limits.look(passage.database, passage.policy, 100, passage.ask)


@pytest.mark.parametrize(
    ("at_limit", "state", "sent"), [(Action.FORWARD, "sent", 2), (Action.REJECT, "rejected", 0)]
)
def test_at_the_limit_the_configured_outcome_happens_and_is_recorded(
    passage: Passage, clock: Clock, at_limit: Action, state: str, sent: int
) -> None:
    """Not a moment before; once; and the trail says that it was the limit."""
    passage.policy = Policy(at_limit=at_limit, maximum_hold_hours=24.0, warn_hours=0.0)
    passage.walk(STUDY, "SUSPECT")
    clock.seconds += DAY - 1
    assert look(passage) == 0
    assert passage.forwards(STUDY) == ["held"]

    clock.seconds += 2
    assert look(passage) == 1
    assert look(passage) == 0

    forward = passage.forward(STUDY)
    assert (forward.state, forward.decided_by, forward.verdict) == (state, "hold limit", "SUSPECT")
    assert len(passage.uids("AI")) == sent
    with passage.database.read() as tx:
        newest = audit.listing(tx, STUDY)[0]
    assert (newest.actor, newest.action) == ("hold limit", at_limit.value)
    assert "Because SUSPECT." in newest.detail["reason"]


def test_people_are_told_once_before_a_hold_ends(passage: Passage, clock: Clock) -> None:
    """Two hours before its end, and not again."""
    passage.walk(STUDY, "SUSPECT")
    clock.seconds += 21.9 * HOUR
    assert look(passage) == 0
    clock.seconds += 0.2 * HOUR
    assert look(passage) == 1
    assert look(passage) == 0

    assert passage.forward(STUDY).warned_at == pytest.approx(clock.seconds, abs=1)
    assert passage.forwards(STUDY) == ["held"]


def test_a_released_study_meets_no_limit(passage: Passage, clock: Clock) -> None:
    """A person was first; the end of the hold finds nothing to end."""
    passage.walk(STUDY, "SUSPECT")
    with passage.database.begin() as tx:
        people.reject(tx, STUDY, "Dr Who", "motion")
    clock.seconds += 2 * DAY

    assert look(passage) == 0
    assert passage.forward(STUDY).decided_by == "Dr Who"
    assert passage.uids("AI") == []


def test_a_rule_shortens_the_hold(passage: Passage, clock: Clock) -> None:
    """One hour instead of a day."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    passage.judge(STUDY, "SUSPECT", Plan(holds=(Holding("AI", "stroke", 1.0),)))
    clock.seconds += HOUR + 1

    assert look(passage) == 1
    assert passage.forwards(STUDY) == ["sent"]


def test_without_a_verdict_in_time_a_study_goes_on_and_people_are_told(
    passage: Passage, clock: Clock
) -> None:
    """Workers down, or the model: after the configured minutes the policy decides."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    clock.seconds += 29 * 60
    assert look(passage) == 0
    clock.seconds += 2 * 60
    assert look(passage) == 1

    forward = passage.forward(STUDY)
    assert (forward.state, forward.verdict) == (ForwardState.SENT, "")
    assert forward.reason == (
        "Forwarded by policy without a verdict. There was none within 30 minutes."
    )
    assert len(passage.uids("AI")) == 2


def test_what_came_after_completion_does_not_go_without_a_verdict_of_its_own(
    passage: Passage, clock: Clock
) -> None:
    """Late images wait for their own revision; those that waited too long go."""
    received = passage.receive(STUDY)
    clock.seconds += 60
    passage.complete(STUDY)
    clock.seconds += 40 * 60
    passage.receive(STUDY, 1)

    assert look(passage) == 1

    assert passage.uids("AI") == [item.sop_instance_uid for item in received]


def test_a_clock_set_back_ends_no_hold_and_strands_none(passage: Passage, clock: Clock) -> None:
    """The end of a hold is a moment by that clock: it is as far away as the clock says."""
    passage.walk(STUDY, "SUSPECT")
    clock.seconds -= DAY
    assert look(passage) == 0
    clock.seconds += 2 * DAY + 1
    assert look(passage) == 1


def test_the_books_miss_a_tick_that_does_not_end_holds(passage: Passage, clock: Clock) -> None:
    """What is held is a remark; what should have ended is a difference."""
    passage.walk(STUDY, "SUSPECT")

    def differences() -> list[str]:
        found = balance(passage.database, passage.spool).differences
        return [entry.cause for entry in found if entry.account == "forward"]

    remarks = balance(passage.database, passage.spool).remarks
    assert [entry.cause for entry in remarks if entry.account == "forward"] == [
        f"study {STUDY} is held from AI: Held by policy as SUSPECT. Because SUSPECT."
    ]
    assert differences() == []
    clock.seconds += DAY + 600
    assert any("its hold ended" in cause for cause in differences())
    look(passage)
    assert not any("its hold ended" in cause for cause in differences())
