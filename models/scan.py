"""Scan: one scan of a reference or test set, with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One scan of a set.

    Attributes:
        name: the scan's name in its set.
        subject: whose it is; all scans of a subject stay on one side of every split.
        volume: the scan.
        normal: bool, (slices,): which slices may stand for normal.
        lesion: bool, like the volume: where a lesion was drawn.
        site: institution or scanner, as far as the set tells.
        label: class of the scan, for example ``normal``; empty when the set has none.
        companions: other contrasts on the same grid, by sequence: float32, like the volume.
    """

    name: str
    subject: str
    volume: Volume
    normal: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    site: str = ""
    label: str = ""
    companions: Mapping[str, NDArray[np.float32]] = field(
        default_factory=dict[str, NDArray[np.float32]]
    )
