"""Gallery: the worst misses and the best hits of each detector, a slice each, bounded in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.assess import ALERT, Seen

LARGEST_COUNT = 6
_MARGIN = 6


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One slice, cropped to the evaluation mask.

    Attributes:
        scan: name of the scan.
        slice_index: which slice, from 0.
        source: uint8, (rows, columns): the image in the detector's display window.
        map: float32, (rows, columns).
        lesion: bool, (rows, columns): the truth.
        threshold: the map's frozen threshold.
        maximum: top of the map's scale.
        aspect: height of a pixel over its width.
        caption: the figures of the scan.
    """

    scan: str
    slice_index: int
    source: NDArray[np.uint8]
    map: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    threshold: float
    maximum: float
    aspect: float
    caption: str


@dataclass(slots=True)
class _Shelf:
    """At most `LARGEST_COUNT` pictures, the largest keys first."""

    kept: list[tuple[tuple[float, float], str, Picture]]

    def offer(self, key: tuple[float, float], seen: Seen) -> None:
        full = len(self.kept) >= LARGEST_COUNT
        if full and (key, seen.scan.name) <= self.kept[-1][:2]:
            return
        self.kept.append((key, seen.scan.name, _picture(seen)))
        self.kept.sort(key=lambda item: item[:2], reverse=True)
        del self.kept[LARGEST_COUNT:]


class Gallery:
    """Pictures of abnormal scans; give `see` to `assess.evaluate`.

    A hit is a scan with a region on a lesion or, where no lesion was drawn, one held at `alert`;
    everything else is a miss. Hits are ranked by Dice at the frozen threshold, then AP; misses from
    the lowest. Scans with nothing drawn are ranked by p-value.
    """

    def __init__(self, alert: float = ALERT) -> None:
        self._alert = alert
        self._hits: dict[str, _Shelf] = {}
        self._misses: dict[str, _Shelf] = {}

    def see(self, seen: Seen) -> None:
        """Keep a picture of the scan if it is among the best or the worst."""
        result = seen.result
        if seen.finding is None or not result.abnormal or not seen.mask.any():
            return
        if result.regions is not None and result.voxels is not None:
            hit = result.regions.on_lesion > 0
            rank = (result.dice or 0.0, result.voxels.ap)
        else:
            hit = seen.finding.p_value <= self._alert
            rank = (-seen.finding.p_value, seen.finding.score)
        shelves = self._hits if hit else self._misses
        key = rank if hit else (-rank[0], -rank[1])
        shelves.setdefault(seen.detector, _Shelf([])).offer(key, seen)

    def hits(self, detector: str) -> Sequence[Picture]:
        """Return the best hits, best first."""
        return _pictures(self._hits.get(detector))

    def misses(self, detector: str) -> Sequence[Picture]:
        """Return the worst misses, worst first."""
        return _pictures(self._misses.get(detector))


def _pictures(shelf: _Shelf | None) -> list[Picture]:
    return [item[2] for item in shelf.kept] if shelf else []


def _picture(seen: Seen) -> Picture:
    finding, result = seen.finding, seen.result
    if finding is None:
        raise ValueError("a refused scan has no picture")
    lesion = seen.scan.lesion & seen.mask
    weight = (
        lesion.sum(axis=(1, 2)) if lesion.any() else np.where(seen.mask, finding.map, 0).sum((1, 2))
    )
    index = int(weight.argmax())
    rows, columns = _span(seen.mask, 1), _span(seen.mask, 2)
    centre, width = finding.display_window
    grey = (seen.scan.volume.array[index, rows, columns] - (centre - width / 2)) / width
    _, rows_mm, columns_mm = seen.scan.volume.spacing
    parts = [f"p {finding.p_value:.3g}"]
    if result.dice is not None and result.voxels is not None:
        parts += [f"Dice {result.dice:.2f}", f"AP {result.voxels.ap:.2f}"]
    if result.label:
        parts.append(result.label)
    return Picture(
        scan=seen.scan.name,
        slice_index=index,
        source=np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8),
        map=np.where(seen.mask[index], finding.map[index], 0)[rows, columns].astype(np.float32),
        lesion=seen.scan.lesion[index, rows, columns].copy(),
        threshold=finding.map_threshold,
        maximum=finding.map_maximum,
        aspect=rows_mm / columns_mm,
        caption=", ".join(parts),
    )


def _span(mask: NDArray[np.bool_], axis: int) -> slice:
    others = tuple(other for other in range(3) if other != axis)
    index = np.flatnonzero(mask.any(axis=others))
    first, last = int(index[0]) - _MARGIN, int(index[-1]) + _MARGIN
    return slice(max(0, first), min(mask.shape[axis], last + 1))
