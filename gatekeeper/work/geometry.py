"""Planes into stacks: order, spacing and affine, or the rule that the planes break.

The grid of a stack is regular and need not be orthogonal: with a tilted CT gantry each slice is
shifted along its own plane, and the affine says so.

Pure. Positions are ordered by their distance along the slice normal and by nothing else: neither
InstanceNumber nor SliceLocation nor the order of arrival says where a plane lies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gatekeeper.errors import UnreadableSeries
from gatekeeper.work.protocol import SPLIT_KEYS
from gatekeeper.work.values import IncompleteSeries

MINIMUM_SLICES = 3
ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of direction cosines within one stack: 0.06 degrees."""
POSITION_TOLERANCE_MM = 1e-2
"""Planes nearer to each other than this lie at the same place."""
SPACING_TOLERANCE = 0.05
"""Share of the regular spacing by which a gap may differ from it."""
SHEAR_TOLERANCE_DEGREES = 0.5
"""Angle between the stack's line and the slice normal that rounding explains."""
LARGEST_TILT_DEGREES = 30.0
"""Angle between the two that a tilted gantry explains: CT gantries tilt by up to 30 degrees."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Where one image lies in the patient (PS3.3 C.7.6.2), and what may tell it from others.

    Attributes:
        position: centre of the first pixel, LPS mm.
        rows_direction: unit vector along a row, of increasing column index.
        columns_direction: unit vector down a column, of increasing row index.
        pixel_spacing: mm between neighbouring rows, and between neighbouring columns.
        rows, columns: the matrix.
        instance_number: InstanceNumber or frame number; None when not stated.
        thickness: SliceThickness in mm; None when not stated.
        keys: values of `SPLIT_KEYS`, as far as the header has them.
    """

    position: tuple[float, float, float]
    rows_direction: tuple[float, float, float]
    columns_direction: tuple[float, float, float]
    pixel_spacing: tuple[float, float]
    rows: int
    columns: int
    instance_number: int | None = None
    thickness: float | None = None
    keys: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Planes that make one regular grid.

    Attributes:
        order: indices into the given planes, in slice order along the normal.
        affine: float64, (4, 4): index (slice, row, column, 1) to patient LPS mm.
        key: what tells this volume from the series' others, ``EchoTime 30``; empty when alone.
    """

    order: tuple[int, ...]
    affine: NDArray[np.float64]
    key: str = ""


def stacks(planes: Sequence[Plane]) -> tuple[Stack, ...]:
    """Return the regular grids that the planes make, one for each volume of the series.

    The result does not depend on the order of `planes`.

    Raises:
        IncompleteSeries: when a gap in the grid matches a gap in the InstanceNumbers.
        UnreadableSeries: naming any other rule that the planes break.
    """
    if len(planes) < MINIMUM_SLICES:
        raise UnreadableSeries(
            f"Too few slices: {len(planes)} where {MINIMUM_SLICES} are the least."
        )
    _check_same_grid(planes)
    # One plane's normal stands for all, the same one in whatever order they came.
    normal = _normal(min(planes, key=lambda plane: plane.position))
    distances = np.array([np.dot(plane.position, normal) for plane in planes])
    if not _has_duplicates(distances):
        return (_stack(planes, range(len(planes)), distances, normal),)
    return tuple(
        _stack(planes, members, distances, normal, key)
        for key, members in _volumes(planes, distances)
    )


def _check_same_grid(planes: Sequence[Plane]) -> None:
    matrices = {(plane.rows, plane.columns) for plane in planes}
    if len(matrices) > 1:
        raise UnreadableSeries(f"Mixed matrix: {len(matrices)} image sizes in one series.")
    first = planes[0]
    directions = np.array([(*p.rows_direction, *p.columns_direction) for p in planes])
    reference = np.array((*first.rows_direction, *first.columns_direction))
    if float(np.abs(directions - reference).max()) > ORIENTATION_TOLERANCE:
        count = len({tuple(np.round(row, 2) + 0.0) for row in directions})
        raise UnreadableSeries(f"Mixed orientation: {max(count, 2)} orientations in one series.")
    spacings = np.array([plane.pixel_spacing for plane in planes])
    if float(spacings.min()) <= 0:
        raise UnreadableSeries("PixelSpacing is not positive.")
    if float(np.abs(spacings / np.array(first.pixel_spacing) - 1).max()) > 1e-3:
        raise UnreadableSeries("Mixed pixel spacing in one series.")


def _normal(plane: Plane) -> NDArray[np.float64]:
    rows = np.array(plane.rows_direction)
    columns = np.array(plane.columns_direction)
    normal = np.cross(rows, columns)
    lengths = (np.linalg.norm(rows), np.linalg.norm(columns), np.linalg.norm(normal))
    if any(abs(length - 1) > 1e-2 for length in lengths):
        raise UnreadableSeries("ImageOrientationPatient is not two perpendicular unit vectors.")
    return normal / lengths[2]


def _has_duplicates(distances: NDArray[np.float64]) -> bool:
    return bool((np.diff(np.sort(distances)) < POSITION_TOLERANCE_MM).any())


def _volumes(
    planes: Sequence[Plane], distances: NDArray[np.float64]
) -> list[tuple[str, list[int]]]:
    """Return the series' volumes by the first key that tells all repeated positions apart."""
    for key in SPLIT_KEYS:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, plane in enumerate(planes):
            groups[plane.keys.get(key, "")].append(index)
        if len(groups) < 2 or "" in groups:
            continue
        if all(
            len(members) >= MINIMUM_SLICES and not _has_duplicates(distances[members])
            for members in groups.values()
        ):
            return [(f"{key} {value}", groups[value]) for value in sorted(groups, key=_natural)]
    repeated = int((np.diff(np.sort(distances)) < POSITION_TOLERANCE_MM).sum())
    raise UnreadableSeries(
        f"Repeated positions: {repeated} of {len(planes)} images lie where another one lies, and "
        "no attribute tells the volumes apart."
    )


