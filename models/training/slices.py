"""Slices: what reference scans show that may stand for normal, as one stack to draw from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from models.errors import ModelError
from models.scoring import Example
from models.training.augment import Augmentation, augmented


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Usable slices of reference scans.

    Attributes:
        images: float32, (n, 1, rows, columns), normalised.
        brain: bool, same shape.
        level: int64, (n,): the height of each.
    """

    images: Tensor
    brain: Tensor
    level: Tensor

    @classmethod
    def of(cls, examples: Iterable[Example], shape: tuple[int, int, int]) -> Self:
        """Return the usable slices of `examples`; there may be none.

        Args:
            examples: normalised reference scans.
            shape: levels, rows and columns of the detector's working grid.

        Raises:
            ModelError: if an example is on another grid.
        """
        chosen = list(examples)
        if any(one.prepared.images.shape != shape for one in chosen):
            raise ModelError("an example is not on the detector's working grid")
        none = (0, *shape[1:])
        images = [np.zeros(none, np.float32), *(e.prepared.images[e.usable] for e in chosen)]
        brain = [np.zeros(none, np.bool_), *(e.prepared.brain[e.usable] for e in chosen)]
        level = [np.zeros(0, np.int64), *(np.flatnonzero(e.usable) for e in chosen)]
        return cls(
            torch.from_numpy(np.concatenate(images))[:, None],
            torch.from_numpy(np.concatenate(brain))[:, None],
            torch.from_numpy(np.concatenate(level)),
        )

    def __len__(self) -> int:
        return len(self.images)

    def needed(self) -> Self:
        """Return these slices.

        Raises:
            ModelError: if there is none.
        """
        if not len(self):
            raise ModelError("no slice of the reference scans may stand for normal")
        return self

    def to(self, device: str) -> Self:
        """Return these slices on a device, where batches are then made."""
        return type(self)(self.images.to(device), self.brain.to(device), self.level.to(device))

    def drawn(
        self, generator: torch.Generator, size: int, how: Augmentation
    ) -> tuple[Tensor, Tensor]:
        """Return augmented images of slices drawn with replacement, and their levels."""
        index = torch.randint(len(self), (size,), generator=generator).to(self.level.device)
        changed, _ = augmented(self.images[index], self.brain[index], generator, how)
        return changed, self.level[index]


def held_out(examples: Sequence[Example], part: float, seed: int, least: int = 3) -> set[str]:
    """Return the subjects that train nothing.

    On scans they were trained on, networks are surer than on new ones: what is usual is told by
    scans that they have not seen.

    Args:
        examples: reference scans.
        part: of the subjects; at least one of them, and never so many that under two are left.
        seed: of the drawing.
        least: with fewer subjects none is held out.
    """
    names = sorted({example.subject for example in examples})
    if part <= 0 or len(names) < least:
        return set()
    order = np.random.default_rng(seed).permutation(len(names))
    count = min(max(1, round(part * len(names))), len(names) - 2)
    return {names[index] for index in order[:count]}
