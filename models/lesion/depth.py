"""Depth: is a lesion drawn better from one slice, from neighbours as channels, or in 3-D?

On scans whose readers drew nodules: each network trains on patches of lung that no nodule comes
near, with a code of the same length, and draws patches centred on the nodules' slices. Only the
middle slice is compared, so all three are asked the same question. It measures drawing, not
malignancy; whether the third dimension helps to tell that needs many patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.lesion import losses, training
from models.lesion.candidates import chest, patch
from models.lesion.config import Config
from models.lesion.lesions import PIXEL_MM, of_nodules, resized, tensor
from models.scan import Scan
from models.sources import lidc
from models.sources.lidc import Annotation
from models.training.loop import Run

SLICES = 5
VARIANTS = {"2-D": (2, 1), "2.5-D": (2, SLICES), "3-D": (3, SLICES)}
"""Name -> dimensions of the convolutions, slices of a patch."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """How well a variant draws the middle slice of a nodule.

    Attributes:
        variant: of `VARIANTS`.
        similarity, error: mean SSIM and mean squared error over nodule slices.
        spread: lowest and highest SSIM of the networks of different seeds.
        patches: nodule slices.
    """

    variant: str
    similarity: float
    error: float
    spread: tuple[float, float]
    patches: int


def compare(
    scans: Sequence[tuple[Scan, Annotation]], config: Config, run: Run, seeds: int = 3
) -> list[Drawn]:
    """Return how well each variant draws nodules it was not trained on.

    Raises:
        ModelError: if there is no nodule, or no lung away from one.
    """
    found: list[Drawn] = []
    for name, (dims, slices) in VARIANTS.items():
        own = replace(config, dims=dims, slices=slices)
        nodules = [one for scan, drawn in scans for one in of_nodules(scan, drawn, own)]
        others = [one for scan, drawn in scans for one in _elsewhere(scan, drawn, own)]
        if not nodules or not others:
            raise ModelError("a comparison needs nodules, and lung away from them")
        shown, known = tensor([one.stack for one in nodules], own), tensor(others, own)
        likeness: list[float] = []
        errors: list[float] = []
        for seed in range(seeds):
            network = training.fit_network(
                known, torch.ones(len(known)), own, replace(run, seed=run.seed + seed)
            )
            truth, image = (
                _middle(one, own) for one in (shown, training.reconstructed(network, shown))
            )
            likeness.append(float(losses.structural_similarity(image, truth).mean()))
            errors.append(float(((image - truth) ** 2).mean()))
        ends = (min(likeness), max(likeness))
        means = float(np.mean(likeness)), float(np.mean(errors))
        found.append(Drawn(name, *means, ends, len(nodules)))
    return found


def _middle(patches: Tensor, config: Config) -> Tensor:
    planes = patches if config.dims == 2 else patches[:, 0]
    return planes[:, config.slices // 2][:, None]


def _elsewhere(scan: Scan, drawn: Annotation, config: Config) -> list[NDArray[np.float32]]:
    """Return patches on a grid over the lungs, of slices and places that no nodule comes near."""
    factor = scan.volume.spacing[1] / PIXEL_MM
    images = cast("Any", scan.volume.array)  # numpy's stubs iterate to scalars
    stack = np.stack([resized(image, factor) for image in images])
    nodules = lidc.nodules(drawn, scan.volume)
    taken = np.zeros(stack.shape[1:], dtype=np.bool_)
    for nodule in nodules:
        shadow = np.asarray(nodule.mask.any(axis=0), dtype=np.float32)
        taken |= resized(shadow, factor) > 0.01
    half, reach = config.size // 2, config.slices // 2
    found: list[NDArray[np.float32]] = []
    for level in range(SLICES // 2, len(stack) - SLICES // 2):
        inside = chest(stack[level])
        for row in range(0, stack.shape[1], half // 2):
            for column in range(0, stack.shape[2], half // 2):
                if not inside[row, column]:
                    continue
                box = np.s_[max(0, row - half) : row + half, max(0, column - half) : column + half]
                if not taken[box].any():
                    several = stack[level - reach : level + reach + 1]
                    found.append(patch(several, row, column, config.size, config.low))
    return found
