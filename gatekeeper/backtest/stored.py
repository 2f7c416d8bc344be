"""Stored: the evidence of a past verdict as it was kept, judged again by the gate's own functions.

What was kept is enough for another threshold: p-value, levels, faults of the series. What no
detector scored keeps its verdict, for no threshold changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatekeeper.errors import GatekeeperError
from gatekeeper.rules.verdict import Judgement, Verdict, judge_finding, judge_study, most_extreme
from models.finding import Level
from storage.records import Outcome

_FAULT = "Held: the series has a fault. "
"""How a verdict begins that rests on a fault; evidence before 0021 names the fault only there."""


class EvidenceError(GatekeeperError):
    """Evidence that cannot be judged again: kept by another version, or damaged."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a rate is counted by.

    Attributes:
        detector: name of the bundle that judged; empty where none did.
        device: the scanner, as calibrations name it; empty where it is not known.
        protocol: the acquisition protocol, likewise.
    """

    detector: str = ""
    device: str = ""
    protocol: str = ""

    @property
    def place(self) -> str:
        """Device and protocol, for people."""
        return f"{self.device or '(device not known)'}, {self.protocol or '(protocol not known)'}"


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept of a finding; a `gatekeeper.rules.verdict.Scored`."""

    p_value: float
    score: float
    levels: tuple[Level, ...]
    defects: tuple[str, ...]
    site_calibrated: bool

    @property
    def calibration_size(self) -> int:
        """Calibration studies behind the level that decides."""
        return most_extreme(self.levels).calibration_size


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One series of a past study.

    Attributes:
        series_instance_uid: its UID.
        judgement: as it was given.
        origin: of the series.
        kept: None where no detector scored it.
        version: of the bundle.
        calibration: digest of the calibration scores.
        false_hold_rate: of its profile alone; None where that of the study counts.
    """

    series_instance_uid: str
    judgement: Judgement
    origin: Origin
    kept: Kept | None = None
    version: str = ""
    calibration: str = ""
    false_hold_rate: float | None = None

    def judged(self, false_hold_rate: float, *, reference_stands_in: bool) -> Judgement:
        """Return the verdict under another threshold; see `judge_finding`."""
        if self.kept is None:
            return self.judgement
        return judge_finding(self.kept, false_hold_rate, reference_stands_in=reference_stands_in)


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """One past study as one job judged it.

    Attributes:
        job_id: the job.
        study_instance_uid: the study.
        content_digest: what was judged.
        at: when it was settled, seconds since the epoch.
        judgement: as it was given.
        series: in the order of the evidence.
        false_hold_rate: that the verdict rested on.
        reference_stands_in: likewise.
        left_out: rules that left out every series of it; then nothing was to be judged.
    """

    job_id: int
    study_instance_uid: str
    content_digest: str
    at: float
    judgement: Judgement
    series: tuple[StoredSeries, ...]
    false_hold_rate: float
    reference_stands_in: bool
    left_out: tuple[str, ...] = ()

    def judged(
        self,
        false_hold_rate: float,
        rates: Mapping[str, float] | None = None,
        *,
        reference_stands_in: bool,
    ) -> Judgement:
        """Return the study's verdict under other thresholds, the stored one where none differs.

        Args:
            false_hold_rate: of every series that no other rate is for.
            rates: of single bundles, by their names.
            reference_stands_in: see `judge_finding`.
        """
        again = [
            one.judged(
                (rates or {}).get(one.origin.detector, false_hold_rate),
                reference_stands_in=reference_stands_in,
            )
            for one in self.series
        ]
        if again == [one.judgement for one in self.series]:
            return self.judgement
        return judge_study(again)

    @property
    def deciding(self) -> StoredSeries | None:
        """The series that the study is counted by: the scored one of the smallest p-value."""
        scored = [one for one in self.series if one.kept is not None]
        if scored:
            return min(scored, key=lambda one: one.kept.p_value if one.kept else 1.0)
        return self.series[0] if self.series else None

    @property
    def origin(self) -> Origin:
        """Of the deciding series."""
        return Origin() if self.deciding is None else self.deciding.origin

    @property
    def p_value(self) -> float | None:
        """The smallest of its series; None where nothing was scored."""
        kept = None if self.deciding is None else self.deciding.kept
        return None if kept is None else kept.p_value


def stored_study(study_instance_uid: str, content_digest: str, outcome: Outcome) -> StoredStudy:
    """Return what was kept of a study's judgement.

    Raises:
        EvidenceError: if it cannot be judged again.
    """
    evidence = outcome.evidence
    try:
        return StoredStudy(
            job_id=outcome.job_id,
            study_instance_uid=study_instance_uid,
            content_digest=content_digest,
            at=outcome.created_at,
            judgement=Judgement(Verdict(outcome.verdict), outcome.reason),
            series=tuple(_series(one) for one in evidence["series"]),
            false_hold_rate=float(evidence["false_hold_rate"]),
            reference_stands_in=bool(evidence.get("reference_stands_in", True)),
            left_out=tuple(str(name) for name in evidence.get("left_out", ())),
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        raise EvidenceError(
            f"the evidence of job {outcome.job_id} is of another version and cannot be judged again"
        ) from None


def _series(one: Mapping[str, Any]) -> StoredSeries:
    origin: Mapping[str, Any] = one.get("origin", {})
    scored = "p_value" in one
    reason = str(one["reason"])
    return StoredSeries(
        series_instance_uid=str(one["series_instance_uid"]),
        judgement=Judgement(Verdict(one["verdict"]), reason),
        origin=Origin(
            str(one.get("profile", "")),
            str(origin.get("device", "")),
            str(origin.get("protocol", "")),
        ),
        kept=_kept(one, reason) if scored else None,
        version=str(one.get("bundle_version", "")),
        calibration=str(one.get("calibration_digest", "")),
        false_hold_rate=one.get("false_hold_rate"),
    )


def _kept(one: Mapping[str, Any], reason: str) -> Kept:
    levels = tuple(Level(**level) for level in one["levels"])
    if not levels:
        raise ValueError("a finding has a level")
    return Kept(
        p_value=float(one["p_value"]),
        score=float(one["score"]),
        levels=levels,
        defects=_defects(one.get("defects"), reason),
        site_calibrated=bool(one.get("site_calibrated", False)),
    )


def _defects(stated: Sequence[str] | None, reason: str) -> tuple[str, ...]:
    if stated is not None:
        return tuple(str(sentence) for sentence in stated)
    return (reason.removeprefix(_FAULT),) if reason.startswith(_FAULT) else ()
