"""Comparison: the same studies decided twice, counted by device and protocol. Pure.

Proportions have Clopper and Pearson's exact intervals (Biometrika 1934). The change is paired, so
it is judged by McNemar's exact test: of the studies that changed, as many newly held as newly
passed are expected by chance (McNemar, Psychometrika 1947; two-sided binomial).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy import stats

from gatekeeper.backtest.stored import Origin
from models.evaluation.intervals import Figure, fraction


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of a study under some terms.

    Attributes:
        held: whether anybody waits for it: held or rejected, and not passed on.
        verdict: of the study.
        reason: in one sentence.
        p_value: that it rests on; None without one.
        threshold: the false-hold rate in force.
    """

    held: bool
    verdict: str
    reason: str
    p_value: float | None = None
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """One study, decided twice.

    Attributes:
        study_instance_uid: the study.
        job_id: the job whose evidence it was.
        origin: what it is counted by.
        before: under what is in force.
        after: under the candidate.
    """

    study_instance_uid: str
    job_id: int
    origin: Origin
    before: Decided
    after: Decided

    @property
    def changed(self) -> bool:
        """Whether it would be held now and was not, or the other way, or has another verdict."""
        return (self.before.held, self.before.verdict) != (self.after.held, self.after.verdict)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many studies of a group became what.

    Attributes:
        studies: in the group.
        held_before, held_after: of them.
        newly_held, newly_passed: of them.
        other_verdict: held or passed as before, with another verdict.
    """

    studies: int
    held_before: int
    held_after: int
    newly_held: int
    newly_passed: int
    other_verdict: int

    @property
    def before(self) -> Figure:
        """Part held before, with its exact interval; NaN bounds stand for no study."""
        return _part(self.held_before, self.studies)

    @property
    def after(self) -> Figure:
        """Part held after, likewise."""
        return _part(self.held_after, self.studies)

    @property
    def mcnemar(self) -> float:
        """Exact two-sided p-value of the change; 1 where nothing changed sides."""
        changed = self.newly_held + self.newly_passed
        return float(stats.binomtest(self.newly_held, changed).pvalue) if changed else 1.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """All studies decided twice.

    Attributes:
        candidate: what is compared with what is in force, in words.
        pairs: the newest first.
        not_replayable: reason -> studies that could not be decided again.
        problems: sentences about what the replay could not take into account.
    """

    candidate: str
    pairs: tuple[Pair, ...]
    not_replayable: Mapping[str, int] = field(default_factory=dict[str, int])
    problems: tuple[str, ...] = ()

    @property
    def total(self) -> Counts:
        """Over all studies."""
        return counted(self.pairs)

    @property
    def groups(self) -> dict[Origin, Counts]:
        """By detector, device and protocol, in their order."""
        keys = sorted({pair.origin for pair in self.pairs}, key=_in_order)
        return {key: counted([one for one in self.pairs if one.origin == key]) for key in keys}

    @property
    def changed(self) -> tuple[Pair, ...]:
        """The studies that would be decided otherwise; first those that change sides."""
        found = [pair for pair in self.pairs if pair.changed]
        return tuple(sorted(found, key=lambda pair: pair.before.held == pair.after.held))

    @property
    def transitions(self) -> dict[tuple[str, str], int]:
        """How many studies went from one verdict to another, or stayed."""
        return dict(Counter((pair.before.verdict, pair.after.verdict) for pair in self.pairs))


def counted(pairs: Sequence[Pair]) -> Counts:
    """Return the counts of some studies."""
    sides = Counter((pair.before.held, pair.after.held) for pair in pairs)
    return Counts(
        studies=len(pairs),
        held_before=sides[True, True] + sides[True, False],
        held_after=sides[True, True] + sides[False, True],
        newly_held=sides[False, True],
        newly_passed=sides[True, False],
        other_verdict=sum(pair.changed and pair.before.held == pair.after.held for pair in pairs),
    )


def _part(count: int, total: int) -> Figure:
    return fraction(count, total) if total else Figure(0.0, 0.0, 1.0)


def _in_order(origin: Origin) -> tuple[str, str, str]:
    return (origin.device, origin.protocol, origin.detector)
