"""Quantities: the clinical values that are understood, each with one unit that it is kept in.

Units are UCUM codes, case-sensitive (https://ucum.org), and only those listed are converted: a
general converter would take litres for a percentage of predicted as long as the dimension fits,
and a wrong unit of lung function looks like a right one of another patient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gatekeeper.errors import ClinicalRefused

OURS = "99GATEKEEPER"
"""Scheme in which a quantity's code is its name, for what no public scheme has a code for."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One clinical quantity.

    Attributes:
        name: as tables, bundles and reports call it.
        meaning: in words.
        unit: that it is kept in.
        factors: accepted unit -> what a value in it is multiplied by.
        lowest: the smallest value that can be right, in `unit`.
        highest: the largest value that can be right.
        codes: (Coding Scheme Designator, Code Value) by which SR names it.
    """

    name: str
    meaning: str
    unit: str
    factors: Mapping[str, float]
    lowest: float
    highest: float
    codes: tuple[tuple[str, str], ...] = ()

    def converted(self, value: float, unit: str) -> float:
        """Return a value in the quantity's own unit.

        Raises:
            ClinicalRefused: if the unit is not accepted or the value cannot be right.
        """
        if unit not in self.factors:
            raise ClinicalRefused(
                f"{self.name}: unit {unit!r} is not one of {', '.join(self.factors)}"
                if len(unit) <= 32
                else f"{self.name}: not a unit"
            )
        found = value * self.factors[unit]
        if not (math.isfinite(found) and self.lowest <= found <= self.highest):
            raise ClinicalRefused(
                f"{self.name}: not within {self.lowest:g} to {self.highest:g} {self.unit}"
            )
        return found


_PERCENT = {"%": 1.0}
_LITRES = {"L": 1.0, "l": 1.0, "mL": 1e-3, "ml": 1e-3}
_METRES = {"m": 1.0, "cm": 0.01, "km": 1000.0, "[ft_i]": 0.3048}

QUANTITIES: Mapping[str, Quantity] = {
    one.name: one
    for one in (
        Quantity(
            "age", "age", "a", {"a": 1.0, "mo": 1 / 12, "wk": 7 / 365.25, "d": 1 / 365.25}, 0, 120,
            (("LN", "30525-0"),),
        ),
        Quantity("pack-years", "pack-years smoked", "1", {"1": 1.0, "{PackYears}": 1.0}, 0, 200),
        Quantity("fvc", "forced vital capacity, percent of predicted", "%", _PERCENT, 10, 160),
        Quantity(
            "fev1", "forced expiratory volume in 1 s, percent of predicted", "%", _PERCENT, 10, 160,
            (("LN", "20152-5"), ("SCT", "313223002")),
        ),
        Quantity("dlco", "diffusing capacity for CO, percent of predicted", "%", _PERCENT, 5, 160),
        Quantity(
            "fvc-volume", "forced vital capacity", "L", _LITRES, 0.2, 10, (("LN", "19868-9"),)
        ),
        Quantity(
            "fev1-volume", "forced expiratory volume in 1 s", "L", _LITRES, 0.1, 8,
            (("LN", "20150-9"),),
        ),
        Quantity(
            "dlco-absolute", "diffusing capacity for CO", "mL/min/mm[Hg]",
            # 1 mmol at 0 C and 101.325 kPa is 22.414 ml; 1 kPa is 7.50062 mmHg.
            {"mL/min/mm[Hg]": 1.0, "mmol/min/kPa": 22.414 / 7.50062}, 1, 70,
            (("LN", "19911-7"),),
        ),
        Quantity(
            "walk-6min", "distance walked in 6 minutes", "m", _METRES, 0, 1000,
            (("LN", "64098-7"),),
        ),
        Quantity(
            "spo2", "oxygen saturation by pulse oximetry", "%", {"%": 1.0, "1": 100.0}, 50, 100,
            (("LN", "59408-5"),),
        ),
    )
}  # fmt: skip
"""By name. Those in percent of predicted are other quantities than the volumes they came from."""

_BY_CODE = {
    **{code: one for one in QUANTITIES.values() for code in one.codes},
    **{(OURS, one.name): one for one in QUANTITIES.values()},
}


def named(name: str) -> Quantity:
    """Return the quantity of a name.

    Raises:
        ClinicalRefused: if it is not known.
    """
    if name not in QUANTITIES:
        raise ClinicalRefused(f"not a known quantity; there are: {', '.join(QUANTITIES)}")
    return QUANTITIES[name]


def coded(scheme: str, value: str) -> Quantity | None:
    """Return the quantity of a code, or None: SR holds many measurements that are not for us."""
    return _BY_CODE.get((scheme, value))
