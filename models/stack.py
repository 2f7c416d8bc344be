"""Stack: how much each slice of a series differs from the next.

Pair k of a stack is slices k and k + 1; `pairs` are those that count.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray


def steps(slices: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the difference of each slice to the next, over their common brightness."""
    change = np.abs(np.diff(slices, axis=0)).sum(axis=(1, 2), dtype=np.float64)
    bright = np.maximum(slices[1:], slices[:-1]).sum(axis=(1, 2), dtype=np.float64)
    return cast("NDArray[np.float64]", change / np.maximum(bright, 1e-12))


def near(pairs: NDArray[np.intp], pair: int, reach: int) -> NDArray[np.intp]:
    """Return the other pairs within `reach` of a pair."""
    return pairs[(np.abs(pairs - pair) <= reach) & (pairs != pair)]


def jump(step: NDArray[np.float64], pairs: NDArray[np.intp], pair: int) -> float:
    """Return the step of a pair over the largest of the two on each side; 0 at the ends."""
    around = near(pairs, pair, 2)
    return float(step[pair] / max(step[around].max(), 1e-12)) if len(around) >= 3 else 0.0
