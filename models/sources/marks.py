"""Marks: which slices of a scan with lesions may stand for normal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SLICES_APART = 3
"""How many slices a slice lies from every marked one, to stand for normal."""


def normal_slices(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which slices are `SLICES_APART` or more from every slice with a marked voxel.

    The patient still has the disease: swelling beyond the mask and small lesions that nobody drew
    can be there, so what remains is pseudo-normal.

    Args:
        marked: bool, (slices, rows, columns).

    Returns:
        Bool, (slices,).
    """
    with_mark = np.flatnonzero(marked.any(axis=(1, 2)))
    if not len(with_mark):
        return np.ones(len(marked), dtype=np.bool_)
    distance = np.abs(np.arange(len(marked))[:, None] - with_mark[None, :]).min(axis=1)
    return distance >= SLICES_APART
