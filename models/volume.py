"""Volume: a scan as an array with its place in the patient. The input of every detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One series on a regular grid.

    Attributes:
        array: float32, (slices, rows, columns), after the modality's rescale (HU for CT).
        affine: float64, (4, 4): index (slice, row, column, 1) to patient coordinates in mm, LPS
            (x to the patient's left, y to the back, z to the head; PS3.3 C.7.6.2.1.1).
        modality: DICOM Modality, for example ``MR``.
        body_part: normalised body part (``BRAIN``, ``PELVIS``, ``CHEST``), empty when not stated.
        sequence: normalised MR contrast (``T1``, ``T2``, ``FLAIR``, ...), empty when not known.
        slice_ids: opaque identity of each slice, in array order.
        device: the scanner, as calibrations name it; empty when not known.
        protocol: the acquisition protocol, as calibrations name it; empty when not known.
        spacing_known: whether the spacing was stated; otherwise the affine's is a guess, and no
            size is checked.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    modality: str
    body_part: str = ""
    sequence: str = ""
    slice_ids: tuple[str, ...] = ()
    device: str = ""
    protocol: str = ""
    spacing_known: bool = True

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbours along (slice, row, column) index."""
        columns = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(columns[0]), float(columns[1]), float(columns[2])

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_patient(self, index: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the patient coordinates (LPS, mm) of an index (slice, row, column)."""
        x, y, z, _ = self.affine @ np.array([*index, 1.0])
        return float(x), float(y), float(z)
