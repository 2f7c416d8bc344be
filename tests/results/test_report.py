"""The report says the verdict first, then what it rests on, and breaks no viewer."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from gatekeeper.results import codes
from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.common import to_bytes
from gatekeeper.results.measurements import key_slices, peak_slice
from gatekeeper.results.place import outline
from gatekeeper.results.report import report
from gatekeeper.results.tree import children, code_of, code_parts, descendants, value_of


def made(study: StudyAssessment) -> Dataset:
    """Return the report that a study must have."""
    dataset = report(study)
    assert dataset is not None
    return dataset


@pytest.fixture(scope="module")
def suspect(mni_study: StudyAssessment) -> Dataset:
    """Return the report on the suspect template."""
    return made(mni_study)


@pytest.fixture(scope="module")
def uncalibrated(mni_slices: Sequence[Dataset], assess: Any) -> StudyAssessment:
    """Return a study for which there is no profile."""
    return assess(mni_slices, p_value=None)


def texts(dataset: Dataset) -> list[str]:
    """Return the plain sentences right below the root."""
    return [
        value_of(item)
        for item in children(dataset)
        if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS"
    ]


def groups_of(dataset: Dataset) -> list[Dataset]:
    """Return the measurement groups in order."""
    return [item for item in descendants(dataset) if code_of(item).value == "125007"]


def numbers_of(group: Dataset) -> dict[str, float]:
    """Return a group's numbers by the value of their code."""
    return {
        code_of(item).value: float(item.MeasuredValueSequence[0].NumericValue)
        for item in children(group)
        if item.ValueType == "NUM"
    }


def test_the_verdict_and_the_limits_come_before_all_numbers(suspect: Dataset) -> None:
    """A reader of the first three sentences knows the verdict, why, and what it is not."""
    contained = [item for item in children(suspect) if item.RelationshipType == "CONTAINS"]
    first = texts(suspect)

    kinds = [str(item.ValueType) for item in contained]
    assert kinds == ["TEXT", "TEXT", "TEXT", "CONTAINER", "CONTAINER", "CONTAINER"]
    assert first[0] == (
        "SUSPECT. Held: this scan differs from normal more than any of the 19 reference subjects, "
        "most of all in the image features of the whole scan (p = 0.05, hold at 0.05 or less)."
    )
    assert first[1].startswith("Research: not for diagnostic use.")
    assert "CLEAR does not exclude disease" in first[1]
    assert first[2].startswith("Series 4 T1 MPRAGE ax: SUSPECT. ")


def test_a_report_is_complete_unverified_and_preliminary(suspect: Dataset) -> None:
    """No person has looked at it, and it says so in the attributes too."""
    assert suspect.SOPClassUID == Comprehensive3DSRStorage
    assert suspect.CompletionFlag == "COMPLETE"
    assert suspect.VerificationFlag == "UNVERIFIED"
    assert suspect.PreliminaryFlag == "PRELIMINARY"
    assert suspect.ContentQualification == "RESEARCH"
    assert (suspect.Manufacturer, suspect.ManufacturerModelName) == ("Gatekeeper", "Gatekeeper")
    assert suspect.SeriesNumber == 9100


def test_dates_come_from_the_job_in_the_sources_time_zone(suspect: Dataset) -> None:
    """1 760 000 000.25 s after the epoch is 17:53:20.25 in Japan."""
    assert suspect.TimezoneOffsetFromUTC == "+0900"
    assert (suspect.ContentDate, suspect.ContentTime) == ("20251009", "175320.250000")
    (equipment,) = suspect.ContributingEquipmentSequence
    assert equipment.ContributionDateTime == "20251009175320.250000+0900"


def test_a_report_names_every_image_of_the_study(
    mni_study: StudyAssessment, suspect: Dataset
) -> None:
    """The evidence is all that was looked at, once each."""
    (study,) = suspect.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    named = [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]

    assert study.StudyInstanceUID == mni_study.study_instance_uid
    assert named == [header.SOPInstanceUID for header in mni_study.series[0].source.headers]


