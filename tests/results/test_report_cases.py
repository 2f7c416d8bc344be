"""Every kind of study gets the report that fits it."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, EncapsulatedPDFStorage

from gatekeeper.identifiers import Digest, Uid
from gatekeeper.results import codes
from gatekeeper.results.assessment import SeriesAssessment, SourceSeries, StudyAssessment
from gatekeeper.results.capture import heatmap_series
from gatekeeper.results.common import to_bytes
from gatekeeper.results.report import report
from gatekeeper.results.tree import children, code_of, code_parts, descendants, value_of
from gatekeeper.rules.verdict import Judgement, Verdict, judge_study


def made(study: StudyAssessment) -> Dataset:
    """Return the report that a study must have."""
    dataset = report(study)
    assert dataset is not None
    return dataset


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


@pytest.mark.parametrize("verdict", [Verdict.UNREADABLE, Verdict.UNCALIBRATED])
def test_a_study_without_measurements_gets_a_text_report(
    mni_slices: Sequence[Dataset], assess: Any, verdict: Verdict
) -> None:
    """It says why, names the images, and is no measurement report without measurements."""
    reason = "Not assessed: one slice is missing."
    dataset = made(assess(mni_slices, p_value=None, verdict=verdict, reason=reason))
    said = [value_of(item) for item in descendants(dataset) if item.ValueType == "TEXT"]

    assert dataset.SOPClassUID == BasicTextSRStorage
    assert code_of(dataset).value == "18782-3"
    assert f"{verdict}. {reason}" in said
    assert any(line.startswith("Research: not for diagnostic use.") for line in said)
    assert not [item for item in descendants(dataset) if item.ValueType in ("NUM", "SCOORD")]
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 24


def test_a_study_that_is_partly_assessed_says_so_of_each_series(
    mni_study: StudyAssessment, uncalibrated: StudyAssessment
) -> None:
    """Measurements of one series and the reason for the other stand in one report."""
    other = uncalibrated.series[0]
    source = dataclasses.replace(other.source, series_instance_uid=Uid("1.2.3.4"))
    both = dataclasses.replace(
        mni_study, series=(mni_study.series[0], dataclasses.replace(other, source=source))
    )

    dataset = made(both)

    assert dataset.SOPClassUID == Comprehensive3DSRStorage
    assert texts(dataset)[3] == (
        "Series 4 T1 MPRAGE ax: UNCALIBRATED. Not assessed: no profile for this kind of scan."
    )
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence) == 2


def test_a_clear_study_has_measurements_and_no_regions(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """CLEAR is reported with the numbers it rests on."""
    dataset = made(assess(mni_slices, p_value=8 / 20, peaks=()))

    assert texts(dataset)[0].startswith("CLEAR. Not held: 7 of the 19 reference subjects")
    assert len(groups_of(dataset)) == 1
    verdicts = [
        code_parts(item.ConceptCodeSequence)[0]
        for item in descendants(dataset)
        if code_of(item) == codes.GATE_VERDICT
    ]
    assert verdicts == ["CLEAR", "CLEAR"]


def test_a_study_without_images_gets_no_report(mni_study: StudyAssessment) -> None:
    """A study of reports and documents alone is not ours to answer."""
    document = Dataset()
    document.SOPClassUID = EncapsulatedPDFStorage
    document.SOPInstanceUID = "1.2.3"
    judgement = Judgement(Verdict.UNCALIBRATED, "Not assessed: holds a document.")
    series = SeriesAssessment(SourceSeries(Uid("1.2"), (document,)), judgement)

    assert report(dataclasses.replace(mni_study, series=(series,))) is None
    assert report(dataclasses.replace(mni_study, series=())) is None


def test_a_series_of_which_nothing_could_be_read_is_still_named(
    mni_study: StudyAssessment,
) -> None:
    """A series without a single readable header has its reason in the report."""
    judgement = Judgement(Verdict.UNREADABLE, "Not assessed: the pixel data are damaged.")
    lost = SeriesAssessment(SourceSeries(Uid("1.2.3.4"), ()), judgement)
    series = (*mni_study.series, lost)
    study = dataclasses.replace(
        mni_study, series=series, judgement=judge_study([one.judgement for one in series])
    )

    lines = texts(made(study))

    assert lines[-1] == "Series: UNREADABLE. Not assessed: the pixel data are damaged."


def test_a_revision_says_that_it_takes_an_earlier_reports_place(
    mni_study: StudyAssessment,
) -> None:
    """A late slice makes a new report, which tells the reader so."""
    later = dataclasses.replace(mni_study, revision=2, content_digest=Digest.of(b"more"))
    said = [value_of(item) for item in descendants(made(later)) if item.ValueType == "TEXT"]

    assert any(line.startswith("Revision 2: ") for line in said)


def test_frames_are_cited_by_number(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """Regions in a multi-frame source name instance and frame."""
    study = assess(mni_slices, frames=True)
    dataset = made(study)

    cited = [
        item.ReferencedSOPSequence[0].ReferencedFrameNumber
        for item in descendants(dataset)
        if item.ValueType == "IMAGE"
    ]
    assert cited
    assert all(1 <= int(frame) <= 24 for frame in cited)


def test_a_source_with_errors_of_its_own_is_reported_without_them(
    seven_tesla_slices: Sequence[Dataset], assess: Any
) -> None:
    """The real 7 T header says age '42' and has numbers of 19 characters; the report does not."""
    study = assess(seven_tesla_slices[180:200], body_part="BRAIN")
    read = dcmread(io.BytesIO(to_bytes(made(study))))

    assert "PatientAge" not in read
    assert read.PatientBirthDate == "19660101"
    assert read.PatientWeight == 75


def test_an_institution_in_another_script_is_written(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """Name and institution both survive, though no one character set but UTF-8 holds both."""
    study = assess(mni_slices[:3], institution="Universitätsklinikum Köln")
    for dataset in (made(study), heatmap_series(study, study.series[0])[0]):
        read = dcmread(io.BytesIO(to_bytes(dataset)))

        assert read.SpecificCharacterSet == "ISO_IR 192"
        assert read.InstitutionName == "Universitätsklinikum Köln"
        assert str(read.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_the_procedure_is_the_sources_own(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """A coded procedure in the source is the procedure reported."""
    slices = [deepcopy(one) for one in mni_slices[:3]]
    for one in slices:
        one.ProcedureCodeSequence = [codes.code_item(codes.Code("MRHEAD", "99SITE", "MR head"))]

    dataset = made(assess(slices))

    (procedure,) = [item for item in children(dataset) if code_of(item) == codes.PROCEDURE_REPORTED]
    assert value_of(procedure) == "MR head"


def test_each_algorithm_contributes_as_a_device_of_its_own(mni_study: StudyAssessment) -> None:
    """Two models that judged a study are two items, and one that judged two series is one."""
    (first,) = mni_study.series
    assert first.finding is not None
    other = dataclasses.replace(first.finding, detector="atlas", model_digest=Digest.of(b"other"))
    second = dataclasses.replace(first, finding=other)
    third = dataclasses.replace(first)

    dataset = made(dataclasses.replace(mni_study, series=(first, second, third)))

    items = dataset.ContributingEquipmentSequence
    assert [item.ManufacturerModelName.split()[0] for item in items] == ["features", "atlas"]
    assert [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in items] == ["109102"] * 2
    assert len({item.DeviceUID for item in items}) == 2
    assert all(item.Manufacturer and item.SoftwareVersions for item in items)
