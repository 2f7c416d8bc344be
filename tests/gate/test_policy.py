"""What a verdict means for a study on its way downstream: pure decisions."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import Connection

from gatekeeper.gate.policy import Action, Policy, at_limit, decide, policy_of
from gatekeeper.rules.plan import Holding
from gatekeeper.rules.verdict import Verdict
from gatekeeper.settings import GateSettings
from storage.engine import Database
from storage.records import ForwardState

HOLD_ALL = Policy(Action.HOLD, Action.HOLD, Action.HOLD, Action.HOLD)
FORWARD_ALL = Policy(Action.FORWARD, Action.FORWARD, Action.FORWARD, Action.FORWARD)
REJECT_ALL = Policy(Action.REJECT, Action.REJECT, Action.REJECT, Action.REJECT)
VERDICTS = (*Verdict, None)


@pytest.mark.parametrize(
    ("verdict", "policy"), [*itertools.product(VERDICTS, [HOLD_ALL, REJECT_ALL])]
)
def test_the_policy_says_what_becomes_of_each_verdict(
    verdict: Verdict | None, policy: Policy
) -> None:
    """CLEAR passes whatever the policy; every other one is held or rejected as it says."""
    found = decide(verdict, "Because.", "AI", policy)

    assert found.action is (Action.FORWARD if verdict is Verdict.CLEAR else policy.suspect)
    assert (found.hours > 0) is (found.action is Action.HOLD)
    assert found.by == "policy"


@pytest.mark.parametrize("verdict", [Verdict.UNREADABLE, Verdict.UNCALIBRATED, Verdict.SUSPECT])
def test_what_passes_without_being_clear_never_does_so_silently(verdict: Verdict) -> None:
    """The reason names the verdict and why, and people are told."""
    found = decide(verdict, "Not assessed: no profile.", "AI", FORWARD_ALL)

    assert found.action is Action.FORWARD
    assert found.reason == f"Forwarded by policy as {verdict}. Not assessed: no profile."
    assert found.alert


def test_without_a_verdict_the_default_is_to_forward_and_tell() -> None:
    """A gate that is down holds up nobody."""
    found = decide(None, "There was none within 30 minutes.", "AI", Policy())

    assert (found.state, found.alert) == (ForwardState.SENT, True)
    assert "without a verdict" in found.reason


def test_a_rule_holds_a_clear_study_from_its_node_and_from_no_other() -> None:
    """The decision is the rule's, and named so."""
    holds = [Holding("AI", "research", 2.0)]

    held = decide(Verdict.CLEAR, "Not held.", "AI", Policy(), holds)
    passed = decide(Verdict.CLEAR, "Not held.", "OTHER", Policy(), holds)

    assert (held.action, held.by, held.hours) == (Action.HOLD, "rule research", 2.0)
    assert passed.action is Action.FORWARD
    assert not passed.alert


@pytest.mark.parametrize(
    ("hours", "expected"), [(1.0, 1.0), (None, 24.0), (100.0, 24.0)], ids=["short", "none", "long"]
)
def test_a_rule_shortens_a_hold_and_never_prolongs_it(hours: float | None, expected: float) -> None:
    """The site's maximum is the maximum."""
    found = decide(Verdict.SUSPECT, "Held.", "AI", Policy(), [Holding("", "brief", hours)])

    assert (found.action, found.hours) == (Action.HOLD, expected)


def test_of_two_rules_that_hold_the_shorter_counts() -> None:
    """One for every node, one for this one."""
    holds = [Holding("", "all", 5.0), Holding("AI", "this", 3.0), Holding("AI", "long")]

    assert decide(Verdict.SUSPECT, "Held.", "AI", Policy(), holds).hours == 3.0


def test_a_rule_that_holds_does_not_save_what_the_policy_rejects() -> None:
    """Rejecting is the stronger word."""
    assert decide(None, "None.", "AI", REJECT_ALL, [Holding("", "all")]).action is Action.REJECT


def test_a_study_that_rules_left_out_passes_whatever_the_policy() -> None:
    """Nothing was to be judged; the reason says whose word that was, and nobody is alarmed."""
    found = decide(Verdict.UNCALIBRATED, "", "AI", HOLD_ALL, (), ["localizers", "reports"])

    assert (found.action, found.by, found.alert) == (Action.FORWARD, "rule localizers", False)
    assert "rule localizers and rule reports" in found.reason


def test_a_study_left_out_can_still_be_held_by_a_rule() -> None:
    """A hold is a hold."""
    holds = [Holding("", "embargo")]

    assert decide(Verdict.UNCALIBRATED, "", "AI", Policy(), holds, ["x"]).action is Action.HOLD


@pytest.mark.parametrize("action", [Action.FORWARD, Action.REJECT])
def test_at_the_limit_the_configured_outcome_is_recorded_with_what_was_before(
    action: Action,
) -> None:
    """Whose decision it was can be read: that of the limit."""
    found = at_limit(Policy(at_limit=action), "Held by policy as SUSPECT.")

    assert (found.action, found.by) == (action, "hold limit")
    assert "Held by policy as SUSPECT." in found.reason


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_policy_is_that_of_the_settings(database: Database) -> None:
    """Every value of [gate] that is a policy arrives in it."""

    def read(tx: Connection) -> Policy:
        given = GateSettings("forward", "reject", "hold", "reject", 5.0, 7.0, "reject", 1.5)
        return policy_of(tx, given)

    with database.read() as tx:
        assert read(tx) == Policy(
            Action.FORWARD,
            Action.REJECT,
            Action.HOLD,
            Action.REJECT,
            Action.REJECT,
            maximum_hold_hours=7.0,
            warn_hours=1.5,
            verdict_minutes=5.0,
        )
        assert policy_of(tx, GateSettings()) == Policy()
