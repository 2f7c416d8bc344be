"""Settings of the `features` detector; written into each bundle's manifest, read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from models.errors import ModelError


@dataclass(frozen=True, slots=True)
class FeaturesConfig:
    """How a scan becomes features, and features become scores.

    Attributes:
        region: ``brain`` (T1, extracted by a network) or ``head`` (threshold).
        levels: axial slices judged, evenly spaced over the region; the same for every scan, so
            that a score cannot depend on how many slices were acquired.
        rows: working image height in pixels, front to back; a multiple of 16.
        columns: working image width in pixels, left to right; a multiple of 16.
        pixel_mm: working pixel for ``brain``; for ``head`` the region is scaled to `fill` pixels.
        resolution_mm: in-plane resolution to which every source is blurred before sampling.
        fill: for ``head``, the longer in-plane side of the region in pixels.
        blocks: the two blocks of the backbone that describe a scan, fine then coarse.
        position_weight: weight of a patch's place against its features in the focal distance.
        neighbours: nearest patches in memory whose distances are averaged.
        focal_fraction: the part of a scan's patches, farthest first, whose mean is its focal score.
        smallest_region_ml: regions under this volume are not reported.
    """

    region: str = "brain"
    levels: int = 32
    rows: int = 224
    columns: int = 192
    pixel_mm: float = 1.0
    resolution_mm: float = 2.0
    fill: int = 176
    blocks: tuple[int, int] = (4, 8)
    position_weight: float = 1.0
    neighbours: int = 3
    focal_fraction: float = 0.02
    smallest_region_ml: float = 0.5

    def as_dict(self) -> dict[str, Any]:
        """Return the settings for a manifest."""
        return asdict(self) | {"blocks": list(self.blocks)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeaturesConfig:
        """Return the settings of a manifest.

        Raises:
            ModelError: if a setting is missing or unknown.
        """
        if set(values) != {field.name for field in fields(cls)}:
            raise ModelError("the bundle's settings are not those of this detector's version")
        return cls(**(dict(values) | {"blocks": tuple(values["blocks"])}))
