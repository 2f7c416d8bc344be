"""Rates: how often series are really held, beside what their calibration promises. Pure.

Counted by series, since a threshold is of a series; a fault of the series itself, which holds
whatever the score, is counted apart. A new calibration, bundle or threshold begins a new line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gatekeeper.backtest.stored import Origin, StoredSeries, StoredStudy
from gatekeeper.rules.verdict import Verdict, judge_finding
from models.evaluation.coverage import Coverage, coverage, plausible
from models.evaluation.intervals import Figure, fraction

WITHIN, ABOVE, BELOW, NOT_KNOWN = "within", "above", "below", "not known"


@dataclass(frozen=True, slots=True)
class Said:
    """What reviewers said of the verdict on one job: the latest word of each.

    Attributes:
        agree, disagree: how many of them.
    """

    agree: int = 0
    disagree: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """What a line of rates is of.

    Attributes:
        origin: detector, device and protocol.
        version: of the bundle.
        calibration: digest of the calibration scores.
        own: whether they are of the device and protocol; else of the bundle's own reference.
        size: calibration studies.
        rate: nominal false-hold rate.
    """

    origin: Origin
    version: str
    calibration: str
    own: bool
    size: int
    rate: float


@dataclass(slots=True)
class Tally:
    """The counts of one line.

    Attributes:
        judged: series decided by a p-value, held or clear.
        held: of them.
        faults: series held for a fault, not counted in `judged`.
        undecided: series scored without a decision, for want of calibration studies.
        agree, disagree: reviewers' words on the studies that it decided.
        normal: of those, words that call a study normal: SUSPECT and disagreed, CLEAR and agreed.
        falsely_held: of those, SUSPECT.
    """

    judged: int = 0
    held: int = 0
    faults: int = 0
    undecided: int = 0
    agree: int = 0
    disagree: int = 0
    normal: int = 0
    falsely_held: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """One line with its intervals.

    Attributes:
        line: what it is of.
        tally: the counts.
        known: the interval in which the realised rate of such a calibration lies.
        held: realised hold rate with its exact interval; None before anything was judged.
        false_holds: share held of those that a reviewer called normal; None before there is one.
        mark: of the false holds among what was reviewed: ``within`` the counts that are plausible
            for such a calibration, ``above`` or ``below``; ``not known`` without one.
        held_mark: the same of all that was held, which true findings raise too.
    """

    line: Line
    tally: Tally
    known: Coverage
    held: Figure | None
    false_holds: Figure | None
    mark: str
    held_mark: str


@dataclass(slots=True)
class Ledger:
    """Rates as they are counted."""

    tallies: dict[Line, Tally] = field(default_factory=lambda: defaultdict(Tally))

    def add(self, study: StoredStudy, said: Said) -> None:
        """Count one study."""
        for series in study.series:
            if series.kept is not None:
                self._series(study, series)
        deciding = study.deciding
        if deciding is None or deciding.kept is None or not (said.agree or said.disagree):
            return
        tally = self.tallies[_line(study, deciding)]
        tally.agree += said.agree
        tally.disagree += said.disagree
        if study.judgement.verdict is Verdict.SUSPECT:
            tally.normal += said.disagree
            tally.falsely_held += said.disagree
        elif study.judgement.verdict is Verdict.CLEAR:
            tally.normal += said.agree

    def _series(self, study: StoredStudy, series: StoredSeries) -> None:
        kept = series.kept
        if kept is None:
            return
        tally = self.tallies[_line(study, series)]
        verdict = judge_finding(
            kept, _rate_of(study, series), reference_stands_in=study.reference_stands_in
        ).verdict
        if verdict is Verdict.SUSPECT and kept.defects:
            tally.faults += 1
        elif verdict in (Verdict.CLEAR, Verdict.SUSPECT):
            tally.judged += 1
            tally.held += verdict is Verdict.SUSPECT
        else:
            tally.undecided += 1

    def rates(self) -> tuple[Rate, ...]:
        """Return every line by device, protocol and detector, the larger counts first."""
        found = [_rate(line, tally) for line, tally in self.tallies.items()]
        return tuple(
            sorted(
                found,
                key=lambda one: (
                    one.line.origin.device,
                    one.line.origin.protocol,
                    one.line.origin.detector,
                    -one.tally.judged,
                ),
            )
        )


def counted(studies: Iterable[StoredStudy], said: Mapping[int, Said]) -> tuple[Rate, ...]:
    """Return the rates of studies, with what reviewers said of each job."""
    ledger = Ledger()
    for study in studies:
        ledger.add(study, said.get(study.job_id, Said()))
    return ledger.rates()


@dataclass(frozen=True, slots=True)
class Span:
    """What was held in a span of time, of one line.

    Attributes:
        begins, ends: seconds since 1970.
        judged, held: series.
        rate: part held, with its exact interval; None without any.
    """

    begins: float
    ends: float
    judged: int
    held: int
    rate: Figure | None


def over_time(studies: Sequence[StoredStudy], spans: int) -> dict[Line, tuple[Span, ...]]:
    """Return the counts of each line in equal spans from the first to the last of the studies."""
    if not studies:
        return {}
    first, last = min(one.at for one in studies), max(one.at for one in studies)
    length = max((last - first) / spans, 1.0)
    ledgers = [Ledger() for _ in range(spans)]
    for study in studies:
        ledgers[min(spans - 1, int((study.at - first) / length))].add(study, Said())
    lines = {line for one in ledgers for line in one.tallies}
    return {
        line: tuple(
            _span(first + index * length, length, one.tallies.get(line, Tally()))
            for index, one in enumerate(ledgers)
        )
        for line in lines
    }


def _span(begins: float, length: float, tally: Tally) -> Span:
    rate = fraction(tally.held, tally.judged) if tally.judged else None
    return Span(begins, begins + length, tally.judged, tally.held, rate)


def _line(study: StoredStudy, series: StoredSeries) -> Line:
    kept = series.kept
    return Line(
        origin=series.origin,
        version=series.version,
        calibration=series.calibration,
        own=kept is not None and kept.site_calibrated,
        size=0 if kept is None else kept.calibration_size,
        rate=_rate_of(study, series),
    )


def _rate_of(study: StoredStudy, series: StoredSeries) -> float:
    return study.false_hold_rate if series.false_hold_rate is None else series.false_hold_rate


def _rate(line: Line, tally: Tally) -> Rate:
    known = coverage(line.size, line.rate)
    return Rate(
        line=line,
        tally=tally,
        known=known,
        held=fraction(tally.held, tally.judged) if tally.judged else None,
        false_holds=fraction(tally.falsely_held, tally.normal) if tally.normal else None,
        mark=_mark(known, tally.falsely_held, tally.normal),
        held_mark=_mark(known, tally.held, tally.judged),
    )


def _mark(known: Coverage, held: int, judged: int) -> str:
    if known.rank == 0 or judged == 0:
        return NOT_KNOWN
    least, most = plausible(known, judged)
    return ABOVE if held > most else BELOW if held < least else WITHIN
