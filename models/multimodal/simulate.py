"""Simulated patients with the published cohort's figures. Nothing here was measured on anybody.

The study (Medical Sciences 2026, 14(1):76) publishes no patients, only figures: 41 patients; score
median 26.91, interquartile range 22.87 to 32.11, 85th percentile 33.85 with 7 above; Spearman's rho
of the score with DLCO -0.25 and FEV1 -0.22. The generator makes a cohort of which these are true:

- scores have those quantiles at the ranks where numpy's linear percentile reads them (10, 20, 30
  and 34 of 0 to 40), and random values between; the tails beyond are ours, they were not published;
- DLCO and FEV1 are the draw, of many, whose rank correlations come nearest the published ones;
- the rest (age, pack-years, FVC, walk, saturation) has ranges usual in fibrotic lung disease and
  correlates with DLCO or FEV1 by a common severity;
- an image embedding has a few directions that follow severity and a part, of a size that grows with
  the score, which nothing else follows: the scan of an atypical patient is far from all others.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.multimodal.model import Cohort
from models.multimodal.variables import LUNG, Table

NOTICE = "SIMULATED patients: nobody was measured, and nothing here is evidence about people."
PATIENTS = 41
QUANTILES = {10: 22.87, 20: 26.91, 30: 32.11, 34: 33.85}
"""Rank, counted from 0, and the published score there."""
LOWEST, HIGHEST = 16.0, 44.0
"""Ends of the simulated scores; the published range is not known to us."""
RHO = {"dlco": -0.25, "fev1": -0.22}
EMBEDDING = 112
_DRAWS = 4000
_SHARED = 0.55


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """A simulated cohort.

    Attributes:
        cohort: what a model sees.
        scores: (patients,): the scores that the cohort was made from.
    """

    cohort: Cohort
    scores: NDArray[np.float64]


def simulated(seed: int = 0, missing: float = 0.1) -> Simulated:
    """Return a cohort with the published figures.

    Args:
        seed: of everything.
        missing: chance that pack-years, walk or saturation was not recorded; DLCO and FEV1 are
            complete, as the published p-values are those of 41 pairs.
    """
    generator = np.random.default_rng(seed)
    scores = _scores(generator)
    dlco, fev1 = _function(generator, scores)
    severity = -(dlco + fev1) / 2  # (patients,), about standard normal
    severity = severity / severity.std()
    own = generator.normal(size=(5, PATIENTS))

    def with_severity(index: int, part: float) -> NDArray[np.float64]:
        return part * severity + np.sqrt(1 - part**2) * own[index]

    columns = {
        "age": np.clip(63 + 9 * with_severity(0, 0.2), 35, 88).round(),
        "pack-years": np.clip(18 + 15 * with_severity(1, 0.1), 0, 80).round(),
        "fvc": np.clip(76 - 16 * with_severity(2, 0.7), 30, 125).round(),
        "fev1": np.clip(78 + 16 * fev1, 28, 125).round(1),
        "dlco": np.clip(54 + 15 * dlco, 14, 110).round(1),
        "walk-6min": np.clip(420 - 95 * with_severity(3, 0.6), 90, 700).round(),
        "spo2": np.clip(95 - 2.2 * with_severity(4, 0.5), 82, 100).round(),
    }
    values = np.column_stack([columns[variable.name] for variable in LUNG])
    for index, variable in enumerate(LUNG):
        if variable.name in {"pack-years", "walk-6min", "spo2"}:
            values[generator.random(PATIENTS) < missing, index] = np.nan
    names = tuple(f"simulated-{number:02d}" for number in range(1, PATIENTS + 1))
    embeddings = _embeddings(generator, scores, severity)
    return Simulated(Cohort(Table(names, LUNG, values), embeddings), scores)


def _scores(generator: np.random.Generator) -> NDArray[np.float64]:
    """Return scores in random order, with the published quantiles."""
    ordered = np.empty(PATIENTS)
    at = [(-1, LOWEST), *QUANTILES.items(), (PATIENTS, HIGHEST)]
    for (first, low), (last, high) in itertools.pairwise(at):
        between = np.sort(generator.uniform(low, high, last - first - 1))
        ordered[first + 1 : last] = between
        if last < PATIENTS:
            ordered[last] = high
    return generator.permutation(ordered)


def _function(
    generator: np.random.Generator, scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return DLCO and FEV1, standard normal in shape, whose rank correlations are nearest."""
    ranks = _normal(scores)
    common = generator.normal(size=(_DRAWS, PATIENTS))
    found: list[NDArray[np.float64]] = []
    for rho in RHO.values():
        # Of Pearson's correlation that gives this rho under normality (Kruskal 1958).
        pearson = 2 * np.sin(np.pi * rho / 6)
        noise = np.sqrt(_SHARED) * common + np.sqrt(1 - _SHARED) * generator.normal(
            size=common.shape
        )
        found.append(pearson * ranks + np.sqrt(1 - pearson**2) * noise)
    wanted = np.array(list(RHO.values()))
    reached = np.stack([_rhos(one, scores) for one in found], axis=1)  # (draws, 2)
    best = int(np.abs(reached - wanted).max(1).argmin())
    return _normal(found[0][best]), _normal(found[1][best])


def _rhos(draws: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's rho of each draw, (draws, patients), with the scores; there are no ties."""
    first = cast("NDArray[np.float64]", stats.rankdata(draws, axis=1))
    second = cast("NDArray[np.float64]", stats.rankdata(scores))
    difference = ((first - second) ** 2).sum(1)
    return 1 - 6 * difference / (PATIENTS * (PATIENTS**2 - 1))


def _normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return normal scores of the ranks (Blom)."""
    ranks = cast("NDArray[np.float64]", stats.rankdata(values))
    return cast("NDArray[np.float64]", stats.norm.ppf((ranks - 0.375) / (len(values) + 0.25)))


def _embeddings(
    generator: np.random.Generator, scores: NDArray[np.float64], severity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return embeddings, (patients, `EMBEDDING`); see the module."""
    axes = np.linalg.qr(generator.normal(size=(EMBEDDING, 8)))[0].T  # (8, size), orthonormal
    followed = np.outer(severity, (1.5, 0.8, 0.0, 0.0)) + 0.7 * generator.normal(
        size=(len(scores), 4)
    )
    alone = generator.normal(size=(len(scores), 4))
    alone /= np.linalg.norm(alone, axis=1, keepdims=True)
    radius = (scores - LOWEST) / 8.0  # 0 to 3.5
    noise = 0.05 * generator.normal(size=(len(scores), EMBEDDING))
    return followed @ axes[:4] + (radius[:, None] * alone) @ axes[4:] + noise + 0.3
