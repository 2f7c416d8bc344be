"""Evaluate: rules and facts into a plan. Pure; no header, however odd, makes it raise.

Rules are asked in order, and the first to say something of a node, a channel, a series or the
priority is the one that counts. A condition about series is asked of each series by itself and
never of 'the first one'; without a series it does not hold, negated or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gatekeeper.rules.condition import holds
from gatekeeper.rules.explain import explain
from gatekeeper.rules.facts import Judged, StudyFacts, Values
from gatekeeper.rules.plan import (
    Fetching,
    Forwarding,
    Holding,
    Match,
    Phase,
    Plan,
    Telling,
)
from gatekeeper.rules.rule import (
    Action,
    Analyse,
    Forward,
    Hold,
    Notify,
    Priority,
    Priors,
    Rule,
    Skip,
)


def on_receipt(rules: Sequence[Rule], facts: StudyFacts, *, trace: bool = False) -> Plan:
    """Return what is to be done once a study is complete.

    Asks the rules whose conditions are about what was received. What they hold is not in it: that
    is for the moment that the study is judged.

    Args:
        rules: in order; those not enabled are passed over.
        facts: of the study, for `needed(rules)` at least.
        trace: whether `Plan.matches` is filled.
    """
    early = [rule for rule in rules if rule.phase is Phase.RECEIVED]
    plan = _Plan(Phase.RECEIVED)
    plan.matches.extend(_asked(early, facts, facts.values, plan, trace))
    return plan.finished()


def when_judged(
    rules: Sequence[Rule], facts: StudyFacts, judged: Judged, *, trace: bool = False
) -> Plan:
    """Return what is to be done once a study is judged.

    Every rule is asked again, so that order and `stop` mean the same as ever. Nodes to forward to,
    and channels to tell, are those of rules about the verdict: the others had their say on
    receipt. Holds are those of both.

    Args:
        rules: in order; those not enabled are passed over.
        facts: the same as on receipt.
        judged: what was found.
        trace: whether `Plan.matches` is filled.
    """
    plan = _Plan(Phase.JUDGED)
    values = {**facts.values, **judged.values()}
    plan.matches.extend(_asked(rules, facts, values, plan, trace))
    return plan.finished()


def matching_series(rule: Rule, facts: StudyFacts, study: Values) -> tuple[str, ...]:
    """Return the UIDs of the series that a rule about series holds for."""
    return tuple(
        one.series_instance_uid for one in facts.series if holds(rule.condition, study, one.values)
    )


def _asked(
    rules: Sequence[Rule], facts: StudyFacts, study: Values, plan: _Plan, trace: bool
) -> Iterator[Match]:
    everything = [one.series_instance_uid for one in facts.series]
    stopped = ""
    for rule in rules:
        if not rule.enabled:
            continue
        if stopped:
            yield Match(rule.name, False, (f"not asked: rule '{stopped}' stops",))
            continue
        found = matching_series(rule, facts, study) if rule.by_series else ()
        matched = bool(found) if rule.by_series else holds(rule.condition, study, {})
        if matched:
            for action in rule.actions:
                plan.act(action, rule, found if rule.by_series else everything)
        if trace:
            because = explain(rule, facts, study, matched=matched, series=found)
            yield Match(rule.name, matched, because, found)
        if matched and rule.stop:
            if not trace:
                return
            stopped = rule.name


@dataclass(slots=True)
class _Plan:
    """A plan as it is made."""

    phase: Phase
    models: dict[str, str] = field(default_factory=dict[str, str])
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    forwards: dict[str, Forwarding] = field(default_factory=dict[str, Forwarding])
    holds: dict[str, Holding] = field(default_factory=dict[str, Holding])
    tells: dict[str, Telling] = field(default_factory=dict[str, Telling])
    fetches: dict[tuple[str, str], Fetching] = field(
        default_factory=dict[tuple[str, str], Fetching]
    )
    priority: int | None = None
    matches: list[Match] = field(default_factory=list[Match])

    def act(self, action: Action, rule: Rule, series: Sequence[str]) -> None:
        """Take up what a rule that applies says, unless an earlier one has said it."""
        if isinstance(action, Hold):
            if self.phase is Phase.JUDGED:
                found = Holding(action.node, rule.name, action.hours)
                self.holds.setdefault(action.node, found)
        elif rule.phase is not self.phase:
            return
        elif isinstance(action, Forward):
            self.forwards.setdefault(action.node, Forwarding(action.node, rule.name))
        elif isinstance(action, Notify):
            self.tells.setdefault(action.channel, Telling(action.channel, rule.name))
        elif isinstance(action, Priority):
            self.priority = action.level if self.priority is None else self.priority
        elif isinstance(action, Priors):
            fetching = Fetching(action.node, rule.name, action.count, action.modality)
            self.fetches.setdefault((action.node, action.modality), fetching)
        else:
            self._assign(action, rule, series)

    def _assign(self, action: Analyse | Skip, rule: Rule, series: Sequence[str]) -> None:
        for uid in series:
            if uid in self.models or uid in self.skipped:
                continue
            if isinstance(action, Skip):
                self.skipped[uid] = rule.name
            else:
                self.models[uid] = action.bundle

    def finished(self) -> Plan:
        """Return the plan."""
        return Plan(
            models=self.models,
            skipped=self.skipped,
            forwards=tuple(self.forwards.values()),
            holds=tuple(self.holds.values()),
            tells=tuple(self.tells.values()),
            fetches=tuple(self.fetches.values()),
            priority=self.priority or 0,
            matches=tuple(self.matches),
        )