def test_the_series_group_holds_what_the_verdict_rests_on(suspect: Dataset) -> None:
    """Score, p-value, rate and size of the reference, of the whole and of each level."""
    numbers = numbers_of(groups_of(suspect)[0])

    assert numbers == {
        "SCORE": 91.0,
        "P_VALUE": 0.05,
        "HOLD_RATE": 0.05,
        "REFERENCES": 19,
        codes.level_score("geometry").value: 1.2,
        codes.level_median("geometry").value: 1.3,
        codes.level_p_value("geometry").value: 0.65,
        codes.level_score("global").value: 91.0,
        codes.level_median("global").value: 40.5,
        codes.level_p_value("global").value: 0.05,
        codes.level_score("focal").value: 5.1,
        codes.level_median("focal").value: 4.0,
        codes.level_p_value("focal").value: 0.35,
        "MAP_THRESHOLD": 3.0,
    }


def test_each_region_is_measured(mni_study: StudyAssessment, suspect: Dataset) -> None:
    """Volume, peak, mean and centre of every region are the detector's."""
    finding = mni_study.series[0].finding
    assert finding is not None
    groups = groups_of(suspect)[1:]

    assert len(groups) == len(finding.regions) == 2
    for group, region in zip(groups, finding.regions, strict=True):
        numbers = numbers_of(group)
        assert numbers["118565006"] == pytest.approx(region.volume_mm3)
        assert numbers["MAP_PEAK"] == pytest.approx(region.peak)
        assert numbers["MAP_MEAN"] == pytest.approx(region.mean)
        centre = [numbers[code.value] for code in codes.CENTRE]
        assert centre == pytest.approx(region.centre)


def test_every_group_is_anchored_on_a_source_image(
    mni_study: StudyAssessment, suspect: Dataset
) -> None:
    """Viewers fail on a group without an outline, and on one that is not in the evidence."""
    finding = mni_study.series[0].finding
    slices = mni_study.series[0].source.slices
    assert finding is not None
    expected = [peak_slice(finding), *(region.slice_index for region in finding.regions)]

    for group, index in zip(groups_of(suspect), expected, strict=True):
        (region,) = [item for item in children(group) if item.ValueType == "SCOORD"]
        assert region.GraphicType == "POLYLINE"
        points = np.array(region.GraphicData).reshape(-1, 2)
        assert np.array_equal(points[0], points[-1])
        assert points.min() >= 0
        assert (points.max(axis=0) <= [197, 233]).all()
        (image,) = children(region)
        instance = image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert instance == slices[index].header.SOPInstanceUID


def test_an_outline_is_counted_from_the_corner_of_the_first_pixel(
    mni_study: StudyAssessment,
) -> None:
    """The outline runs half a pixel outside the centres of the region's pixels."""
    finding = mni_study.series[0].finding
    assert finding is not None
    for region in finding.regions:
        depth, row, column = region.mask_offset
        rows, columns = np.nonzero(region.mask[region.slice_index - depth])
        points = outline(region, finding.map.shape)

        lowest, highest = points.min(axis=0), points.max(axis=0)
        assert np.allclose(lowest, [column + columns.min(), row + rows.min()])
        assert np.allclose(highest, [column + columns.max() + 1, row + rows.max() + 1])


def test_an_outline_of_any_length_can_be_written(mni_study: StudyAssessment) -> None:
    """More points than an element can hold are thinned; fewer than three become a rectangle."""
    finding = mni_study.series[0].finding
    assert finding is not None
    region = finding.regions[0]
    turns = np.linspace(0, 2 * np.pi, 30000)
    circle = 50 + 20 * np.stack([np.cos(turns), np.sin(turns)], axis=1)

    many = outline(dataclasses.replace(region, outline=circle), finding.map.shape)
    none = outline(dataclasses.replace(region, outline=np.empty((0, 2))), finding.map.shape)

    assert len(many) <= 8001
    assert np.array_equal(many[0], many[-1])
    assert none.shape == (5, 2)


