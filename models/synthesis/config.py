"""Settings of the synthesis network: what goes into its manifest and comes back out of it.

No torch here, so that the command line can list them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from models.errors import ModelError
from models.stated import whole

WHAT = "synthesis network"


@dataclass(frozen=True, slots=True)
class Config:
    """Settings.

    Attributes:
        inputs: contrasts that are read, for example ``T1``; the brain is found on the first.
        output: the contrast that is drawn.
        anatomy: ``brain`` or ``body``, see `models.prepare.GridConfig`.
        rows: working image height in pixels, front to back; a multiple of 2 ** `depth`.
        columns: working image width in pixels, left to right; likewise.
        pixel_mm: working pixel and in-plane resolution.
        slice_mm: distance of working slices.
        neighbours: slices below and above that are read with each slice (2.5-D).
        base: channels of the first block; each of the `depth` levels below has twice as many.
        depth: how many times the image is halved.
        crop: rows and columns of a training patch; a multiple of 2 ** `depth`.
        steps: of the optimiser.
        batch_size: patches a step.
        learning_rate: at the end of the warm-up.
        margin_mm: voxels so near to a lesion are not learned from.
        landmarks: of the training scans' brains at `models.prepare.PERCENTILES`, one set for each
            input after the other; every scan's histogram is mapped onto them. Empty before
            training.
    """

    inputs: tuple[str, ...] = ("T1",)
    output: str = "FLAIR"
    anatomy: str = "brain"
    rows: int = 144
    columns: int = 112
    pixel_mm: float = 1.5
    slice_mm: float = 2.0
    neighbours: int = 1
    base: int = 8
    depth: int = 3
    crop: int = 80
    steps: int = 1200
    batch_size: int = 4
    learning_rate: float = 2e-3
    margin_mm: float = 5.0
    landmarks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        halved = 2**self.depth
        if (
            not self.inputs
            or self.output in self.inputs
            or len(set(self.inputs)) < len(self.inputs)
        ):
            raise ModelError("a contrast is made of one or more others, each named once")
        if any(size < halved or size % halved for size in (self.rows, self.columns, self.crop)):
            raise ModelError(f"rows, columns and crop are multiples of {halved} (2 ** depth)")
        if self.crop > min(self.rows, self.columns):
            raise ModelError("crop is at most the rows and the columns")
        if min(self.base, self.steps, self.batch_size) < 1 or min(self.depth, self.neighbours) < 0:
            raise ModelError("base, steps and batch_size are at least 1; depth, neighbours 0")
        if min(self.pixel_mm, self.slice_mm, self.learning_rate) <= 0 or self.margin_mm < 0:
            raise ModelError("pixel_mm, slice_mm and learning_rate are over 0, margin_mm 0 or over")
        if len(self.landmarks) % len(self.inputs):
            raise ModelError("landmarks are as many for each input, or none")

    @property
    def channels(self) -> int:
        """Channels that the network reads: every input at every slice."""
        return len(self.inputs) * (2 * self.neighbours + 1)

    def landmarks_of(self, index: int) -> tuple[float, ...]:
        """Return the landmarks of an input, by its place in `inputs`."""
        size = len(self.landmarks) // len(self.inputs)
        return self.landmarks[index * size : (index + 1) * size]


def from_mapping(stated: Mapping[str, Any]) -> Config:
    """Return the settings that a manifest states.

    Raises:
        ModelError: if one is unknown, missing, of the wrong kind, or they do not fit together.
    """
    return whole(Config(), stated, WHAT)


def as_mapping(config: Config) -> dict[str, Any]:
    """Return the settings for a manifest."""
    return {
        field.name: list(value) if isinstance(value, tuple) else value
        for field in fields(config)
        for value in (getattr(config, field.name),)
    }
