"""The policy: what a verdict, or the lack of one, means for a study on its way downstream.

Pure. A CLEAR study passes unless a rule holds it; of every other the reason says which verdict it
passed or was held with.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gatekeeper.configuration.policy import over
from gatekeeper.rules.plan import Holding
from gatekeeper.rules.verdict import Verdict
from gatekeeper.settings import GateSettings
from storage.records import ForwardState

POLICY = "policy"
HOLD_LIMIT = "hold limit"


class Action(enum.StrEnum):
    """What becomes of a study."""

    HOLD = "hold"
    FORWARD = "forward"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the site has decided beforehand.

    Attributes:
        suspect, unreadable, uncalibrated: what becomes of a study with that verdict.
        unavailable: of one without a verdict.
        at_limit: of one that was held for the longest time; forward or reject.
        maximum_hold_hours: that time.
        warn_hours: how long before its end an alert is given.
        verdict_minutes: how long a study waits for its verdict.
    """

    suspect: Action = Action.HOLD
    unreadable: Action = Action.HOLD
    uncalibrated: Action = Action.FORWARD
    unavailable: Action = Action.FORWARD
    at_limit: Action = Action.FORWARD
    maximum_hold_hours: float = 24.0
    warn_hours: float = 2.0
    verdict_minutes: float = 30.0

    def action(self, verdict: Verdict | None) -> Action:
        """Return what becomes of a study with this verdict, or with none."""
        return {
            None: self.unavailable,
            Verdict.CLEAR: Action.FORWARD,
            Verdict.SUSPECT: self.suspect,
            Verdict.UNREADABLE: self.unreadable,
            Verdict.UNCALIBRATED: self.uncalibrated,
        }[verdict]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one forward.

    Attributes:
        action: hold, forward or reject.
        reason: in one sentence, for people.
        by: ``policy`` or ``rule NAME``.
        hours: longest hold; 0 when it is not held.
        alert: whether people are told.
    """

    action: Action
    reason: str
    by: str
    hours: float = 0.0
    alert: bool = False

    @property
    def state(self) -> ForwardState:
        """State of the forward after it."""
        return {
            Action.HOLD: ForwardState.HELD,
            Action.FORWARD: ForwardState.SENT,
            Action.REJECT: ForwardState.REJECTED,
        }[self.action]


def policy_of(tx: Connection, settings: GateSettings) -> Policy:
    """Return the policy now in force: values kept in the database over those of the settings."""
    return policy_by(over(tx, "gate", settings))


def policy_by(settings: GateSettings) -> Policy:
    """Return the policy that these settings mean by themselves."""
    return Policy(
        suspect=Action(settings.suspect),
        unreadable=Action(settings.unreadable),
        uncalibrated=Action(settings.uncalibrated),
        unavailable=Action(settings.unavailable),
        at_limit=Action(settings.at_limit),
        maximum_hold_hours=settings.maximum_hold_hours,
        warn_hours=settings.warn_hours,
        verdict_minutes=settings.verdict_minutes,
    )


def decide(
    verdict: Verdict | None,
    because: str,
    node: str,
    policy: Policy,
    holds: Sequence[Holding] = (),
    left_out_by: Sequence[str] = (),
) -> Decision:
    """Return what becomes of a study on its way to a gated node.

    Args:
        verdict: of the study; None when there is none.
        because: the reason of the verdict, or why there is none.
        node: AE title.
        policy: of the site.
        holds: what rules hold it from.
        left_out_by: rules that left out every series of it; then nothing was to be judged.
    """
    hold = _hold_for(node, holds)
    if left_out_by:
        action = Action.FORWARD
        because = f"Nothing of it was to be analysed, as {_rules(left_out_by)} says."
        by = f"rule {left_out_by[0]}"
    else:
        action, by = policy.action(verdict), POLICY
    if hold is not None and action is Action.FORWARD:
        action, by = Action.HOLD, f"rule {hold.rule}"
    hours = 0.0
    if action is Action.HOLD:
        hours = policy.maximum_hold_hours
        if hold is not None and hold.hours is not None:
            hours = min(hours, hold.hours)
    of = "without a verdict" if verdict is None else f"as {verdict.value}"
    if left_out_by:
        of = "without analysis"
    as_usual = action is Action.FORWARD and (verdict is Verdict.CLEAR or bool(left_out_by))
    return Decision(action, f"{_WORD[action]} by {by} {of}. {because}", by, hours, not as_usual)


def at_limit(policy: Policy, held_because: str) -> Decision:
    """Return what becomes of a study that was held for the longest time."""
    action = policy.at_limit
    reason = f"{_WORD[action]} at the end of the longest hold. Before: {held_because}"
    return Decision(action, reason, HOLD_LIMIT, alert=True)


_WORD = {
    Action.HOLD: "Held",
    Action.FORWARD: "Forwarded",
    Action.REJECT: "Rejected",
}


def _hold_for(node: str, holds: Sequence[Holding]) -> Holding | None:
    """Return the hold that is for this node; of several the shortest, for each rule may shorten."""
    own = [hold for hold in holds if hold.node in ("", node)]
    if not own:
        return None
    return min(own, key=lambda hold: float("inf") if hold.hours is None else hold.hours)


def _rules(names: Sequence[str]) -> str:
    return " and ".join(f"rule {name}" for name in names)
