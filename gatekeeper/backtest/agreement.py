"""Agreement: the gate's verdicts held against what reviewers said of them. Pure.

A reviewer's word on a verdict is the truth here: SUSPECT and agreed is abnormal, CLEAR and
disagreed is abnormal too. Held studies are looked at more often than passed ones, so sensitivity
and specificity are also given as they are when the studies not reviewed are like those that were,
and predictive values come from these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gatekeeper.backtest.rates import Said
from gatekeeper.backtest.stored import StoredStudy
from gatekeeper.rules.verdict import Verdict
from models.evaluation.diagnosis import (
    Corrected,
    Predictive,
    Table,
    Verified,
    corrected,
    corrected_predictive_values,
)
from models.evaluation.intervals import Figure
from models.evaluation.patients import delong_auroc

ALL = "all"


@dataclass(slots=True)
class Words:
    """The counts of one detector, or of all.

    Attributes:
        flagged, passed: studies SUSPECT and CLEAR, reviewed or not.
        tp, fp: SUSPECT studies that reviewers called abnormal and normal.
        fn, tn: CLEAR studies likewise.
        split: studies on which as many agreed as disagreed; they have no truth.
        normal, abnormal: p-values of the reviewed studies that a p-value decided.
    """

    flagged: int = 0
    passed: int = 0
    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0
    split: int = 0
    normal: list[float] = field(default_factory=list[float])
    abnormal: list[float] = field(default_factory=list[float])

    def add(self, study: StoredStudy, said: Said) -> None:
        """Count one study that was held or passed."""
        held = study.judgement.verdict is Verdict.SUSPECT
        self.flagged += held
        self.passed += not held
        if said.agree == said.disagree:
            self.split += said.agree > 0
            return
        ill = held is (said.agree > said.disagree)
        self.tp += held and ill
        self.fp += held and not ill
        self.fn += ill and not held
        self.tn += not ill and not held
        faulty = any(one.kept is not None and one.kept.defects for one in study.series)
        if study.p_value is not None and not faulty:
            (self.abnormal if ill else self.normal).append(study.p_value)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the words on one detector's verdicts say.

    Attributes:
        detector: its name, or `ALL`.
        words: the counts.
        table: of the studies reviewed; None until both kinds were seen.
        corrected: for the studies not reviewed; None until reviewed studies of both verdicts and of
            both kinds are there.
        predictive: at each stated prevalence, from the corrected ones; empty without them.
        auroc: of the p-value, DeLong's interval; None without two studies of each kind.
    """

    detector: str
    words: Words
    table: Table | None
    corrected: Corrected | None
    predictive: tuple[Predictive, ...]
    auroc: Figure | None


def agreements(
    studies: Iterable[StoredStudy], said: Mapping[int, Said], prevalences: Iterable[float] = ()
) -> tuple[Agreement, ...]:
    """Return the agreement over all studies, then of each detector by name.

    Args:
        studies: past studies; those neither SUSPECT nor CLEAR are not counted.
        said: what reviewers said, by job.
        prevalences: part of abnormal studies, for predictive values.

    Raises:
        ValueError: if a prevalence is not inside (0, 1).
    """
    stated = tuple(prevalences)
    if any(not 0 < one < 1 for one in stated):
        raise ValueError("a prevalence lies inside (0, 1)")
    found: dict[str, Words] = {ALL: Words()}
    for study in studies:
        if study.judgement.verdict not in (Verdict.SUSPECT, Verdict.CLEAR):
            continue
        words = said.get(study.job_id, Said())
        found[ALL].add(study, words)
        if name := study.origin.detector:
            found.setdefault(name, Words()).add(study, words)
    names = [ALL, *sorted(set(found) - {ALL})]
    return tuple(_agreement(name, found[name], stated) for name in names)


def _agreement(name: str, words: Words, prevalences: tuple[float, ...]) -> Agreement:
    table = verified = None
    if words.tp + words.fn and words.fp + words.tn:
        table = Table(words.tp, words.fp, words.fn, words.tn)
        if words.tp + words.fp and words.fn + words.tn:
            verified = Verified(words.flagged, words.passed, table)
    scored = min(len(words.normal), len(words.abnormal)) >= 2
    return Agreement(
        name,
        words,
        table,
        corrected(verified) if verified else None,
        tuple(corrected_predictive_values(verified, one) for one in prevalences)
        if verified
        else (),
        delong_auroc([-p for p in words.normal], [-p for p in words.abnormal]) if scored else None,
    )
