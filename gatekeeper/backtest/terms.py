"""Terms: what a site decides by, and what they make of a past study. Pure.

The verdict comes from `gatekeeper.rules.verdict`, the holds from `gatekeeper.rules.evaluate`, and
what becomes of it from `gatekeeper.gate.policy`: the functions that decide about live studies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gatekeeper.backtest.comparison import Decided
from gatekeeper.backtest.stored import StoredStudy
from gatekeeper.gate.policy import Action, Decision, Policy, decide
from gatekeeper.rules import evaluate
from gatekeeper.rules.facts import Judged, StudyFacts
from gatekeeper.rules.plan import Holding
from gatekeeper.rules.rule import Rule
from gatekeeper.rules.verdict import Judgement, Verdict

ANY_NODE = ""
"""Stands for a gated node where the site has none: every hold is for it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a study is decided by.

    Attributes:
        false_hold_rate: threshold of the verdict.
        false_hold_rates: of bundles that answer for a profile with a threshold of its own.
        reference_stands_in: whether a bundle's own reference may decide without a calibration of
            the scanner and protocol.
        policy: what a verdict means.
        rules: in order.
        gated: AE titles of the gated nodes; `ANY_NODE` alone where there is none.
    """

    false_hold_rate: float
    reference_stands_in: bool
    false_hold_rates: Mapping[str, float] = field(default_factory=dict[str, float])
    policy: Policy = field(default_factory=Policy)
    rules: tuple[Rule, ...] = ()
    gated: tuple[str, ...] = (ANY_NODE,)

    def decided(self, study: StoredStudy, facts: StudyFacts | None = None) -> Decided:
        """Return what becomes of a study.

        It counts as held when it does not pass at once to every gated node that it is for; the
        reason is that of the first such node.

        Args:
            study: as kept.
            facts: what rules are asked about; None, and no rule is asked.
        """
        judgement = study.judged(
            self.false_hold_rate,
            self.false_hold_rates,
            reference_stands_in=self.reference_stands_in,
        )
        holds = self._holds(study, judgement, facts)
        decisions = [self._decision(study, judgement, node, holds) for node in self.gated]
        stopped = [one for one in decisions if one.action is not Action.FORWARD]
        first = (stopped or decisions)[0]
        return Decided(
            held=bool(stopped),
            verdict=str(judgement.verdict),
            reason=first.reason,
            p_value=study.p_value,
            threshold=self.false_hold_rates.get(study.origin.detector, self.false_hold_rate),
        )

    def _decision(
        self, study: StoredStudy, judgement: Judgement, node: str, holds: Sequence[Holding]
    ) -> Decision:
        return decide(judgement.verdict, judgement.reason, node, self.policy, holds, study.left_out)

    def _holds(
        self, study: StoredStudy, judgement: Judgement, facts: StudyFacts | None
    ) -> Sequence[Holding]:
        if facts is None or not self.rules:
            return ()
        judged = judged_of(study, judgement.verdict)
        return evaluate.when_judged(self.rules, facts, judged).holds


def judged_of(study: StoredStudy, verdict: Verdict) -> Judged:
    """Return what rules may ask of a past study under this verdict."""
    scored = [one for one in study.series if one.kept is not None]
    own = [one.kept.site_calibrated for one in scored if one.kept is not None]
    return Judged(
        verdict="" if study.left_out else str(verdict),
        p_value=study.p_value,
        detectors=tuple(dict.fromkeys(one.origin.detector for one in scored)),
        device_calibrated=all(own) if own else None,
    )
