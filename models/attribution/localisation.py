"""Localisation: does a map lie where the lesion is, against what chance would give?

The share of a map's mass inside the lesion (the energy-based pointing game of Wang et al.,
Score-CAM, CVPR 2020) beside the lesion's share of the area; and whether its highest place is inside
(the pointing game of Zhang et al., ECCV 2016), beside the same share. The patient is the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import Figure, mean


@dataclass(frozen=True, slots=True)
class Located:
    """One map against one lesion.

    Attributes:
        mass: part of the map inside the lesion, 0 to 1.
        area: part of the places that is lesion.
        hit: 1 if the highest place is inside, else 0; of several maps their mean.
    """

    mass: float
    area: float
    hit: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Several patients.

    Attributes:
        patients: how many.
        mass: mean share of the map's mass in the lesion.
        area: mean share of the area: what a map that knows nothing has.
        excess: mean of mass less area; over 0 if its interval is.
        hits: part of the highest places that are inside; `area` is the chance.
    """

    patients: int
    mass: Figure
    area: float
    excess: Figure
    hits: Figure

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        return asdict(self)


def locate(
    found: NDArray[np.float64],
    lesion: NDArray[np.float64] | NDArray[np.bool_],
    inside: NDArray[np.float64] | NDArray[np.bool_],
) -> Located | None:
    """Return where a map lies; None if nothing of the lesion is inside.

    Args:
        found: (rows, columns); only what is positive counts. A flat or negative map has the mass of
            chance.
        lesion: like it, the part of each place that is lesion, 0 to 1.
        inside: like it, the part of each place that counts.
    """
    weight = inside.astype(np.float64)
    share = np.minimum(lesion.astype(np.float64), weight)
    if share.sum() <= 0:
        return None
    area = float(share.sum() / weight.sum())
    positive = np.maximum(found, 0.0)
    total = float((positive * weight).sum())
    mass = float((positive * share).sum()) / total if total > 0 else area
    top = int(np.where(weight > 0, found, -np.inf).argmax())
    return Located(mass, area, float(share.ravel()[top] >= 0.5 * weight.ravel()[top]))


def averaged(located: Sequence[Located]) -> Located:
    """Return the mean of one patient's maps."""
    return Located(
        float(np.mean([one.mass for one in located])),
        float(np.mean([one.area for one in located])),
        float(np.mean([one.hit for one in located])),
    )


def summary(located: Sequence[Located], seed: int = 0) -> Summary:
    """Return what one map a patient says, with intervals over patients."""
    return Summary(
        len(located),
        mean([one.mass for one in located], seed),
        float(np.mean([one.area for one in located])),
        mean([one.mass - one.area for one in located], seed),
        mean([one.hit for one in located], seed),
    )
