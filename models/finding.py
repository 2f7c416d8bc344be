"""Finding: what a detector says of a Volume, in calibrated terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Level:
    """One calibrated question put to the scan, for example 'are its features like the reference?'.

    Attributes:
        name: short name, ``geometry``, ``global`` or ``focal``.
        question: what it asks, in words a radiologist understands.
        score: the raw score; larger is further from normal.
        p_value: split-conformal, (1 + #{calibration scores >= score}) / (n + 1); never under
            1 / (n + 1).
        calibration_size: n, the number of reference subjects behind the p-value.
        calibration_median: median calibration score, to read `score` against.
        decides: whether it is part of the score that decides; otherwise it explains.
    """

    name: str
    question: str
    score: float
    p_value: float
    calibration_size: int
    calibration_median: float
    decides: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One connected set of voxels above the map's threshold, on the source grid.

    Attributes:
        label: 1-based rank by mass (sum of the map over the region).
        volume_mm3: its volume.
        centre: centroid in patient coordinates, LPS mm.
        peak: largest map value in it.
        mean: mean map value in it.
        slice_index: slice of its largest area.
        outline: float64, (points, 2): closed polygon of (column, row) on that slice, in pixel
            centres counted from 0; the outer boundary of the region there.
        mask: bool, (slices, rows, columns) of the bounding box.
        mask_offset: index (slice, row, column) of the bounding box's first voxel.
    """

    label: int
    volume_mm3: float
    centre: tuple[float, float, float]
    peak: float
    mean: float
    slice_index: int
    outline: NDArray[np.float64]
    mask: NDArray[np.bool_]
    mask_offset: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """The detector's whole answer.

    Attributes:
        score: the score that decided, from the level with the smallest p-value.
        p_value: over all levels, Bonferroni-corrected: min(1, levels * min p).
        levels: each question's answer.
        map: float32, (slices, rows, columns) on the source grid, in `map_unit`; 0 is unremarkable.
        map_unit: what one unit of the map means, for the colour bar.
        map_threshold: value above which voxels belong to regions; drawn from normal scans.
        map_maximum: top of the colour bar.
        regions: ranked by mass, at most 10.
        display_window: (centre, width) of the source intensities for pictures when the series
            states none.
        detector: name of the detector, ``features``.
        profile: name of the profile, for example ``mr-brain-t1``.
        bundle_version: version of the bundle.
        model_digest: SHA-256 of the bundle's manifest.
        calibration_digest: SHA-256 of the calibration scores used.
        calibration_description: which subjects, how many, from where, in one sentence.
        site_calibrated: whether those subjects were acquired with the scan's own scanner and
            protocol; without, the bundle's reference population stands in for them.
        milliseconds: time of each step.
        defects: what is wrong with the series as received, in sentences: repeated, empty or
            missing slices, a head cut off, values that cannot be right. No model is asked.
        remarks: the same, of kinds that clean scans of this profile show too often to hold for.
    """

    score: float
    p_value: float
    levels: tuple[Level, ...]
    map: NDArray[np.float32]
    map_unit: str
    map_threshold: float
    map_maximum: float
    regions: tuple[Region, ...]
    display_window: tuple[float, float]
    detector: str
    profile: str
    bundle_version: str
    model_digest: str
    calibration_digest: str
    calibration_description: str
    milliseconds: dict[str, float]
    defects: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    site_calibrated: bool = False
