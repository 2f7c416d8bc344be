"""Inherited: what a picture has from its source besides patient and study, and may not hide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from gatekeeper.results.assessment import SeriesAssessment, SourceSlice
from gatekeeper.results.attributes import numbers, put, sanitised
from gatekeeper.results.common import first_header
from models.volume import Volume

HEADS = frozenset({"BRAIN", "HEAD", "HEADNECK", "FACE", "SKULL"})
"""Body parts by whose images a person may be recognised."""


def set_lossy(target: Dataset, series: SeriesAssessment) -> None:
    """Copy that the source lost information to compression (PS3.3 C.7.6.1.1.5)."""
    target.LossyImageCompression = "01" if series.source.lossy else "00"
    if not series.source.lossy:
        return
    for header in series.source.headers:
        if sanitised(header, "LossyImageCompression") == "01":
            for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
                value: Any = sanitised(header, keyword)
                if value is not None:
                    put(target, keyword, value)
            return


@dataclass(frozen=True, slots=True, eq=False)
class SlicePlane:
    """Where a slice lies in the patient (PS3.3 C.7.6.2).

    Attributes:
        position: centre of its first pixel, LPS mm.
        across: unit vector along a row.
        down: unit vector down a column.
    """

    position: tuple[float, ...]
    across: tuple[float, ...]
    down: tuple[float, ...]


def plane_of(source: SourceSlice, volume: Volume, index: int) -> SlicePlane:
    """Return where a slice lies, so that every result puts it in the same place.

    The source's own numbers are kept where position and orientation both agree with the volume's,
    so that they are equal and not merely close. A frame's are in its functional groups, and the
    volume's stand for them.

    Args:
        source: the slice.
        volume: of which it is a part.
        index: its place in the volume.
    """
    first = volume.to_patient((index, 0, 0))
    across, down = in_plane(volume)
    position = numbers(source.header, "ImagePositionPatient", 3)
    stated = numbers(source.header, "ImageOrientationPatient", 6)
    if source.frame is None and position and stated:
        agrees = min(float(stated[:3] @ across), float(stated[3:] @ down)) > 0.999
        distance = float(np.linalg.norm(np.subtract(position, first)))
        if agrees and distance < 0.1 * min(volume.spacing):
            return SlicePlane(position, stated[:3], stated[3:])
    return SlicePlane(first, tuple(map(float, across)), tuple(map(float, down)))


def slice_distance(volume: Volume) -> float:
    """Return mm between neighbouring slices along their normal; less than a tilted stack's step."""
    across, down = in_plane(volume)
    normal = np.cross(across, down)
    return abs(float(volume.affine[:3, 0] @ normal)) / float(np.linalg.norm(normal))


def in_plane(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors along a row and down a column, LPS."""
    down, across = (volume.affine[:3, axis] for axis in (1, 2))
    return across / np.linalg.norm(across), down / np.linalg.norm(down)


def pixel_spacing(header: Dataset, volume: Volume) -> tuple[float, float]:
    """Return mm between rows and columns: the source's numbers where they are the volume's."""
    stated = numbers(header, "PixelSpacing", 2)
    _, dy, dx = volume.spacing
    if stated and abs(stated[0] - dy) < 0.01 * dy and abs(stated[1] - dx) < 0.01 * dx:
        return stated[0], stated[1]
    return dy, dx


def recognizable(series: SeriesAssessment) -> str:
    """Return RecognizableVisualFeatures: the source's, else whether it shows a head."""
    stated = sanitised(first_header(series), "RecognizableVisualFeatures")
    if stated in ("YES", "NO"):
        return str(stated)
    return "YES" if series.volume is not None and series.volume.body_part in HEADS else "NO"