def _natural(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _stack(
    planes: Sequence[Plane],
    members: Sequence[int],
    distances: NDArray[np.float64],
    normal: NDArray[np.float64],
    key: str = "",
) -> Stack:
    order = tuple(sorted(members, key=lambda index: float(distances[index])))
    ordered = [planes[index] for index in order]
    gaps = np.diff(distances[list(order)])
    _check_gaps(ordered, gaps)
    positions = np.array([plane.position for plane in ordered])
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    _check_line(positions, step, normal)
    first = ordered[0]
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = np.array(first.columns_direction) * first.pixel_spacing[0]
    affine[:3, 2] = np.array(first.rows_direction) * first.pixel_spacing[1]
    affine[:3, 3] = positions[0]
    return Stack(order, affine, key)


def _check_gaps(ordered: Sequence[Plane], gaps: NDArray[np.float64]) -> None:
    smallest = float(gaps.min())
    regular = float(np.median(gaps[gaps < 1.5 * smallest]))
    ratios = gaps / regular
    steps = np.rint(ratios).astype(int)
    if float(np.abs(ratios - steps).max()) > SPACING_TOLERANCE or 2 * int((steps == 1).sum()) < len(
        gaps
    ):
        raise UnreadableSeries(
            f"Uneven spacing: neighbouring slices lie {smallest:.2f} to {float(gaps.max()):.2f} mm "
            "apart."
        )
    if int(steps.max()) > 1:
        raise _gap(ordered, gaps, steps, regular)
    _check_sparse(ordered, regular)


def _gap(
    ordered: Sequence[Plane],
    gaps: NDArray[np.float64],
    steps: NDArray[np.int_],
    regular: float,
) -> UnreadableSeries:
    """Return the error for gaps that are whole multiples of the regular spacing."""
    missing = int((steps - 1).sum())
    wide = np.flatnonzero(steps > 1)
    strides = _strides(ordered)
    index = int(wide[0])
    apart = f"{float(gaps[index]):.2f} mm apart where {regular:.2f} mm is regular"
    if strides is None:
        numbers = "two neighbours"
    else:
        index = min(wide, key=lambda i: min(_pair(ordered, int(i))))
        low, high = sorted(_pair(ordered, int(index)))
        numbers = f"images {low} and {high}"
        apart = f"{float(gaps[index]):.2f} mm apart where {regular:.2f} mm is regular"
    lead = "1 slice is missing" if missing == 1 else f"{missing} slices are missing"
    first = "" if len(wide) == 1 else f" first of {len(wide)} gaps,"
    message = f"{lead}:{first} {numbers} lie {apart}."
    if strides is not None and (strides == steps * strides[steps == 1].min()).all():
        return IncompleteSeries(message)
    return UnreadableSeries(message)


def _pair(ordered: Sequence[Plane], index: int) -> tuple[int, int]:
    first, second = ordered[index].instance_number, ordered[index + 1].instance_number
    return first or 0, second or 0


def _strides(ordered: Sequence[Plane]) -> NDArray[np.int_] | None:
    """Return by how much the instance numbers of neighbours differ; None when one has none."""
    numbers = [plane.instance_number for plane in ordered if plane.instance_number is not None]
    if len(numbers) < len(ordered):
        return None
    return np.abs(np.diff(np.array(numbers, dtype=int)))


def _check_sparse(ordered: Sequence[Plane], regular: float) -> None:
    """Refuse an even stack of every n-th slice: an even spacing is no proof of a whole scan.

    Told from a protocol with gaps between its slices by the instance numbers, which rise by n
    while n slices of the stated thickness fill the spacing.
    """
    strides = _strides(ordered)
    thickness = ordered[0].thickness
    if strides is None or thickness is None or thickness <= 0:
        return
    stride = int(strides[0])
    if stride < 2 or not (strides == stride).all() or regular < 1.5 * thickness:
        return
    if 0.5 * thickness <= regular / stride <= 1.5 * thickness:
        raise IncompleteSeries(
            f"{stride - 1} of every {stride} slices are missing: image numbers rise by {stride}, "
            f"and slices {thickness:.2f} mm thick lie {regular:.2f} mm apart."
        )


def _check_line(
    positions: NDArray[np.float64], step: NDArray[np.float64], normal: NDArray[np.float64]
) -> None:
    spacing = float(np.linalg.norm(step))
    expected = positions[0] + np.arange(len(positions))[:, None] * step
    shift = float(np.linalg.norm(positions - expected, axis=1).max())
    if shift > max(2 * SPACING_TOLERANCE * spacing, 10 * POSITION_TOLERANCE_MM):
        raise UnreadableSeries(f"Shifted slices: one lies {shift:.2f} mm off the stack's line.")
    cosine = min(1.0, float(np.dot(step, normal)) / spacing)
    angle = float(np.degrees(np.arccos(cosine)))
    if angle > LARGEST_TILT_DEGREES + SHEAR_TOLERANCE_DEGREES:
        raise UnreadableSeries(
            f"Sheared stack: the slices' line is {angle:.1f} degrees off their normal, and a "
            f"gantry tilts by {LARGEST_TILT_DEGREES:.0f} at most."
        )


def drift(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return how a stack's slices are shifted, each against the one before.

    Args:
        affine: of `Stack`.

    Returns:
        Degrees between the stack's line and the slice normal, and the pixels of the shift, along
        rows' index and along columns'.
    """
    step, in_plane = affine[:3, 0], affine[:3, 1:3]
    pixels, *_ = np.linalg.lstsq(in_plane, step, rcond=None)
    sideways = in_plane @ pixels
    tilt = np.arctan2(np.linalg.norm(sideways), np.linalg.norm(step - sideways))
    return float(np.degrees(tilt)), float(pixels[0]), float(pixels[1])
