"""Regions: connected voxels above a map's threshold, measured on the source grid."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from models.finding import Region
from models.volume import Volume

LARGEST_COUNT = 10


def regions(
    volume: Volume, map: NDArray[np.float32], threshold: float, smallest_mm3: float
) -> tuple[Region, ...]:
    """Return the regions of `map`, ranked by mass (sum of the map), at most 10.

    Args:
        volume: the source, for its place in the patient.
        map: (slices, rows, columns) on the source grid.
        threshold: voxels above it belong to regions; neighbours share a face.
        smallest_mm3: smaller regions are left out.
    """
    above = map > threshold
    if not above.any():
        return ()
    box = _bounding_box(above)
    labels, _ = cast("tuple[NDArray[np.int32], int]", ndimage.label(above[box]))
    inside = map[box]
    sizes = np.bincount(labels.ravel())
    masses = np.bincount(labels.ravel(), weights=inside.ravel())
    large = [
        label for label in range(1, len(sizes)) if sizes[label] * volume.voxel_mm3 >= smallest_mm3
    ]
    large.sort(key=lambda label: (-masses[label], label))
    boxes = ndimage.find_objects(labels)
    found: list[Region] = []
    for rank, label in enumerate(large[:LARGEST_COUNT], start=1):
        local = boxes[label - 1]
        offset = (
            box[0].start + local[0].start,
            box[1].start + local[1].start,
            box[2].start + local[2].start,
        )
        mask = labels[local] == label
        found.append(measured(volume, rank, mask, offset, inside[local]))
    return tuple(found)


def _bounding_box(above: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    spans: list[slice] = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        index = np.flatnonzero(above.any(axis=others))
        spans.append(slice(int(index[0]), int(index[-1]) + 1))
    return spans[0], spans[1], spans[2]


def measured(
    volume: Volume,
    rank: int,
    mask: NDArray[np.bool_],
    offset: tuple[int, int, int],
    values: NDArray[np.float32],
) -> Region:
    """Return a region with its measures.

    Args:
        volume: the source, for its place in the patient.
        rank: the region's label.
        mask: bool, (slices, rows, columns) of the bounding box; somewhere True.
        offset: index (slice, row, column) of the box's first voxel.
        values: the map in the box.
    """
    index = np.argwhere(mask).mean(axis=0) + offset
    largest = int(mask.sum(axis=(1, 2)).argmax())
    return Region(
        label=rank,
        volume_mm3=float(mask.sum() * volume.voxel_mm3),
        centre=volume.to_patient((float(index[0]), float(index[1]), float(index[2]))),
        peak=float(values[mask].max()),
        mean=float(values[mask].mean(dtype=np.float64)),
        slice_index=offset[0] + largest,
        outline=outline(mask[largest]) + np.array([offset[2], offset[1]], dtype=np.float64),
        mask=mask,
        mask_offset=offset,
    )


def outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the longest outer boundary of a slice's mask.

    Returns:
        float64 (points, 2): closed polygon of (column, row), half a pixel outside the pixel
        centres of the mask; first point repeated at the end.
    """
    padded = np.pad(mask, 1).astype(np.float64)
    contours = cast("list[NDArray[np.float64]]", measure.find_contours(padded, 0.5))
    longest = max(contours, key=len)
    return np.ascontiguousarray(longest[:, ::-1] - 1.0)
