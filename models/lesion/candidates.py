"""Candidates: where a lesion may be in a chest CT slice on which nobody drew one.

The lungs are the air inside the body; closed by a disc, they take in what lies in them or bulges
into them from the wall or the mediastinum. Soft tissue in there that an opening by a small disc
leaves (vessels do not survive it) is a candidate, and the thickest counts first. Crude: at the
hilum it finds vessels, a nodule under 4 mm is lost, a lung filled altogether is no lung. It is for
sets that state a class for a whole slice, and what it finds is not known to be the lesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure, morphology

AIR_HU = -400.0
"""Between lung and soft tissue."""
TISSUE_HU = -250.0
_CLOSING = 16
_SMALLEST_LUNG = 250
_MOST_RIM = 2
_SPOT_PIXELS = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A place in a slice.

    Attributes:
        row, column: of its middle.
        prominence: radius in pixels of the largest disc inside it, times the part of its rim that
            lies against air.
        mask: bool, like the slice.
    """

    row: int
    column: int
    prominence: float
    mask: NDArray[np.bool_]


def body(slice_hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the body: the largest piece of tissue that a table's thin plate is not part of."""
    tissue = ndimage.binary_opening(slice_hu > AIR_HU, iterations=2)
    labels = cast("NDArray[np.int32]", measure.label(tissue, connectivity=1))
    sizes = np.bincount(labels.ravel())
    if len(sizes) < 2:
        return np.zeros(slice_hu.shape, dtype=np.bool_)
    largest = labels == int(sizes[1:].argmax()) + 1
    return cast("NDArray[np.bool_]", ndimage.binary_fill_holes(largest))


def lungs(slice_hu: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the air of the lungs, numbered: the two largest pieces of air inside the body."""
    air = (slice_hu < AIR_HU) & body(slice_hu)
    labels = cast("NDArray[np.int32]", measure.label(air, connectivity=1))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = [int(n) for n in np.argsort(sizes)[::-1][:2] if sizes[n] >= _SMALLEST_LUNG]
    return np.where(np.isin(labels, kept), labels, 0).astype(np.int32)


def chest(slice_hu: NDArray[np.float32], closing: int = _CLOSING) -> NDArray[np.bool_]:
    """Return the lungs with what lies in them or bulges into them."""
    labels = lungs(slice_hu)
    found = np.zeros(slice_hu.shape, dtype=np.bool_)
    for number in np.unique(labels[labels > 0]):
        own = np.pad(labels == number, closing + 1)
        # A closing by a disc, by two distances: as fast for a large disc as for a small one.
        near = _away(~own) <= closing
        closed = _away(near) > closing
        filled = cast("NDArray[np.bool_]", ndimage.binary_fill_holes(closed | own))
        found |= filled[closing + 1 : -closing - 1, closing + 1 : -closing - 1]
    return found & body(slice_hu)


def candidates(slice_hu: NDArray[np.float32], most: int = 1) -> list[Candidate]:
    """Return at most so many candidates of a slice, most prominent first; none without a lung.

    Where nothing survives the opening, the brightest spot in the lungs is the only candidate.
    """
    inside = chest(slice_hu)
    if not inside.any():
        return []
    tissue = (slice_hu > TISSUE_HU) & inside
    opened = cast("NDArray[np.bool_]", morphology.opening(tissue, morphology.disk(1)))
    depth = _away(opened)
    air = slice_hu < AIR_HU
    labels = cast("NDArray[np.int32]", measure.label(opened, connectivity=1))
    found: list[Candidate] = []
    for number in range(1, int(labels.max()) + 1):
        own = labels == number
        rim = ndimage.binary_dilation(own, iterations=_MOST_RIM) & ~own
        prominence = float(depth[own].max()) * float(air[rim].mean())
        rows, columns = np.nonzero(own & (depth >= 0.8 * depth[own].max()))
        found.append(
            Candidate(round(float(rows.mean())), round(float(columns.mean())), prominence, own)
        )
    if not found:
        deep = _away(inside) > 2 * _MOST_RIM
        smooth = np.where(deep, ndimage.gaussian_filter(slice_hu, _SPOT_PIXELS), -np.inf)
        row, column = (int(n) for n in np.unravel_index(int(smooth.argmax()), smooth.shape))
        rows, columns = np.ogrid[: slice_hu.shape[0], : slice_hu.shape[1]]
        spot = np.hypot(rows - row, columns - column) <= _SPOT_PIXELS
        return [Candidate(row, column, 0.0, spot)]
    found.sort(key=lambda one: (-one.prominence, one.row, one.column))
    return found[:most]


def _away(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how far each pixel of a mask is from the nearest one outside it."""
    return cast("NDArray[np.float64]", ndimage.distance_transform_edt(mask))


def patch(
    stack: NDArray[np.float32], row: int, column: int, size: int, outside: float
) -> NDArray[np.float32]:
    """Return a square of each slice, (slices, size, size), `outside` where there is no slice."""
    half = size // 2
    padded = np.pad(stack, ((0, 0), (half, half), (half, half)), constant_values=outside)
    return np.ascontiguousarray(padded[:, row : row + size, column : column + size])
