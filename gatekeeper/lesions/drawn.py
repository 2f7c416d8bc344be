"""Drawn: a region that somebody drew, in patient coordinates, brought onto a scan's voxels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

from gatekeeper.errors import LesionRefused
from gatekeeper.lesions.finding import Origin
from models.volume import Volume

_COARSEST = 1.05
"""Voxels of the scan that one pixel of a region may span along a row or column."""
_OUT_OF_PLANE = 0.5
"""Slices by which the points of one contour may lie apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One segment or structure.

    Attributes:
        origin: kind of object that it came in.
        reference: SOP Instance UID of that object.
        number: of the segment or structure in it.
        frame_of_reference: UID of the space that its coordinates are in.
        series: UIDs of the series that it says it was drawn on; empty where it does not say.
        points: (n, 3): pixel centres of a segment, LPS mm; of a structure none.
        steps: (3, 2): from a pixel of the segment to the next along row and column, mm.
        contours: of a structure, (points, 3) each, LPS mm, closed; none of a segment.
        exclusive: whether overlapping contours leave holes (CLOSEDPLANAR_XOR, PS3.3 C.8.8.6).
    """

    origin: Origin
    reference: str
    number: int
    frame_of_reference: str
    series: frozenset[str]
    points: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    steps: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, 2)))
    contours: tuple[NDArray[np.float64], ...] = ()
    exclusive: bool = False

    def on(self, series: str, frame_of_reference: str) -> bool:
        """Return whether it was drawn on a series: by frame of reference, and by name if it says.

        A frame of reference alone would take in the other reconstructions of one acquisition.
        """
        return self.frame_of_reference == frame_of_reference and (
            not self.series or series in self.series
        )

    def voxels(self, volume: Volume) -> NDArray[np.intp]:
        """Return the indices (slice, row, column) of the scan's voxels in it, (n, 3), sorted.

        Raises:
            LesionRefused: if it is not on the scan, or not in its planes.
        """
        inverse = np.asarray(np.linalg.inv(volume.affine), np.float64)
        found = self._filled(volume, inverse) if self.contours else self._nearest(volume, inverse)
        inside = ((found >= 0) & (found < np.array(volume.array.shape))).all(axis=1)
        if not inside.any():
            raise LesionRefused("outside the scan")
        return np.unique(found[inside], axis=0)

    def _nearest(self, volume: Volume, inverse: NDArray[np.float64]) -> NDArray[np.intp]:
        if np.abs(inverse[:3, :3] @ self.steps).max() > _COARSEST:
            raise LesionRefused("on a coarser grid than the scan")
        return _indices(self.points, inverse, volume).round().astype(np.intp)

    def _filled(self, volume: Volume, inverse: NDArray[np.float64]) -> NDArray[np.intp]:
        slices: dict[int, NDArray[np.bool_]] = {}
        shape = (int(volume.array.shape[1]), int(volume.array.shape[2]))
        for contour in self.contours:
            places = _indices(contour, inverse, volume)
            if np.ptp(places[:, 0]) > _OUT_OF_PLANE:
                raise LesionRefused("not drawn in the planes of the scan")
            level = round(float(places[:, 0].mean()))
            if not 0 <= level < len(volume.array):
                continue
            filled = np.zeros(shape, np.bool_)
            filled[polygon(places[:, 1], places[:, 2], shape)] = True
            row, column = (round(float(n)) for n in places[:, 1:].mean(axis=0))
            if not filled.any() and 0 <= row < shape[0] and 0 <= column < shape[1]:
                filled[row, column] = True  # smaller than a pixel
            before = slices.setdefault(level, np.zeros(shape, np.bool_))
            slices[level] = before ^ filled if self.exclusive else before | filled
        found = [np.insert(np.argwhere(mask), 0, level, axis=1) for level, mask in slices.items()]
        return np.concatenate(found) if found else np.zeros((0, 3), np.intp)


def _indices(
    points: NDArray[np.float64], inverse: NDArray[np.float64], volume: Volume
) -> NDArray[np.float64]:
    """Return indices of points, kept near the scan so that they are whole numbers one can count."""
    places = points @ inverse[:3, :3].T + inverse[:3, 3]
    most = np.array(volume.array.shape, np.float64) + 1
    return np.clip(places, -2.0, most)
