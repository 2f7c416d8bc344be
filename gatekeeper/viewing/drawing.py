"""Drawing: a series as one grey picture a slice, one overlay where the map has something, and a
list of both. Runs in the child.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from gatekeeper.errors import UnreadableSeries
from gatekeeper.results.picture import windowed
from gatekeeper.viewing.overlays import NONE, Overlays, overlays, painted
from gatekeeper.viewing.request import MANIFEST, TOTAL, ViewRequest
from gatekeeper.viewing.slices import Arranged, Slice, Window, arrange, decoded, window_of
from gatekeeper.work.messages import ReceivedFile
from gatekeeper.work.pixels import check_voxels
from gatekeeper.work.series import read_series
from gatekeeper.work.values import text

_COMPRESSION = 3


def draw(request: ViewRequest, folder: Path) -> None:
    """Draw a series into a folder; the manifest is written last.

    Args:
        request: which, and what was found in it.
        folder: empty; inflated copies of deflated files lie in it for a while.

    Raises:
        UnreadableSeries: when there is nothing in it to draw, or too much.
        ChildFailed, OSError: when a file cannot be read from the spool, or nothing can be written.
    """
    copies = folder / "inflated"
    copies.mkdir()
    files = [ReceivedFile(**dataclasses.asdict(one)) for one in request.files]
    series = read_series(request.series_instance_uid, files, copies)
    arranged = arrange(series)
    if not arranged.slices:
        kinds = series.skipped or series.problem or "it holds no image"
        raise UnreadableSeries(f"There is nothing to show: {kinds}.".replace("..", "."))
    slices = arranged.slices[: request.bounds.slices]
    (folder / TOTAL).write_text(str(len(slices)), encoding="ascii")
    voxels = sum(one.image.plane.rows * one.image.plane.columns for one in slices if one.image)
    check_voxels(voxels, request.bounds.voxels)
    header = series.sources[0].header
    modality = text(header, "Modality")
    window = window_of(slices, modality, request.bounds.voxels)
    over, start = _overlays(request, arranged), _start(request, arranged)
    drawn: list[dict[str, Any]] = []
    pixels = decoded(slices, modality, request.bounds.voxels)
    for index, (part, (values, problem)) in enumerate(zip(slices, pixels, strict=True)):
        drawn.append(_draw(folder, index, part, values, problem, window, over))
    spacing = _spacing(slices)
    manifest = {
        "study": request.study_instance_uid,
        "series": request.series_instance_uid,
        "slices": drawn,
        "aspect": spacing[0] / spacing[1],
        "window": {"centre": window.centre, "width": window.width, "stated": window.stated},
        "map": {**request.finding.get("map", {}), "made_from": over.made_from},
        "regions": _regions(request, arranged, start, len(slices)),
        "notes": _notes(len(files), arranged, len(series.sources), len(slices)),
    }
    for copy in copies.iterdir():
        copy.unlink()
    copies.rmdir()
    (folder / TOTAL).unlink()
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _draw(
    folder: Path,
    index: int,
    part: Slice,
    values: NDArray[np.float32] | None,
    problem: str,
    window: Window,
    over: Overlays,
) -> dict[str, Any]:
    """Draw one slice, and return what the manifest says of it."""
    if values is None:
        return {"problem": problem or part.problem, "map": False, "score": None}
    grey = windowed(values, window.centre, window.width, window.function)
    _save(255 - grey if window.inverted else grey, folder / f"{index}.png")
    load = over.of.get((part.uid, part.frame or 0))
    if load is None:
        return {"problem": "", "map": False, "score": None}
    fractions = load()
    above = ~np.isnan(fractions)
    if not above.any():
        return {"problem": "", "map": False, "score": 0.0}
    _save(painted(fractions), folder / f"{index}-map.png")
    score = float(np.clip(np.nanmax(fractions), 0.02, 1.0))
    return {"problem": "", "map": True, "score": round(score, 3)}


def _save(picture: NDArray[np.uint8], path: Path) -> None:
    Picture.fromarray(picture).save(path, compress_level=_COMPRESSION)


def _overlays(request: ViewRequest, arranged: Arranged) -> Overlays:
    bar = request.finding.get("map")
    first = next((one.image for one in arranged.slices if one.image is not None), None)
    if not bar or not request.results or first is None:
        return NONE
    places = {(one.uid, one.frame or 0) for one in arranged.slices}
    matrix = first.plane.rows, first.plane.columns
    return overlays(request.results, places, bar, matrix, first.plane.pixel_spacing)


def _start(request: ViewRequest, arranged: Arranged) -> int | None:
    """Return the place of the volume that was judged among those of the series."""
    shape = tuple(request.finding.get("grid", {}).get("shape", ()))
    for place, (_, volume) in enumerate(arranged.volumes):
        plane = volume.images[0].plane
        if (len(volume.images), plane.rows, plane.columns) == shape:
            return place
    return None


def _regions(
    request: ViewRequest, arranged: Arranged, place: int | None, shown: int
) -> list[dict[str, Any]]:
    """Return the regions with their places in pixels, by the volume that was judged."""
    if place is None:
        return []
    start, volume = arranged.volumes[place]
    inverse = np.linalg.inv(volume.stack.affine)
    plane = volume.images[0].plane
    area = plane.pixel_spacing[0] * plane.pixel_spacing[1]
    found: list[dict[str, Any]] = []
    for one in request.finding.get("regions", []):
        at = inverse @ np.array([*one["centre_lps_mm"], 1.0])
        slice_ = start + int(one["slice"])
        if not 0 <= slice_ < shown:
            continue
        radius_mm = (3 * float(one["volume_mm3"]) / (4 * np.pi)) ** (1 / 3)
        found.append(
            {
                "label": int(one["label"]),
                "slice": slice_,
                "row": round(float(at[1]), 2),
                "column": round(float(at[2]), 2),
                "radius": round(float(radius_mm / np.sqrt(area)), 2),
                "volume_mm3": float(one["volume_mm3"]),
                "peak": float(one["peak"]),
            }
        )
    return found


def _spacing(slices: Sequence[Slice]) -> tuple[float, float]:
    first = next((one.image for one in slices if one.image is not None), None)
    across, down = (1.0, 1.0) if first is None else first.plane.pixel_spacing
    return (across, down) if across > 0 and down > 0 else (1.0, 1.0)


def _notes(files: int, arranged: Arranged, read: int, shown: int) -> list[str]:
    """Return what a person must know who looks at the pictures, in sentences."""
    notes: list[str] = []
    if arranged.problem:
        notes.append(f"{arranged.problem} What decodes is shown by its number.")
    if read < files:
        notes.append(f"{files - read} of {files} files cannot be read at all.")
    if shown < len(arranged.slices):
        notes.append(f"Of {len(arranged.slices)} slices the first {shown} are shown.")
    if len(arranged.volumes) > 1:
        notes.append(f"{len(arranged.volumes)} volumes, one after the other.")
    return notes
