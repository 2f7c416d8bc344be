"""Units: converted only where the list says so, and never into another quantity."""

from __future__ import annotations

import pytest

from gatekeeper.clinical.quantities import OURS, QUANTITIES, coded, named
from gatekeeper.errors import ClinicalRefused
from models.multimodal.variables import LUNG


@pytest.mark.parametrize(
    ("name", "value", "unit", "expected"),
    [
        ("fev1-volume", 2500, "mL", 2.5),
        ("dlco-absolute", 5, "mmol/min/kPa", 14.94),
        ("walk-6min", 1000, "[ft_i]", 304.8),
        ("age", 720, "mo", 60),
        ("spo2", 0.94, "1", 94),
        ("dlco", 48, "%", 48),
    ],
)
def test_an_accepted_unit_is_converted(name: str, value: float, unit: str, expected: float) -> None:
    """What comes out is in the quantity's own unit."""
    assert named(name).converted(value, unit) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("name", "value", "unit", "message"),
    [
        ("fev1", 2.5, "L", "fev1: unit 'L' is not one of %"),
        ("fev1-volume", 80, "%", "unit '%' is not one of L, l, mL, ml"),
        ("walk-6min", 400, "M", "unit 'M'"),
        ("fev1-volume", 2500, "L", "not within 0.1 to 8 L"),
        ("spo2", 0.94, "%", "not within 50 to 100 %"),
        ("dlco", float("nan"), "%", "not within"),
    ],
)
def test_a_wrong_unit_or_size_is_refused_by_name(
    name: str, value: float, unit: str, message: str
) -> None:
    """Litres are no percentage of predicted, and UCUM is case-sensitive."""
    with pytest.raises(ClinicalRefused, match=message):
        named(name).converted(value, unit)


def test_a_code_names_one_quantity_and_an_unknown_one_none() -> None:
    """Public codes and our own lead to the quantity; no code leads to two."""
    codes = [code for one in QUANTITIES.values() for code in one.codes]
    assert len(set(codes)) == len(codes)
    assert coded("LN", "20152-5") is named("fev1")
    assert coded(OURS, "dlco") is named("dlco")
    assert coded("LN", "0-0") is None


def test_every_published_variable_is_a_quantity_of_the_same_unit() -> None:
    """What a bundle of lung function asks for can be taken in."""
    for variable in LUNG:
        quantity = named(variable.name)
        assert quantity.unit == variable.unit
        assert (quantity.lowest, quantity.highest) == (variable.lowest, variable.highest)
