"""Where a measurement group lies: the outline on its slice, and what that slice is called."""

from __future__ import annotations

import math

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from gatekeeper.results import codes
from gatekeeper.results.assessment import SourceSlice
from gatekeeper.results.attributes import sanitised
from gatekeeper.results.catalogue import Catalogue
from gatekeeper.results.texts import Text
from models.finding import Region

Group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations

# An Explicit VR element of VR FL holds at most 65534 bytes: 8191 points of two 4-byte values.
_MAXIMUM_POINTS = 8000


def image_name(part: SourceSlice, words: Catalogue) -> str:
    """Return where to scroll to, as viewers number images; empty when it is not numbered."""
    number = image_number(part)
    if number is None:
        return ""
    return words.say(Text.IMAGE if part.frame is None else Text.FRAME, number=number)


def image_number(part: SourceSlice) -> int | None:
    """Return the number of a slice's frame or image as viewers show it; None where it has none."""
    if part.frame is not None:
        return part.frame
    number = sanitised(part.header, "InstanceNumber")
    return None if number is None else int(number)


def outline(region: Region, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a region's outline as SCOORD graphic data (PS3.3 C.18.6.1).

    Args:
        region: with points counted from the centre of the first pixel.
        shape: (slices, rows, columns) of the map.

    Returns:
        (points, 2) of (column, row), closed, within the image, counted from its corner.
    """
    points = np.asarray(region.outline, np.float64).reshape(-1, 2)
    if len(points) < 3:
        points = _box(region)
    step = math.ceil(len(points) / _MAXIMUM_POINTS)
    points = np.clip(points[::step] + 0.5, 0.0, [float(shape[2]), float(shape[1])])
    if not np.array_equal(points[0], points[-1]):
        points = np.vstack([points, points[:1]])
    return points


def _box(region: Region) -> NDArray[np.float64]:
    """Return the rectangle around a region on its slice, for an outline that is none."""
    depth, row, column = region.mask_offset
    rows, columns = np.nonzero(region.mask[region.slice_index - depth])
    top, left = row + rows.min() - 0.5, column + columns.min() - 0.5
    bottom, right = row + rows.max() + 0.5, column + columns.max() + 0.5
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def region_of(part: SourceSlice, points: NDArray[np.float64]) -> hd.sr.ImageRegion:
    """Return an outline of `outline` as a region of a source image."""
    return hd.sr.ImageRegion(
        hd.sr.GraphicTypeValues.POLYLINE,
        points,
        hd.sr.SourceImageForRegion(
            str(part.header.SOPClassUID),
            str(part.header.SOPInstanceUID),
            referenced_frame_numbers=None if part.frame is None else [part.frame],
        ),
    )


def number(name: Code, value: float, unit: Code = codes.NO_UNITS) -> hd.sr.Measurement:
    """Return a numeric measurement (PS3.16 TID 300)."""
    return hd.sr.Measurement(name, value=float(value), unit=unit)
