"""The paper's reported statistics, computed again from its own numbers, ours beside theirs.

Of Medical Sciences 2026, 14(1):76, as far as figures alone allow: no patient was published.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atanh, ceil, sqrt, tanh

import numpy as np
from scipy import stats

from models.evaluation.intervals import fraction
from models.evaluation.patients import Z95
from models.multimodal.simulate import PATIENTS, QUANTILES, RHO

PERMUTATIONS = 200_000
"""Of the null distribution of rho: 41! orders cannot be counted, so they are drawn."""
PUBLISHED_P = {"dlco": 0.115, "fev1": 0.165}
ATYPICAL = 7


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        quantity: what.
        published: as the paper has it; empty where it has none.
        ours: computed again.
        how: from what, and what follows.
    """

    quantity: str
    published: str
    ours: str
    how: str


def recomputed(seed: int = 0) -> tuple[Row, ...]:
    """Return every figure that can be computed again; `seed` draws the permutations."""
    share = fraction(ATYPICAL, PATIENTS)
    rank = 0.85 * (PATIENTS - 1)
    rows = [
        Row(
            "called atypical",
            "7 of 41",
            f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f} %)",
            "Clopper and Pearson's exact interval",
        ),
        Row(
            "85th percentile",
            f"{QUANTILES[34]:.2f}",
            f"the value at rank {rank:.0f} of 0 to {PATIENTS - 1}; "
            f"{PATIENTS - round(rank)} at or above it",
            "numpy's linear percentile of 41 values: 7 of 41 for any scores without ties, so the "
            "count says nothing about these patients",
        ),
    ]
    null = _null(seed)
    for name, rho in RHO.items():
        rows += _correlation(name.upper(), rho, PUBLISHED_P[name], null)
    smallest = min(PUBLISHED_P.values())
    rows.append(
        Row(
            "smaller p, of two",
            f"{smallest:.3f}",
            f"{min(1.0, 2 * smallest):.2f}",
            "Bonferroni and Holm alike: neither correlation is shown",
        )
    )
    critical = float(np.quantile(np.abs(null), 0.95))
    rows.append(
        Row(
            "smallest rho with p < 0.05",
            "",
            f"{critical:.2f} in size",
            f"{PERMUTATIONS:,} permutations of 41 ranks",
        )
    )
    return tuple(rows)


def _correlation(
    name: str, rho: float, published: float, null: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> list[Row]:
    half = 0.005  # rho has two decimals
    low, high = sorted(t_p_value(rho + sign * half, PATIENTS) for sign in (-1, 1))
    p, error = _permutation(rho, null)
    wide = Z95 * sqrt((1 + rho**2 / 2) / (PATIENTS - 3))
    ends = tanh(atanh(rho) - wide), tanh(atanh(rho) + wide)
    return [
        Row(
            f"rho with {name}",
            f"{rho:.2f}",
            f"{ends[0]:.2f} to {ends[1]:.2f}",
            "95 % interval of Bonett and Wright (Psychometrika 2000)",
        ),
        Row(
            f"p of rho with {name}",
            f"{published:.3f}",
            f"{t_p_value(rho, PATIENTS):.3f} by t; {p:.3f} (± {error:.3f}) by permutation",
            f"two-sided, n = 41; {low:.3f} to {high:.3f} by t for a rho rounded to {rho:.2f}: "
            + ("in agreement" if low - 5e-4 <= published <= high + 5e-4 else "not in agreement"),
        ),
        Row(
            f"power to find rho {rho:.2f}",
            "",
            f"{100 * power(rho, PATIENTS):.0f} %; 80 % needs {needed(rho)} patients",
            "two-sided at 5 %, Fisher's z with Bonett and Wright's variance",
        ),
    ]


def t_p_value(rho: float, patients: int) -> float:
    """Return the two-sided p-value of a rank correlation by Student's t."""
    t = rho * sqrt((patients - 2) / (1 - rho**2))
    return float(2 * stats.t.sf(abs(t), patients - 2))


def power(rho: float, patients: int) -> float:
    """Return the chance that a true `rho` is found at 5 %, two-sided."""
    shift = abs(atanh(rho)) / sqrt((1 + rho**2 / 2) / (patients - 3))
    return float(stats.norm.sf(Z95 - shift) + stats.norm.cdf(-Z95 - shift))


def needed(rho: float) -> int:
    """Return how many patients find a true `rho` at 5 % with a chance of 80 %."""
    wanted = (Z95 + float(stats.norm.ppf(0.8))) ** 2 * (1 + rho**2 / 2)
    return ceil(wanted / atanh(rho) ** 2 + 3)


def _null(seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return rho of `PERMUTATIONS` random orders of 41 ranks, without ties."""
    generator = np.random.default_rng(seed)
    ranks = np.arange(PATIENTS, dtype=np.float64)
    found: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for _ in range(PERMUTATIONS // 10_000):
        orders = generator.permuted(np.tile(ranks, (10_000, 1)), axis=1)
        squared = ((orders - ranks) ** 2).sum(1)
        found.append(1 - 6 * squared / (PATIENTS * (PATIENTS**2 - 1)))
    return np.concatenate(found)


def _permutation(
    rho: float, null: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> tuple[float, float]:
    """Return the two-sided p-value among random orders, and its Monte Carlo error (95 %)."""
    p = (1 + int((np.abs(null) >= abs(rho) - 1e-9).sum())) / (len(null) + 1)
    return p, Z95 * sqrt(p * (1 - p) / len(null))
