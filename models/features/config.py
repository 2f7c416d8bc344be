"""Settings of the `features` detector; written into each bundle's manifest, read from it."""

from __future__ import annotations

from dataclasses import dataclass

from models.prepare import GridConfig


@dataclass(frozen=True, slots=True)
class FeaturesConfig(GridConfig):
    """How a scan becomes features, and features become scores.

    Attributes:
        blocks: blocks of the backbone that describe a patch, ascending; the first sets the grid.
        global_block: the one of `blocks` whose mean over the brain describes a slice.
        intensity_weight: weight of a patch's mean intensity against its features.
        position_weight: weight of a patch's place against its features.
        neighbours: nearest patches in memory whose distances are averaged.
        focal_fraction: the part of a scan's patches, farthest first, whose mean is its focal score.
        memory: patches in memory, over all subjects.
    """

    blocks: tuple[int, ...] = (2, 4, 8)
    global_block: int = 8
    intensity_weight: float = 1.0
    position_weight: float = 2.0
    neighbours: int = 3
    focal_fraction: float = 0.05
    memory: int = 9500
