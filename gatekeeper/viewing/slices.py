"""Slices of a series in the order in which they are looked through, and their pixels.

Where the images make volumes, the order is the volumes'. Where they do not, which is why a study is
UNREADABLE, they come by InstanceNumber, and each that decodes is shown; each that does not says
why. One batch of slices at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatekeeper.errors import UnreadableSeries
from gatekeeper.work.geometry import Plane
from gatekeeper.work.pixels import decode_stack, is_inverted
from gatekeeper.work.planes import Image, images_of
from gatekeeper.work.series import Candidate, ReceivedSeries, candidates
from gatekeeper.work.source import Source, quiet
from gatekeeper.work.values import number, numbers, text, whole

_BATCH = 16
_SAMPLES = 9
_LOW, _HIGH = 1.0, 99.5
"""Percentiles of the window of a series that states none."""


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One picture to be.

    Attributes:
        uid: SOP Instance UID.
        frame: 1-based frame number; None in a single-frame object.
        image: where its pixels are; None when that is not known.
        problem: why it cannot be shown, in one sentence; empty while nothing is wrong.
    """

    uid: str
    frame: int | None
    image: Image | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """How values become grey (PS3.3 C.11.2)."""

    centre: float
    width: float
    function: str = "LINEAR"
    stated: bool = True
    inverted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Arranged:
    """A series' slices.

    Attributes:
        slices: in the order in which they are looked through.
        volumes: each volume with the place of its first slice.
        problem: why they make no volume; empty when they do.
    """

    slices: tuple[Slice, ...]
    volumes: tuple[tuple[int, Candidate], ...] = ()
    problem: str = ""


def arrange(series: ReceivedSeries) -> Arranged:
    """Return a series' slices in order; images that are not for assessment come last."""
    slices: list[Slice] = []
    volumes: list[tuple[int, Candidate]] = []
    problem = series.problem or ""
    used: set[Source] = set()
    if series.images:
        try:
            for candidate in candidates(series):
                volumes.append((len(slices), candidate))
                slices += [Slice(_uid(one), one.frame, one) for one in candidate.images]
            used.update(series.images)
        except UnreadableSeries as error:
            problem = problem or str(error)
            slices, volumes = [], []
    rest = [one for one in series.sources if one not in used and one.pixels is not None]
    for source in sorted(rest, key=_by_number):
        slices += _alone(source)
    return Arranged(tuple(slices), tuple(volumes), problem)


def decoded(
    slices: Sequence[Slice], modality: str, maximum_voxels: int
) -> Iterator[tuple[NDArray[np.float32] | None, str]]:
    """Yield each slice's values, (rows, columns), or None and why there are none, in order."""
    for start, end in _batches(slices):
        batch = slices[start:end]
        images = [one.image for one in batch if one.image is not None]
        if len(images) == len(batch):
            try:
                with quiet():
                    array = decode_stack(images, modality, maximum_voxels)
            except UnreadableSeries:
                yield from (_one(part, modality, maximum_voxels) for part in batch)
                continue
            yield from ((plane, "") for plane in array)
        else:
            yield from (_one(part, modality, maximum_voxels) for part in batch)


def window_of(slices: Sequence[Slice], modality: str, maximum_voxels: int) -> Window:
    """Return the window that the series states, the median of its slices', else one of its own."""
    sources = {one.image.source: one.image for one in slices if one.image is not None}
    headers = [source.header for source in sources]
    inverted = bool(headers) and (
        text(headers[0], "PhotometricInterpretation") == "MONOCHROME1"
        and not is_inverted(headers[0])
    )
    stated: list[tuple[float, float]] = []
    for header in headers:
        if is_inverted(header):
            continue
        try:
            centre, width = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
        except UnreadableSeries:
            continue
        if centre and width and width[0] > 0:
            stated.append((centre[0], width[0]))
    if stated:
        middle = np.median(np.array(stated), axis=0)
        function = text(headers[0], "VOILUTFunction") or "LINEAR"
        return Window(float(middle[0]), float(middle[1]), function, inverted=inverted)
    chosen = np.unique(np.linspace(0, len(slices) - 1, min(_SAMPLES, len(slices))).astype(int))
    found = [
        values[::4, ::4].ravel()
        for values, _ in decoded([slices[index] for index in chosen], modality, maximum_voxels)
        if values is not None
    ]
    if not found:
        return Window(0.5, 1.0, stated=False, inverted=inverted)
    low, high = np.percentile(np.concatenate(found), [_LOW, _HIGH])
    width = float(high - low) or 1.0
    return Window(float(low + high) / 2, width, "LINEAR_EXACT", stated=False, inverted=inverted)


def _batches(slices: Sequence[Slice]) -> Iterator[tuple[int, int]]:
    """Yield ranges of neighbouring slices of one matrix."""
    start = 0
    for end in range(1, len(slices) + 1):
        if (
            end == len(slices)
            or end - start == _BATCH
            or _matrix(slices[end]) != _matrix(slices[start])
        ):
            yield start, end
            start = end


def _matrix(part: Slice) -> tuple[int, int] | None:
    return None if part.image is None else (part.image.plane.rows, part.image.plane.columns)


def _one(part: Slice, modality: str, maximum_voxels: int) -> tuple[NDArray[np.float32] | None, str]:
    if part.image is None:
        return None, part.problem
    try:
        with quiet():
            return decode_stack([part.image], modality, maximum_voxels)[0], ""
    except UnreadableSeries as error:
        return None, str(error)


def _alone(source: Source) -> list[Slice]:
    """Return the slices of a file that is part of no volume."""
    uid = source.sop_instance_uid
    try:
        with quiet():
            return [Slice(uid, one.frame, one) for one in images_of(source)]
    except UnreadableSeries as error:
        told = str(error)
    try:
        with quiet():
            rows, columns = whole(source.header, "Rows"), whole(source.header, "Columns")
            slope = number(source.header, "RescaleSlope")
            intercept = number(source.header, "RescaleIntercept")
            frames = whole(source.header, "NumberOfFrames") or 1
    except UnreadableSeries as error:
        return [Slice(uid, None, None, str(error))]
    if not rows or not columns or rows < 0 or columns < 0 or frames != 1:
        return [Slice(uid, None, None, told)]
    # Where it lies is not stated, or not well; what it shows can be looked at all the same.
    plane = Plane((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1), rows, columns)
    image = Image(source, None, plane, 1.0 if slope is None else slope, intercept or 0.0)
    return [Slice(uid, None, image)]


def _uid(image: Image) -> str:
    return image.source.sop_instance_uid


def _by_number(source: Source) -> tuple[int, str]:
    try:
        found = whole(source.header, "InstanceNumber")
    except UnreadableSeries:
        found = None
    return (1 << 40 if found is None else found, source.sop_instance_uid)
