"""Lately: what a site's latest series say of a bundle: scores, p-values, reviewers' words. Pure.

If series are like the calibration, their scores are distributed as its scores, p-values of CLEAR
series are uniform above the false-hold rate, and of those that reviewers call normal the stated
part is held. Series with a fault are held whatever they score, and left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatekeeper.backtest.rates import Said
from gatekeeper.backtest.stored import StoredStudy
from gatekeeper.rules.verdict import Verdict
from models.calibration import Calibration
from models.evaluation.coverage import combined
from models.evaluation.intervals import FEWEST, Figure, auroc, fraction
from models.evaluation.reliability import FalseHold, Uniformity, false_hold_rates, uniformity

NOMINAL = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Rates at which the realised one is looked at."""
_RESAMPLES = 500
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Seen:
    """A series as a bundle judged it.

    Attributes:
        score, p_value: that its verdict rests on.
        verdict: of the series.
        rate: false-hold rate in force.
        size: calibration studies.
        calibration: digest of their scores.
        abnormal: by reviewers, where it decides about its study; None where they said nothing or
            are of two minds.
    """

    score: float
    p_value: float
    verdict: str
    rate: float
    size: int
    calibration: str
    abnormal: bool | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """The calibration that most of the series were judged by.

    Attributes:
        place: device and protocol; empty for the bundle's own reference.
        scores: the deciding score of each calibration study.
        digest: of them.
    """

    place: str
    scores: tuple[float, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """The series that reviewers called normal or abnormal.

    Attributes:
        normal, abnormal: p-values of each.
        points: the curve: parts of normal and abnormal series held, as the threshold rises.
        area: under it, with a bootstrap interval; None with too few.
        held_abnormal, held_normal: parts that were held, with exact intervals; None without any.
        reliability: of the normal, realised beside nominal rates; empty without any.
    """

    normal: tuple[float, ...]
    abnormal: tuple[float, ...]
    points: tuple[tuple[float, float], ...]
    area: Figure | None
    held_abnormal: Figure | None
    held_normal: Figure | None
    reliability: tuple[FalseHold, ...]

    @property
    def enough(self) -> bool:
        """Whether there are enough of each for a curve."""
        return min(len(self.normal), len(self.abnormal)) >= FEWEST


@dataclass(frozen=True, slots=True)
class Clear:
    """The CLEAR series of one calibration and rate.

    Attributes:
        p_values: of them.
        rate: above which they lie.
        test: against the uniform distribution there; None with too few.
    """

    p_values: tuple[float, ...]
    rate: float
    test: Uniformity | None


def seen(studies: Iterable[StoredStudy], said: Mapping[int, Said], bundle: str) -> list[Seen]:
    """Return the series that a bundle scored, in the order of the studies."""
    found: list[Seen] = []
    for study in studies:
        word = said.get(study.job_id, Said())
        for one in study.series:
            kept = one.kept
            if kept is None or kept.defects or one.origin.detector != bundle:
                continue
            rate = study.false_hold_rate if one.false_hold_rate is None else one.false_hold_rate
            found.append(
                Seen(
                    score=kept.score,
                    p_value=kept.p_value,
                    verdict=str(one.judgement.verdict),
                    rate=rate,
                    size=kept.calibration_size,
                    calibration=one.calibration,
                    abnormal=_label(study.judgement.verdict, word)
                    if one is study.deciding
                    else None,
                )
            )
    return found


def reference_of(manifest: Mapping[str, Any], series: Sequence[Seen]) -> Reference | None:
    """Return the calibration that most of the series were judged by; None if it is not here.

    Args:
        manifest: of the bundle.
        series: that it judged; without any, the bundle's own reference is returned.
    """
    known = [_calibration(one, manifest) for one in _entries(manifest)]
    found = {one.digest: one for one in known if one is not None}
    if not found:
        return None
    usual = Counter(one.calibration for one in series).most_common(1)
    digest = usual[0][0] if usual else next(iter(found))
    one = found.get(digest)
    if one is None:
        return None
    place = ", ".join(part for part in (one.device, one.protocol) if part)
    levels = np.column_stack([one.scores[name] for name in one.deciding])
    return Reference(place, tuple(combined(levels, levels).tolist()), digest)


def clear_of(series: Sequence[Seen]) -> Clear | None:
    """Return the CLEAR series of the most usual calibration size and rate; None without any."""
    clear = [one for one in series if one.verdict == Verdict.CLEAR]
    if not clear:
        return None
    (size, rate), _ = Counter((one.size, one.rate) for one in clear).most_common(1)[0]
    own = [one.p_value for one in clear if (one.size, one.rate) == (size, rate)]
    # Above the rate, k / (n + 1) is uniform on what is left of its steps.
    held = int(rate * (size + 1) + _ROUNDING)
    left = size + 1 - held
    scaled = [(value * (size + 1) - held) / left for value in own]
    test = uniformity(scaled, left - 1) if len(own) >= FEWEST and left > 1 else None
    return Clear(tuple(own), rate, test)


def labelled_of(series: Sequence[Seen]) -> Labelled:
    """Return what reviewers' words say of the series that have any."""
    normal = [one for one in series if one.abnormal is False]
    abnormal = [one for one in series if one.abnormal is True]
    enough = min(len(normal), len(abnormal)) >= FEWEST
    of_normal = tuple(one.p_value for one in normal)
    of_abnormal = tuple(one.p_value for one in abnormal)
    size = max((one.size for one in normal), default=0)
    return Labelled(
        normal=of_normal,
        abnormal=of_abnormal,
        points=_curve(of_normal, of_abnormal) if enough else (),
        area=auroc([-p for p in of_normal], [-p for p in of_abnormal], resamples=_RESAMPLES)
        if enough
        else None,
        held_abnormal=_held(abnormal),
        held_normal=_held(normal),
        reliability=false_hold_rates(of_normal, size, NOMINAL) if normal else (),
    )


def realised(series: Sequence[Seen]) -> tuple[FalseHold, ...]:
    """Return the part of all series with a p-value up to each nominal rate; empty without any."""
    size = max((one.size for one in series), default=0)
    return false_hold_rates([one.p_value for one in series], size, NOMINAL) if series else ()


def _label(verdict: Verdict, said: Said) -> bool | None:
    if said.agree == said.disagree or verdict not in (Verdict.SUSPECT, Verdict.CLEAR):
        return None
    return (said.agree > said.disagree) == (verdict is Verdict.SUSPECT)


def _held(series: Sequence[Seen]) -> Figure | None:
    held = sum(one.verdict == Verdict.SUSPECT for one in series)
    return fraction(held, len(series)) if series else None


def _curve(normal: Sequence[float], abnormal: Sequence[float]) -> tuple[tuple[float, float], ...]:
    a, b = np.sort(normal), np.sort(abnormal)
    cuts = np.unique(np.concatenate((a, b)))
    x = np.searchsorted(a, cuts, side="right") / len(a)
    y = np.searchsorted(b, cuts, side="right") / len(b)
    return ((0.0, 0.0), *zip(x.tolist(), y.tolist(), strict=True))


def _entries(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [manifest.get("calibration", {}), *manifest.get("site_calibrations", ())]


def _calibration(entry: Mapping[str, Any], manifest: Mapping[str, Any]) -> Calibration | None:
    try:
        return Calibration(
            scores={name: tuple(map(float, values)) for name, values in entry["scores"].items()},
            description=str(entry.get("description", "")),
            map_threshold=0.0,
            deciding=tuple(manifest["deciding"]),
            device=str(entry.get("device", "")),
            protocol=str(entry.get("protocol", "")),
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
