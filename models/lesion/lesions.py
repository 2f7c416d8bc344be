"""Lesions as the network takes them: patches in Hounsfield units, whose they are, what they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import transform
from torch import Tensor

from models.errors import ModelError, NotAssessable
from models.lesion.candidates import Candidate, body, candidates, patch
from models.lesion.config import Config
from models.scan import Scan
from models.sources import lidc
from models.sources.lidc import Annotation

BENIGN, MALIGNANT = "benign", "malignant"
GREY_LOW_HU, GREY_HIGH_HU = -1250.0, 250.0
"""What 0 and 255 stand for in `chest_ct_iqoth`: the peaks of air, fat and muscle lie at grey 43 to
44, 193 to 202 and 218 to 223 in 45 of 46 patients of dev, as in a window of 1,500 HU at -500.
Inferred, not stated by the set."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """One patch: of a slice where a class is all that is known, of a whole lesion otherwise.

    Attributes:
        patient: whose it is; all patches of a patient stay on one side of every split.
        lesion: its name; several patches (slices) may be of one lesion.
        malignant: None where nobody says.
        stack: float32, (slices, size, size), Hounsfield units; the middle slice is the lesion's.
        mask: bool, (size, size): the lesion in the middle slice, as far as it is known.
        context: float32, (size, size): the same slice where the lesion is not, for the floors.
        frame: numbers of the whole slice that know nothing of a lesion, for the floors.
        prominence: of the candidate; 0 where the lesion was drawn.
    """

    patient: str
    lesion: str
    malignant: bool | None
    stack: NDArray[np.float32]
    mask: NDArray[np.bool_]
    context: NDArray[np.float32]
    frame: tuple[float, ...] = ()
    prominence: float = 0.0


PIXEL_MM = 1.4
"""Pixel size of every patch: 32 pixels are the 45 mm of the paper's 64 of 0.7 mm."""
FRAME = ("median grey", "corner", "body's share of the frame", "body's shape", "frame's shape")
"""What `Lesion.frame` holds."""


def of_slices(scans: Iterable[Scan], config: Config, most: int) -> list[Lesion]:
    """Return the candidates of 8-bit slices of which only the class is known.

    Slices without a lung are left out: the caller compares numbers.
    """
    found: list[Lesion] = []
    for scan in scans:
        grey = scan.volume.array[0]
        image = grey / 255.0 * (GREY_HIGH_HU - GREY_LOW_HU) + GREY_LOW_HU
        mask = body(image)
        context = _back(image, mask, config)
        malignant = {BENIGN: False, MALIGNANT: True}.get(scan.label)
        for candidate in candidates(image, most):
            half = config.size // 2
            stack = patch(
                np.repeat(image[None], config.slices, axis=0),
                candidate.row, candidate.column, config.size, GREY_LOW_HU,
            )  # fmt: skip
            own = _cut(candidate, half)
            found.append(
                Lesion(
                    scan.subject, scan.name, malignant, stack, own, context,
                    _frame(grey, mask), candidate.prominence,
                )
            )  # fmt: skip
    return found


def of_nodules(scan: Scan, annotation: Annotation, config: Config) -> list[Lesion]:
    """Return each slice of each nodule as a patch centred on the nodule in that slice.

    Slices are brought to `PIXEL_MM` first; neighbours beyond the stack repeat its last slice. The
    label is the readers' mean, None where it is 3.

    Raises:
        ModelError: if the annotation is of another scan.
    """
    volume = scan.volume
    factor = volume.spacing[1] / PIXEL_MM
    found: list[Lesion] = []
    for number, nodule in enumerate(lidc.nodules(annotation, volume)):
        levels = np.flatnonzero(nodule.mask.any(axis=(1, 2)))
        for level in levels:
            span = np.clip(
                np.arange(level - config.slices // 2, level + config.slices // 2 + 1),
                0,
                len(volume.array) - 1,
            )
            images = np.stack([resized(volume.array[index], factor) for index in span])
            mask = resized(nodule.mask[level].astype(np.float32), factor) > 0.5
            if not mask.any():
                continue
            rows, columns = np.nonzero(mask)
            row, column = round(float(rows.mean())), round(float(columns.mean()))
            stack = patch(images, row, column, config.size, config.low)
            middle = images[config.slices // 2]
            chest = body(middle)
            own = _cut(Candidate(row, column, 0.0, mask), config.size // 2)
            found.append(
                Lesion(
                    scan.subject,
                    f"{scan.name}-{number}",
                    nodule.malignant,
                    stack,
                    own,
                    _back(middle, chest, config),
                    _frame(middle, chest),
                )
            )
    return found


def resized(image: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Return a slice with so many times the rows and columns, without aliasing."""
    shape = tuple(max(1, round(side * factor)) for side in image.shape)
    made = transform.resize(image, shape, order=1, anti_aliasing=True, preserve_range=True)
    return np.asarray(made, dtype=np.float32)


def _cut(candidate: Candidate, half: int) -> NDArray[np.bool_]:
    padded = np.pad(candidate.mask, half)
    row, column = candidate.row, candidate.column
    return np.ascontiguousarray(padded[row : row + 2 * half, column : column + 2 * half])


def _frame(grey: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, ...]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    shape = (rows[-1] - rows[0] + 1) / (columns[-1] - columns[0] + 1) if len(rows) else 1.0
    corner = float(grey[:8, :8].mean() + grey[:8, -8:].mean()) / 2
    return (
        float(np.median(grey)), corner, float(mask.mean()), float(shape),
        grey.shape[1] / grey.shape[0],
    )  # fmt: skip


def _back(
    image: NDArray[np.float32], mask: NDArray[np.bool_], config: Config
) -> NDArray[np.float32]:
    """Return the patch around the middle of the back: skin, table, no lung."""
    rows, columns = np.nonzero(mask)
    row = int(rows.max()) if len(rows) else image.shape[0] - 1
    column = round(float(columns.mean())) if len(columns) else image.shape[1] // 2
    return patch(image[None], row, column, config.size, GREY_LOW_HU)[0]


def labels(lesions: Sequence[Lesion]) -> NDArray[np.float32]:
    """Return 1 for malignant, 0 for benign, (n,).

    Raises:
        ModelError: if one is neither.
    """
    if any(one.malignant is None for one in lesions):
        raise ModelError("a classifier needs lesions that are benign or malignant")
    return np.array([bool(one.malignant) for one in lesions], dtype=np.float32)


def owners(lesions: Sequence[Lesion]) -> NDArray[np.str_]:
    """Return the patient of each lesion, (n,)."""
    return np.array([one.patient for one in lesions])


def tensor(stacks: Sequence[NDArray[np.float32]], config: Config) -> Tensor:
    """Return patches as the network takes them: in [0, 1], (n, channels, [depth,] rows, columns).

    Raises:
        NotAssessable: if one has another size, or values that are not finite.
    """
    shape = (config.slices, config.size, config.size)
    for stack in stacks:
        if stack.shape != shape:
            raise NotAssessable(f"a patch has the shape {stack.shape}, the lesion model {shape}")
        if not bool(np.isfinite(stack).all()):
            raise NotAssessable("a patch holds values that are not numbers")
    array = np.stack(stacks).astype(np.float32)
    scaled = np.clip((array - config.low) / (config.high - config.low), 0.0, 1.0)
    found = torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32))
    return found if config.dims == 2 else found[:, None]
