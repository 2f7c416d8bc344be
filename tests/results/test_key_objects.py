"""Key objects cite the slices to look at, with all that must be there to show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import highdicom as hd
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage
from results.validators import (
    KNOWN_ENTITY_WARNINGS,
    KNOWN_WARNINGS,
    RealScan,
    Validate,
    ValidateReports,
    errors,
    on_real_scans,
    round_trip,
    sr_errors,
    unknown,
    without,
)

from gatekeeper.results import codes
from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.capture import heatmap_series
from gatekeeper.results.common import to_bytes
from gatekeeper.results.key_objects import key_objects
from gatekeeper.results.measurements import key_slices
from gatekeeper.results.montage import montage
from gatekeeper.results.presentation import presentation_states
from gatekeeper.results.tree import children, code_of, descendants, value_of


def made(study: StudyAssessment, *, bare: bool = False) -> Dataset:
    """Return the key objects that a study's first series must have; bare ones cite no more."""
    (series, *_) = study.series
    montage_, state = (None, None) if bare else others(study)
    dataset = key_objects(study, series, montage_, state)
    assert dataset is not None
    return dataset


def others(study: StudyAssessment) -> tuple[Dataset | None, Dataset | None]:
    """Return montage and presentation state of a study's first series."""
    (series, *_) = study.series
    return montage(study, series), presentation_states(study, series)


def cited(document: Dataset) -> list[str]:
    """Return the instances that the images cite, in order."""
    return [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in children(document)
        if item.ValueType == "IMAGE"
    ]


def test_key_slices_are_cited_each_with_its_heatmap(mni_study: StudyAssessment) -> None:
    """The montage comes first, then the report's key slices in order, each before its heatmap."""
    (series,) = mni_study.series
    heatmaps = heatmap_series(mni_study, series)
    overview, _ = others(mni_study)
    assert overview is not None
    wanted = [str(overview.SOPInstanceUID)]
    for index in key_slices(series):
        source = series.source.slices[index].header
        wanted += [str(source.SOPInstanceUID), str(heatmaps[index].SOPInstanceUID)]

    assert cited(made(mni_study)) == wanted
    assert cited(made(mni_study, bare=True)) == wanted[1:]


def test_a_source_slice_is_cited_with_its_presentation_state(mni_study: StudyAssessment) -> None:
    """A viewer that jumps to a source slice can draw the regions on it."""
    _, state = others(mni_study)
    assert state is not None
    (series,) = mni_study.series
    sources = {str(part.header.SOPInstanceUID) for part in series.source.slices}

    for item in children(made(mni_study)):
        if item.ValueType == "IMAGE":
            (reference,) = item.ReferencedSOPSequence
            shown = reference.get("ReferencedSOPSequence", ())
            states = [one.ReferencedSOPInstanceUID for one in shown]
            is_source = reference.ReferencedSOPInstanceUID in sources
            assert states == ([state.SOPInstanceUID] if is_source else [])


def test_a_selection_says_what_it_is_and_why(mni_study: StudyAssessment) -> None:
    """Title 'Of Interest', a description with the verdict, and the research mark."""
    document = made(mni_study)

    assert document.SOPClassUID.name == "Key Object Selection Document Storage"
    assert document.Modality == "KO"
    assert code_of(document) == codes.OF_INTEREST
    assert (document.SeriesNumber, document.InstanceNumber) == (9160, 1)
    assert document.ContentQualification == "RESEARCH"
    assert (document.Manufacturer, document.ManufacturerModelName) == ("Gatekeeper", "Gatekeeper")
    (why,) = [
        value_of(item)
        for item in children(document)
        if code_of(item) == codes.KEY_OBJECT_DESCRIPTION
    ]
    assert why.startswith("Series 4 T1 MPRAGE ax: SUSPECT. Held: ")
    assert why.endswith("Research - not for diagnostic use.")


def test_images_have_no_name(mni_study: StudyAssessment) -> None:
    """TID 2010 gives its images none."""
    images = [item for item in children(made(mni_study)) if item.ValueType == "IMAGE"]

    assert images
    assert not any("ConceptNameCodeSequence" in item for item in images)


def test_the_evidence_is_what_is_cited_once_each(mni_study: StudyAssessment) -> None:
    """Everything cited is in the evidence under its series, and nothing else is."""
    document = made(mni_study)
    overview, state = others(mni_study)
    assert overview is not None
    assert state is not None
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    named = {
        str(series.SeriesInstanceUID): [
            str(item.ReferencedSOPInstanceUID) for item in series.ReferencedSOPSequence
        ]
        for series in study.ReferencedSeriesSequence
    }
    (source,) = mni_study.series

    assert study.StudyInstanceUID == mni_study.study_instance_uid
    flat = [uid for uids in named.values() for uid in uids]
    assert sorted(flat) == sorted({*cited(document), str(state.SOPInstanceUID)})
    assert named[str(overview.SeriesInstanceUID)] == [overview.SOPInstanceUID]
    assert len(named[source.source.series_instance_uid]) == len(key_slices(source))


