"""Patches of the siamese autoencoder: where they lie, which pair up, and back to the grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.errors import ModelError
from models.grid import interpolate
from models.prepare import Prepared
from models.scoring import Example

PATCH = 15
"""Patch height and width in pixels (published)."""
_HALF = PATCH // 2


def channels_of(prepared: Prepared, shape: tuple[int, int, int], channels: int) -> Tensor:
    """Return the images, (channels, levels, rows, columns); one channel needs no axis of its own.

    Raises:
        ModelError: if images or brain have another shape, or an image is not finite.
    """
    wanted = (channels, *shape)
    images = prepared.images
    if images.shape != wanted and not (channels == 1 and images.shape == shape):
        raise ModelError(f"images have shape {images.shape}, expected {wanted}")
    if prepared.brain.shape != shape:
        raise ModelError(f"the brain has shape {prepared.brain.shape}, expected {shape}")
    if not np.isfinite(images).all():
        raise ModelError("images hold values that are not numbers")
    return torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).reshape(wanted)


def framed(images: Tensor) -> Tensor:
    """Return images with half a patch of background around each slice, for `patches_at`."""
    return torch.nn.functional.pad(images, (_HALF, _HALF, _HALF, _HALF), value=-1.0)


def patches_at(scans: Tensor, scan: Tensor, places: Tensor) -> Tensor:
    """Return the patches about voxels, (n, channels, PATCH, PATCH).

    Args:
        scans: framed, (scans, channels, levels, rows + PATCH - 1, columns + PATCH - 1).
        scan: (n,): of which scan.
        places: (n, 3): level, row and column of each patch's centre.
    """
    along = torch.arange(PATCH)
    level = places[:, 0, None, None]
    row = places[:, 1, None, None] + along[:, None]
    column = places[:, 2, None, None] + along
    found = scans[scan[:, None, None], :, level, row, column]  # (n, PATCH, PATCH, channels)
    return found.permute(0, 3, 1, 2).float()


class Pairs:
    """Draws pairs of patches: one place of the working grid, two subjects, both normal there.

    Args:
        examples: the reference; levels that are not usable are never drawn.
        shape: of the working grid.
        channels: of the images.

    Raises:
        ModelError: if no place is normal brain in two subjects.
    """

    def __init__(
        self, examples: Sequence[Example], shape: tuple[int, int, int], channels: int
    ) -> None:
        images = [channels_of(example.prepared, shape, channels) for example in examples]
        # float16 halves the memory of a large reference; its step is 0.0005 at most.
        self.scans = torch.stack([framed(image).half() for image in images])
        names = sorted({example.subject for example in examples})
        self.subject = torch.tensor([names.index(example.subject) for example in examples])
        normal = np.stack([normal_brain(example) for example in examples])  # (scans, *shape)
        subjects = np.zeros(shape, dtype=np.int32)
        for number in range(len(names)):
            subjects += normal[self.subject.numpy() == number].any(0)
        shared = subjects >= 2
        if not shared.any():
            raise ModelError("no place of the brain is normal in two subjects")
        self.places = torch.from_numpy(np.argwhere(shared))
        self._normal = torch.from_numpy(np.ascontiguousarray(normal[:, shared].T))

    def draw(self, generator: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
        """Return `size` places, (size, 3), and which two scans there, (size, 2)."""
        drawn = torch.randint(len(self.places), (size,), generator=generator)
        luck = torch.rand((size, len(self.subject)), generator=generator) + 1
        luck = luck * self._normal[drawn]  # 0 where not normal
        first = luck.argmax(1)
        luck = luck * (self.subject[None] != self.subject[first, None])
        return self.places[drawn], torch.stack([first, luck.argmax(1)], 1)

    def batch(self, generator: torch.Generator, size: int) -> tuple[Tensor]:
        """Return `size` pairs, (size, 2, channels, PATCH, PATCH)."""
        places, scans = self.draw(generator, size)
        patches = patches_at(self.scans, scans.flatten(), places.repeat_interleave(2, 0))
        return (patches.unflatten(0, (size, 2)),)


def normal_brain(example: Example) -> NDArray[np.bool_]:
    """Return where an example shows normal brain, (levels, rows, columns)."""
    return example.prepared.brain & example.usable[:, None, None]


def on_lattice(inside: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Return `inside` at the lattice's nodes: every `step`-th row and column of each level."""
    return inside[:, step // 2 :: step, step // 2 :: step]


def voxels_of(nodes: NDArray[np.intp], step: int) -> Tensor:
    """Return the voxels, (n, 3), of lattice nodes given as level, row and column, (n, 3)."""
    return torch.from_numpy(nodes * np.array([1, step, step]) + np.array([0, 1, 1]) * (step // 2))


def nearest_filled(
    values: NDArray[np.generic], known: NDArray[np.bool_], level_distance: float
) -> NDArray[np.generic]:
    """Return `values` with each unknown node's replaced by that of the nearest known one.

    `level_distance` is how many nodes of a level the next level is away.
    """
    nearest = cast(
        "NDArray[np.int32]",
        ndimage.distance_transform_edt(
            ~known, (level_distance, 1.0, 1.0), return_distances=False, return_indices=True
        ),
    )
    return values[tuple(nearest)]


def from_lattice(
    values: NDArray[np.float32],
    known: NDArray[np.bool_],
    shape: tuple[int, int, int],
    step: int,
) -> NDArray[np.float32]:
    """Return a lattice's values on the working grid, linear between nodes, from known ones only."""
    array = cast("NDArray[np.float32]", nearest_filled(values, known, 2.0))
    for axis in (1, 2):
        at = (np.arange(shape[axis]) - step // 2) / step
        array = interpolate(array, axis, np.clip(at, 0, array.shape[axis] - 1))
    return array


def cerebrospinal_fluid(
    images: NDArray[np.float32], brain: NDArray[np.bool_], below: float
) -> NDArray[np.bool_]:
    """Return which voxels of T1 or FLAIR images are taken for cerebrospinal fluid.

    A plain stand-in for a tissue segmentation's prior: dark voxels, single ones opened away, with
    mostly dark neighbours; so partly dark edges stay. What is not dark is never taken; a lesion
    as dark as fluid is.

    Args:
        images: normalised, (channels, levels, rows, columns); dark means dark in all.
        brain: (levels, rows, columns).
        below: normalised intensity under which a voxel is dark.
    """
    dark = (images < below).all(axis=0) & brain
    opened = ndimage.binary_opening(dark, np.ones((1, 2, 2), dtype=np.bool_))
    chance = ndimage.gaussian_filter(opened.astype(np.float32), (0.0, 1.0, 1.0))
    return (chance > 0.5) & dark
