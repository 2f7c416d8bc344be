"""The same report in older SR classes, and in plain sentences, for nodes that take no newer one."""

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
    KNOWN_SR_WARNINGS,
    KNOWN_WARNINGS,
    RealScan,
    Validate,
    ValidateReports,
    errors,
    number_without_units,
    on_real_scans,
    round_trip,
    sr_errors,
    unknown,
    without,
)

from gatekeeper.results import codes
from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.catalogue import read
from gatekeeper.results.common import to_bytes
from gatekeeper.results.plain_report import plain_report
from gatekeeper.results.report import Form, report
from gatekeeper.results.tree import code_of, descendants, value_of
from gatekeeper.rules.verdict import Verdict

CLASSES = {
    Form.COMPREHENSIVE_3D: "Comprehensive 3D SR Storage",
    Form.COMPREHENSIVE: "Comprehensive SR Storage",
    Form.ENHANCED: "Enhanced SR Storage",
}


def made(study: StudyAssessment, form: Form = Form.COMPREHENSIVE_3D) -> Dataset:
    """Return the report that a study must have."""
    dataset = report(study, form)
    assert dataset is not None
    return dataset


def in_words(study: StudyAssessment) -> Dataset:
    """Return the plain report that a study must have."""
    dataset = plain_report(study)
    assert dataset is not None
    return dataset


@pytest.fixture(scope="module")
def unread(mni_slices: Sequence[Dataset], assess: Any) -> StudyAssessment:
    """Return a study of which no series was assessed."""
    return assess(mni_slices, p_value=None, verdict=Verdict.UNREADABLE)


@pytest.mark.parametrize("form", Form)
def test_each_form_is_the_same_report_in_its_class(mni_study: StudyAssessment, form: Form) -> None:
    """Content is equal item by item; class and instance UID are the form's own."""
    usual, dataset = made(mni_study), made(mni_study, form)

    assert dataset.SOPClassUID.name == CLASSES[form]
    assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    assert dataset.ContentSequence == usual.ContentSequence
    assert (dataset.SOPInstanceUID == usual.SOPInstanceUID) == (form is Form.COMPREHENSIVE_3D)
    assert "SCOORD3D" not in {item.ValueType for item in descendants(dataset)}


def test_a_form_may_be_named_by_its_word(mni_study: StudyAssessment) -> None:
    """Configuration names forms in words; an unknown word is refused."""
    assert report(mni_study, "enhanced") == made(mni_study, Form.ENHANCED)
    with pytest.raises(ValueError, match="basic"):
        report(mni_study, "basic")


@pytest.mark.parametrize("form", Form)
def test_a_report_without_measurements_is_one_object_in_every_form(
    unread: StudyAssessment, form: Form
) -> None:
    """Same UID means same bytes: a text report does not depend on the form."""
    assert to_bytes(made(unread, form)) == to_bytes(made(unread))


@pytest.mark.parametrize("form", Form)
def test_a_reader_gets_the_groups_back_from_each_form(
    mni_study: StudyAssessment, form: Form
) -> None:
    """highdicom reads groups, outlines and numbers of the older classes too."""
    read = round_trip(made(mni_study, form))
    classes = {
        Form.COMPREHENSIVE_3D: hd.sr.Comprehensive3DSR,
        Form.COMPREHENSIVE: hd.sr.ComprehensiveSR,
        Form.ENHANCED: hd.sr.EnhancedSR,
    }

    content: Any = classes[form].from_dataset(read).content

    groups = content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier.split(", ")[1] for group in groups] == [
        "whole series",
        "region 1",
        "region 2",
    ]


def test_regions_are_told_in_words(mni_study: StudyAssessment) -> None:
    """Where to scroll to, how large and how strange; and where the numbers are."""
    dataset = in_words(mni_study)
    said = [value_of(item) for item in descendants(dataset) if item.ValueType == "TEXT"]
    finding = mni_study.series[0].finding
    assert finding is not None
    first = finding.regions[0]

    assert dataset.SOPClassUID == BasicTextSRStorage
    assert code_of(dataset).value == "18782-3"
    assert dataset.SeriesNumber == 9130
    concluded = [
        value_of(item) for item in descendants(dataset) if code_of(item) == codes.CONCLUSION
    ]
    assert concluded[0].startswith("SUSPECT. Held: ")
    assert concluded[1].startswith("Research: not for diagnostic use.")
    assert (
        f"Series 4 T1 MPRAGE ax: region 1, largest on image 11, {first.volume_mm3 / 1000:.2f} ml, "
        f"map peak {first.peak:.3g}, mean {first.mean:.3g}." in said
    )
    assert "Numbers, outlines and codes stand in the measurement report, series 9100." in said