def test_frames_are_cited_by_number(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """A multi-frame source is cited frame by frame, and listed once."""
    study = assess(mni_slices, frames=True)
    document = made(study)
    frames = [
        int(item.ReferencedSOPSequence[0].ReferencedFrameNumber)
        for item in children(document)
        if item.ValueType == "IMAGE" and "ReferencedFrameNumber" in item.ReferencedSOPSequence[0]
    ]

    assert frames == [index + 1 for index in key_slices(study.series[0])]
    (evidence,) = document.CurrentRequestedProcedureEvidenceSequence
    listed = {
        str(series.SeriesInstanceUID): len(series.ReferencedSOPSequence)
        for series in evidence.ReferencedSeriesSequence
    }
    assert listed[study.series[0].source.series_instance_uid] == 1


def test_a_clear_series_cites_its_highest_slice(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """There is always one slice to look at; there is none of a series without a finding."""
    clear = assess(mni_slices, p_value=8 / 20, peaks=())
    unread = assess(mni_slices, p_value=None)

    assert len(cited(made(clear, bare=True))) == 2
    assert key_objects(unread, unread.series[0]) is None


def test_what_is_cited_is_in_the_uid(mni_study: StudyAssessment) -> None:
    """Same UID means same bytes: a selection that cites more has another."""
    assert made(mni_study).SOPInstanceUID != made(mni_study, bare=True).SOPInstanceUID
    assert made(mni_study).SeriesInstanceUID == made(mni_study, bare=True).SeriesInstanceUID


def test_a_reader_gets_the_references_back(mni_study: StudyAssessment) -> None:
    """highdicom reads the file and finds each instance's series."""
    read: Any = hd.ko.KeyObjectSelectionDocument.from_dataset(round_trip(made(mni_study)))

    instances = cited(read)
    assert len(instances) == 5
    for uid in instances:
        study, series, instance = read.resolve_reference(uid)
        assert study == mni_study.study_instance_uid
        assert series
        assert instance == uid


def test_a_second_run_gives_the_same_bytes(mni_study: StudyAssessment) -> None:
    """Nothing in a selection comes from the clock or from chance."""
    assert to_bytes(made(replace(mni_study))) == to_bytes(made(mni_study))


@on_real_scans()
def test_validators_find_no_error_in_a_selection(
    real: RealScan,
    dciodvfy: Validate,
    dcentvfy: Validate,
) -> None:
    """Selections of real scans are free of errors and unknown warnings, with what they cite."""
    slices, study = real
    results = [one for one in (*others(study), made(study)) if one is not None]

    assert unknown(dciodvfy(results), KNOWN_WARNINGS) == []
    assert unknown(dcentvfy([*slices, *results]), KNOWN_ENTITY_WARNINGS) == []


def test_the_toolkit_prints_what_is_cited(
    mni_study: StudyAssessment, printed: Callable[[Dataset], str]
) -> None:
    """dsrdump reads the selection with every reference and its presentation state."""
    text = printed(made(mni_study))

    assert "Key Object Selection Document" in text
    assert text.count("IMAGE:=(SC image") == 3
    assert text.count("IMAGE:=(MR image") == 2
    assert text.count("(GSPS,") == 2


@pytest.mark.parametrize(
    "keyword",
    ["CurrentRequestedProcedureEvidenceSequence", "ConceptNameCodeSequence", "ContentDate"],
)
def test_a_mutilated_selection_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate, keyword: str
) -> None:
    """dciodvfy sees what is missing."""
    mutant = round_trip(made(mni_study))
    without(keyword)(mutant)

    assert errors(dciodvfy([mutant]))


@pytest.fixture(scope="module")
def judged(mni_study: StudyAssessment, sr_validator: ValidateReports) -> list[list[str]]:
    """Return what PixelMed says of a selection, and of one whose images have a wrong relation."""
    mutant = round_trip(made(mni_study))
    for item in descendants(mutant):
        if item.ValueType == "IMAGE":
            item.RelationshipType = "INFERRED FROM"
    return sr_validator([made(mni_study), mutant])


def test_a_selection_follows_its_template(judged: list[list[str]]) -> None:
    """PixelMed finds class and template, no error and no warning at all."""
    lines = judged[0]

    assert any("Found Root Template TID_2010" in line for line in lines)
    assert "Root Template Validation Complete" in lines
    assert sr_errors(lines) == []
    assert unknown(lines, ()) == []


def test_a_selection_against_its_template_is_caught(judged: list[list[str]]) -> None:
    """Images that are not contained are seen."""
    assert sr_errors(judged[1])


def test_a_selection_in_another_class_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate
) -> None:
    """A Basic Text SR needs flags that a selection has not."""
    mutant = round_trip(made(mni_study))
    mutant.SOPClassUID = BasicTextSRStorage
    mutant.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage

    assert errors(dciodvfy([mutant]))
