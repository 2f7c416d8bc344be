"""Clusters: does the code, without labels, group patches by malignancy, by size, or by patient?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import Figure, percentile

PATIENT = "patient"
"""The grouping that has no interval: patients cannot be resampled and told apart."""
_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Clustering:
    """How well one grouping shows in a code.

    Attributes:
        by: malignancy, size or patient.
        groups: how many there are, and k of the k-means.
        rand: adjusted Rand index of k-means and the grouping (Hubert and Arabie 1985).
        silhouette: of the grouping itself (Rousseeuw 1987).
    """

    by: str
    groups: int
    rand: Figure
    silhouette: Figure


def clusterings(
    codes: NDArray[np.float64],
    groupings: dict[str, NDArray[np.int64]],
    patients: NDArray[np.str_],
    seed: int = 0,
) -> list[Clustering]:
    """Return how each grouping shows, intervals by resampled patients (k-means stays as it is).

    A grouping of one group, or of one patch each, has no silhouette and is left out.

    Args:
        codes: (n, latent); standardised here.
        groupings: name -> group of each patch, (n,).
        patients: whose patch it is, (n,).
        seed: of k-means and the resampling.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, silhouette_samples

    scaled = (codes - codes.mean(axis=0)) / np.maximum(codes.std(axis=0), 1e-9)
    names, owner = np.unique(patients, return_inverse=True)
    rows = [np.flatnonzero(owner == index) for index in range(len(names))]
    generator = np.random.default_rng(seed)
    found: list[Clustering] = []
    for by, group in groupings.items():
        count = len(np.unique(group))
        if not 2 <= count < len(group):
            continue
        means = KMeans(count, n_init=cast("Any", 5), random_state=seed)
        guess = means.fit_predict(scaled)
        width = np.asarray(silhouette_samples(scaled, group), dtype=np.float64)
        drawn: list[tuple[float, float]] = []
        for _ in range(_RESAMPLES):
            index = np.concatenate([rows[n] for n in generator.integers(0, len(rows), len(rows))])
            rand = float(adjusted_rand_score(group[index], guess[index]))
            drawn.append((rand, float(width[index].mean())))
        whole = float(adjusted_rand_score(group, guess))
        if by == PATIENT:  # a patient drawn twice would count as two that are alike
            drawn = []
        found.append(
            Clustering(
                by, count,
                percentile(whole, [one[0] for one in drawn]),
                percentile(float(width.mean()), [one[1] for one in drawn]),
            )
        )  # fmt: skip
    return found


def thirds(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Return 0, 1 or 2 for the lower, middle and upper third of the values, (n,)."""
    array = np.asarray(values, dtype=np.float64)
    return np.searchsorted(np.quantile(array, (1 / 3, 2 / 3)), array, side="right").astype(np.int64)