def test_the_plain_report_accompanies_a_measurement_report_only(unread: StudyAssessment) -> None:
    """A study without measurements has a report in words already."""
    assert plain_report(unread) is None


def test_a_second_run_gives_the_same_bytes(mni_study: StudyAssessment) -> None:
    """Nothing in any form comes from the clock or from chance."""
    again = replace(mni_study)

    for form in Form:
        assert to_bytes(made(again, form)) == to_bytes(made(mni_study, form))
    assert to_bytes(in_words(again)) == to_bytes(in_words(mni_study))


@on_real_scans()
def test_validators_find_no_error_in_any_form(
    real: RealScan,
    dciodvfy: Validate,
    dcentvfy: Validate,
) -> None:
    """Every form of reports of real scans is free of errors and unknown warnings."""
    slices, study = real
    documents = [*(made(study, form) for form in Form), in_words(study)]

    assert unknown(dciodvfy(documents), KNOWN_WARNINGS) == []
    assert unknown(dcentvfy([*slices, *documents]), KNOWN_ENTITY_WARNINGS) == []


@pytest.mark.parametrize("form", Form)
def test_the_toolkit_finds_every_relationship_allowed(
    mni_study: StudyAssessment, printed: Callable[[Dataset], str], form: Form
) -> None:
    """dsrdump checks relationships against the class (PS3.3 A.35) and refuses what breaks them."""
    text = printed(made(mni_study, form))

    assert "SUSPECT. Held: this scan differs from normal" in text
    assert "Series 4 T1 MPRAGE ax, region 1, image 11" in text


def test_a_report_in_a_class_that_does_not_permit_it_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate
) -> None:
    """Measurements in a Basic Text SR, which has none, are an error: the check means something."""
    mutant = round_trip(made(mni_study, Form.ENHANCED))
    mutant.SOPClassUID = BasicTextSRStorage
    mutant.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage

    assert errors(dciodvfy([mutant]))


@pytest.mark.parametrize("form", [Form.COMPREHENSIVE, Form.ENHANCED])
def test_numbers_without_units_are_caught_in_each_form(
    mni_study: StudyAssessment, dciodvfy: Validate, form: Form
) -> None:
    """dciodvfy knows the older classes as well as the newest."""
    mutant = round_trip(made(mni_study, form))
    number_without_units(mutant)

    assert errors(dciodvfy([mutant]))


@pytest.mark.parametrize("keyword", ["CompletionFlag", "ConceptNameCodeSequence", "PatientID"])
def test_a_mutilated_plain_report_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate, keyword: str
) -> None:
    """dciodvfy sees what is missing in the report in words."""
    mutant = round_trip(in_words(mni_study))
    without(keyword)(mutant)

    assert errors(dciodvfy([mutant]))


def test_a_group_without_its_region_is_caught(mni_study: StudyAssessment) -> None:
    """The reader fails on a group that lost its outline, as viewers do."""
    mutant = round_trip(made(mni_study, Form.ENHANCED))
    group = next(item for item in descendants(mutant) if code_of(item).value == "125007")
    group.ContentSequence = [item for item in group.ContentSequence if item.ValueType != "SCOORD"]
    content: Any = hd.sr.EnhancedSR.from_dataset(mutant).content

    with pytest.raises(RuntimeError, match="No content item representing a valid ROI reference"):
        content.get_planar_roi_measurement_groups(
            reference_type=hd.sr.CodedConcept("111030", "DCM", "Image Region")
        )


@pytest.fixture(scope="module")
def judged(mni_study: StudyAssessment, sr_validator: ValidateReports) -> list[list[str]]:
    """Return what PixelMed says of the older forms and the report in words, two in German."""
    german = replace(mni_study, words=read("de"))
    forms = [made(mni_study, Form.COMPREHENSIVE), made(german, Form.ENHANCED)]
    return sr_validator([*forms, in_words(german)])


@pytest.mark.parametrize(
    ("kind", "template"),
    [
        pytest.param(0, "TID_1500", id="comprehensive"),
        pytest.param(1, "TID_1500", id="enhanced, in German"),
        pytest.param(2, "TID_2000", id="plain, in German"),
    ],
)
def test_every_form_follows_its_template(judged: list[list[str]], kind: int, template: str) -> None:
    """PixelMed finds class and template, no error, and no warning that is not explained."""
    lines = judged[kind]

    assert any(f"Found Root Template {template}" in line for line in lines)
    assert "Root Template Validation Complete" in lines
    assert sr_errors(lines) == []
    assert unknown(lines, KNOWN_SR_WARNINGS) == []


def test_a_reader_opens_the_plain_report(mni_study: StudyAssessment) -> None:
    """The Japanese name and the first sentence survive writing and reading."""
    read = round_trip(in_words(mni_study))

    assert str(read.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert any("map peak" in value_of(item) for item in descendants(read))
