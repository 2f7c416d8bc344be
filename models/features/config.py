"""Settings of the `features` detector; written into each bundle's manifest, read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from models.errors import ModelError

PERCENTILES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Where in the brain's histogram the intensity landmarks lie."""


@dataclass(frozen=True, slots=True)
class FeaturesConfig:
    """How a scan becomes features, and features become scores.

    Attributes:
        levels: axial slices judged, evenly spaced over the brain; the same for every scan, so that
            a score cannot depend on how many slices were acquired.
        rows: working image height in pixels, front to back; a multiple of 16.
        columns: working image width in pixels, left to right; a multiple of 16.
        pixel_mm: working pixel.
        resolution_mm: in-plane resolution to which every source is blurred before sampling, so
            that scanners of finer and coarser resolution look alike.
        scaled_to_brain: whether every brain is scaled in-plane to the same size, for reference
            sets that do not state their spacing; a pixel is then `pixel_mm` of an average brain.
        landmarks: the reference's mean intensity at `PERCENTILES` of the brain, as parts of the
            last; every scan's histogram is mapped onto it, piecewise linear. Empty: divide only.
        blocks: blocks of the backbone that describe a patch, ascending; the first sets the grid.
        global_block: the one of `blocks` whose mean over the brain describes a slice.
        intensity_weight: weight of a patch's mean intensity against its features.
        position_weight: weight of a patch's place against its features.
        neighbours: nearest patches in memory whose distances are averaged.
        focal_fraction: the part of a scan's patches, farthest first, whose mean is its focal score.
        deciding: the levels whose largest standardised score decides; the others explain.
        smallest_region_ml: regions under this volume are not reported.
    """

    levels: int = 24
    rows: int = 160
    columns: int = 128
    pixel_mm: float = 1.5
    resolution_mm: float = 3.0
    scaled_to_brain: bool = False
    landmarks: tuple[float, ...] = ()
    blocks: tuple[int, ...] = (2, 4, 8)
    global_block: int = 8
    intensity_weight: float = 1.0
    position_weight: float = 2.0
    neighbours: int = 3
    focal_fraction: float = 0.05
    deciding: tuple[str, ...] = ("global", "focal")
    smallest_region_ml: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return the settings for a manifest."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeaturesConfig:
        """Return the settings of a manifest.

        Raises:
            ModelError: if a setting is missing or unknown.
        """
        if set(values) != {field.name for field in fields(cls)}:
            raise ModelError("the bundle's settings are not those of this detector's version")
        # JSON has lists where the settings have tuples.
        plain: dict[str, Any] = {
            name: tuple(cast("list[Any]", value)) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)
