"""Structured reports: known measurements are taken, wherever they stand; strangers cost nothing."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from clinical.reports import container, num, report
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from gatekeeper.clinical import structured
from gatekeeper.clinical.structured import measurements

FEV1, DLCO, SPO2 = ("LN", "20152-5"), ("99GATEKEEPER", "dlco"), ("LN", "59408-5")


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> float:
    """Return a moment in UTC as seconds."""
    return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()


def test_measurements_are_found_at_any_depth_with_their_time() -> None:
    """The item's own time counts, then that around it, then the report's."""
    inner = container([num(DLCO, "48.5", "%")])
    inner.ObservationDateTime = "20260301120000+0100"
    found = measurements(
        report([num(FEV1, "81", "%"), inner, num(SPO2, "0.93", "1", moment="20260302")])
    )
    assert [(one.name, one.value, one.observed_at) for one in found.measured] == [
        ("fev1", 81, at(2026, 3, 15, 10, 15)),
        ("dlco", 48.5, at(2026, 3, 1, 11)),
        ("spo2", pytest.approx(93), at(2026, 3, 2)),
    ]
    assert found.measured[2].given_unit == "1"
    assert found.refused == ()


def test_other_measurements_are_passed_over_in_silence() -> None:
    """A code that is not ours, and items that are no numbers, say nothing."""
    text = Dataset()
    text.ValueType, text.TextValue = "TEXT", "FEV1 80 %"
    found = measurements(report([num(("LN", "8480-6"), "120", "mm[Hg]"), text]))
    assert found == structured.Found((), ())


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (num(FEV1, "2.5", "L"), "fev1: unit 'L' is not one of %"),
        (num(FEV1, "80", "%", "99LOCAL"), "fev1: the unit is not a code of UCUM"),
        (num(FEV1, "800", "%"), "fev1: not within 10 to 160 %"),
    ],
)
def test_a_known_measurement_that_is_wrong_is_named(item: Dataset, sentence: str) -> None:
    """The sentence has the quantity and the rule."""
    assert measurements(report([item])).refused == (sentence,)


def test_a_measurement_without_a_value_is_named() -> None:
    """An empty measured value (PS3.3 C.18.1) is no zero."""
    item = num(DLCO, "1", "%")
    item.MeasuredValueSequence = Items([])
    assert measurements(report([item])).refused == ("dlco: the measurement has no value",)


def test_a_tree_without_end_is_walked_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep and broad trees end; what stood before the limit is kept."""
    monkeypatch.setattr(structured, "MAXIMUM_ITEMS", 50)
    deep = container([])
    for _ in range(200):
        deep = container([deep])
    found = measurements(report([num(FEV1, "81", "%"), deep, num(DLCO, "40", "%")]))
    assert [one.name for one in found.measured] == ["fev1"]


def test_a_report_is_the_same_written_and_read() -> None:
    """What went through a file is found as in memory."""
    stream = io.BytesIO()
    report([num(FEV1, "81", "%")]).save_as(stream, enforce_file_format=True)
    stream.seek(0)
    assert measurements(dcmread(stream)).measured[0].value == 81


@pytest.mark.parametrize(
    "moment", ["", "2026", "20261301", "20260301+99", "20260301+9900", "2026030112000x", "-"]
)
def test_a_time_that_is_none_is_not_invented(moment: str) -> None:
    """An odd date-time leaves the report's own."""
    item = num(FEV1, "81", "%")
    item.add_new("ObservationDateTime", "LO", moment)
    (one,) = measurements(report([item])).measured
    assert one.observed_at == at(2026, 3, 15, 10, 15)
