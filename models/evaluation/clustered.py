"""Clustered: several rows of one patient resemble each other, so whole patients are resampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import RESAMPLES

Rows = NDArray[np.intp]
"""Indices of rows; a patient drawn twice has each row twice."""


def draws(
    statistics: Callable[[Rows], Sequence[float]],
    patients: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> NDArray[np.float64]:
    """Return the statistics of resampled patients, (resamples, k), NaN where one is undefined.

    The cluster bootstrap (Field and Welsh, Journal of the Royal Statistical Society B 2007): as
    many patients as there are, with replacement, each with all of its rows.

    Args:
        statistics: rows -> k numbers.
        patients: whose row it is, one a row.
        seed: of the resampling.
        resamples: how many.

    Raises:
        ValueError: if there is only one patient.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        raise ValueError("one patient cannot be resampled")
    order = np.argsort(owner, kind="stable")
    own = np.split(order, np.cumsum(np.bincount(owner))[:-1])
    generator = np.random.default_rng(seed)
    return np.array(
        [
            statistics(
                np.concatenate([own[one] for one in generator.integers(0, len(own), len(own))])
            )
            for _ in range(resamples)
        ],
        dtype=np.float64,
    )