def test_the_library_holds_the_key_slices_only(
    mni_study: StudyAssessment, suspect: Dataset
) -> None:
    """All slices of a long series would bury the findings."""
    (library,) = [item for item in children(suspect) if code_of(item) == codes.IMAGE_LIBRARY]
    listed = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in descendants(library)
        if item.ValueType == "IMAGE"
    ]
    (series,) = mni_study.series

    wanted = [series.source.slices[index].header.SOPInstanceUID for index in key_slices(series)]
    assert listed == wanted
    assert len(listed) < 4


def test_the_algorithm_is_named_with_what_it_was_set_to(
    mni_study: StudyAssessment, suspect: Dataset
) -> None:
    """Bundle, calibration, rate and threshold stand in every group."""
    finding = mni_study.series[0].finding
    assert finding is not None
    for group in groups_of(suspect):
        parameters = [value_of(item) for item in children(group) if code_of(item).value == "111002"]
        assert f"bundle_sha256={finding.model_digest}" in parameters
        assert f"calibration_sha256={finding.calibration_digest}" in parameters
        assert "false_hold_rate=0.05" in parameters
        assert "map_threshold=3" in parameters


def test_the_study_is_evaluated_in_codes_too(suspect: Dataset) -> None:
    """Row 12 of TID 1500 holds the verdict in our scheme and in CID 222."""
    (row,) = [item for item in children(suspect) if code_of(item) == codes.QUALITATIVE_EVALUATIONS]
    evaluations = {
        code_of(item).value: code_parts(item.ConceptCodeSequence)[:2]
        for item in children(row)
        if item.ValueType == "CODE"
    }

    assert evaluations == {
        "VERDICT": ("SUSPECT", "99GATEKEEPER"),
        "AGAINST_REF": ("263654008", "SCT"),
    }


def test_every_private_code_is_listed_and_its_scheme_declared(suspect: Dataset) -> None:
    """No code of ours is used that the scheme's declaration does not cover."""
    (declared,) = suspect.CodingSchemeIdentificationSequence

    assert (declared.CodingSchemeDesignator, declared.CodingSchemeUID) == (
        codes.SCHEME,
        codes.SCHEME_UID,
    )
    for code in codes.ALL_OURS:
        assert len(code.value) <= 16
        assert len(code.meaning) <= 64
    assert len({code.value for code in codes.ALL_OURS}) == len(codes.ALL_OURS)


def test_a_reader_gets_back_what_was_written(suspect: Dataset) -> None:
    """highdicom reads the file as a measurement report with its groups and trackers."""
    read = hd.sr.srread(io.BytesIO(to_bytes(suspect)))
    content: Any = read.content

    groups = content.get_planar_roi_measurement_groups()
    assert len(groups) == 3
    assert [group.tracking_identifier for group in groups] == [
        "Series 4 T1 MPRAGE ax, whole series",
        "Series 4 T1 MPRAGE ax, region 1, image 11",
        "Series 4 T1 MPRAGE ax, region 2, image 14",
    ]
    assert str(read.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_every_container_is_separate(suspect: Dataset) -> None:
    """Printers run the items of a continuous container together."""
    for item in (suspect, *descendants(suspect)):
        if item.ValueType == "CONTAINER":
            assert item.ContinuityOfContent == "SEPARATE"


def test_a_second_run_gives_the_same_bytes(
    mni_study: StudyAssessment, suspect: Dataset, uncalibrated: StudyAssessment
) -> None:
    """Nothing in a report comes from the clock or from chance."""
    assert to_bytes(made(dataclasses.replace(mni_study))) == to_bytes(suspect)
    assert to_bytes(made(uncalibrated)) == to_bytes(made(dataclasses.replace(uncalibrated)))
