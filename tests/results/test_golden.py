"""Every attribute of every kind of result is what it was when last looked at."""

from __future__ import annotations

from copy import deepcopy

import pytest
from pydicom.dataset import Dataset
from results import golden

from gatekeeper.results.kinds import KINDS, STATEMENT

NAMES = (*KINDS, "heatmap-region", STATEMENT, golden.GERMAN)


@pytest.fixture(scope="module")
def made() -> dict[str, Dataset]:
    """Return one object of each kind by the name of its golden file."""
    return golden.objects()


def test_the_golden_files_are_of_this_version() -> None:
    """UIDs hold version and renderer: after a change of either, ``make golden``."""
    assert golden.VERSION.read_text(encoding="utf-8") == golden.version()


def test_every_kind_of_result_has_a_golden_file(made: dict[str, Dataset]) -> None:
    """A new kind is looked at too, and none is left behind."""
    assert set(made) == set(NAMES)
    assert {path.stem for path in golden.FOLDER.glob("*.txt")} == {*NAMES, golden.VERSION.stem}


@pytest.mark.parametrize("name", NAMES)
def test_no_attribute_has_changed(made: dict[str, Dataset], name: str) -> None:
    """Each that differs is named; `results.golden` says what to do where it is meant."""
    found = golden.differences(golden.read(name), golden.attributes(name, made[name]))

    assert not found, "\n".join([f"{name}:", *found])


def test_a_changed_attribute_is_named(made: dict[str, Dataset]) -> None:
    """However deep in a sequence it lies, and whether changed, gone or new."""
    changed = deepcopy(made["segmentation"])
    changed.SegmentSequence[1].SegmentLabel = "Other"
    changed.PatientComments = "new"
    del changed.StudyDescription
    changed.PixelData = b"\x01" + changed.PixelData[1:]

    found = golden.differences(
        golden.read("segmentation"), golden.attributes("segmentation", changed)
    )

    assert [line.partition(":")[0] for line in found] == [
        "PatientComments",
        "PixelData",
        "SegmentSequence[2].SegmentLabel",
        "StudyDescription",
    ]
    assert "SegmentSequence[2].SegmentLabel: golden LO Region 2, now LO Other" in found
    assert "PatientComments: golden absent, now LT new" in found


def test_golden_files_stay_small() -> None:
    """What a person is to look at in a change has an end."""
    assert sum(path.stat().st_size for path in golden.FOLDER.glob("*.txt")) < 200_000
