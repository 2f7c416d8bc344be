"""Independent validators find no error in any result, and do find errors put there on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import EnhancedMRImageStorage
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

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.capture import heatmap_series
from gatekeeper.results.report import report
from gatekeeper.results.tree import code_of, descendants
from gatekeeper.rules.verdict import Verdict


def made(study: StudyAssessment) -> Dataset:
    """Return the report that a study must have."""
    dataset = report(study)
    assert dataset is not None
    return dataset


@on_real_scans()
def test_validators_find_no_error_in_any_result(
    real: RealScan,
    assess: Any,
    dciodvfy: Validate,
    dcentvfy: Validate,
) -> None:
    """Heatmaps and both kinds of report of real scans are free of errors and unknown warnings."""
    slices, study = real
    unread = assess(slices, p_value=None, verdict=Verdict.UNREADABLE, model_digest="other")
    images = heatmap_series(study, study.series[0])
    reports = [made(study), made(unread)]

    assert unknown(dciodvfy([*images[::6], *reports]), KNOWN_WARNINGS) == []
    assert unknown(dcentvfy([*slices, *images, *reports]), KNOWN_ENTITY_WARNINGS) == []


@pytest.fixture(scope="module")
def judged(
    mni_study: StudyAssessment,
    mni_slices: Sequence[Dataset],
    assess: Any,
    sr_validator: ValidateReports,
) -> list[list[str]]:
    """Return what PixelMed says of a measurement report, of a text report, and of a mutant."""
    measured = made(mni_study)
    unread = made(assess(mni_slices, p_value=None, verdict=Verdict.UNREADABLE))
    mutant = deepcopy(measured)
    _, first, second = [item for item in descendants(mutant) if code_of(item).value == "125007"]
    _region_of(first).ContentSequence = []
    _region_of(second).RelationshipType = "HAS PROPERTIES"
    return sr_validator([measured, unread, mutant])


def _region_of(group: Dataset) -> Dataset:
    return next(item for item in group.ContentSequence if item.ValueType == "SCOORD")


@pytest.mark.parametrize(("report_kind", "template"), [(0, "TID_1500"), (1, "TID_2000")])
def test_reports_follow_their_template(
    judged: list[list[str]], report_kind: int, template: str
) -> None:
    """PixelMed finds the template, no error, and no warning that is not explained."""
    lines = judged[report_kind]

    assert any(f"Found Root Template {template}" in line for line in lines)
    assert "Root Template Validation Complete" in lines
    assert sr_errors(lines) == []
    assert unknown(lines, KNOWN_SR_WARNINGS) == []


def test_a_report_against_its_template_is_caught(judged: list[list[str]]) -> None:
    """An outline without its image and one that is wrongly related are both seen."""
    found = sr_errors(judged[2])

    assert any("SCOORD */[Row 10d] IMAGE" in line for line in found)
    assert any("illegal relationship" in line for line in found)


def test_a_heatmap_of_an_unknown_body_part_is_valid(
    seven_tesla_slices: Sequence[Dataset], assess: Any, dciodvfy: Validate
) -> None:
    """Where neither header nor volume names a body part, the side is present and empty."""
    study = assess(seven_tesla_slices[180:184])
    image = heatmap_series(study, study.series[0])[0]

    assert image.Laterality == ""
    known = (*KNOWN_WARNINGS, "only permitted to be empty when actually unknown")
    assert unknown(dciodvfy([image]), known) == []


def test_lossy_and_enhanced_sources_give_valid_heatmaps(
    mni_slices: Sequence[Dataset], assess: Any, dciodvfy: Validate
) -> None:
    """Frame references and the marks of loss are where the standard has them."""
    slices = [deepcopy(one) for one in mni_slices[:4]]
    for one in slices:
        one.SOPClassUID = EnhancedMRImageStorage
        one.LossyImageCompression = "01"
        one.LossyImageCompressionRatio = "12.5"
        one.LossyImageCompressionMethod = "ISO_10918_1"
    study = assess(slices, frames=True, body_part="BRAIN")
    (series,) = study.series
    series = replace(series, source=replace(series.source, lossy=True))

    images = heatmap_series(study, series)

    assert unknown(dciodvfy([images[0], made(study)]), KNOWN_WARNINGS) == []


def test_a_printer_prints_verdict_and_numbers(
    mni_study: StudyAssessment, printed: Callable[[Dataset], str]
) -> None:
    """dsrdump shows each value with its name."""
    text = printed(made(mni_study))

    assert "SUSPECT. Held: this scan differs from normal" in text
    assert '(P_VALUE,99GATEKEEPER,"Conformal p-value")="0.05"' in text
    assert "Series 4 T1 MPRAGE ax, region 1, image 11" in text


@pytest.mark.parametrize(
    "mutate",
    [
        pytest.param(without("ConversionType"), id="no-conversion-type"),
        pytest.param(without("PatientID"), id="no-patient-id"),
        pytest.param(without("PatientOrientation"), id="no-patient-orientation"),
        pytest.param(without("PhotometricInterpretation"), id="no-photometric-interpretation"),
        pytest.param(without("PlanarConfiguration"), id="no-planar-configuration"),
    ],
)
def test_a_mutilated_heatmap_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate, mutate: Callable[[Dataset], None]
) -> None:
    """dciodvfy sees what is missing: its silence on our heatmaps means something."""
    image = heatmap_series(mni_study, mni_study.series[0])[0]
    mutate(image)

    assert errors(dciodvfy([image]))


def test_a_reader_makes_the_heatmaps_a_volume_in_place(mni_study: StudyAssessment) -> None:
    """highdicom, from the geometry alone, puts the heatmaps where the source volume is."""
    (series,) = mni_study.series
    assert series.volume is not None
    images = [round_trip(image) for image in heatmap_series(mni_study, series)]

    volume = hd.get_volume_from_series(images)

    first, last = (np.array(series.volume.to_patient((place, 0, 0))) for place in (0, 23))
    # A voxel is two by two pixels: its centre lies half a pixel from theirs.
    corners = {tuple(volume.map_indices_to_reference(np.array([[k, 0, 0]]))[0]) for k in (0, 23)}
    moved = {tuple(np.add(corner, (0.25, -0.25, 0.0))) for corner in (first, last)}
    assert {tuple(np.round(corner, 9)) for corner in corners} == moved
    assert volume.frame_of_reference_uid == series.source.slices[0].header.FrameOfReferenceUID


@pytest.mark.parametrize(
    "keyword", ["FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"]
)
def test_a_heatmap_out_of_place_is_caught(mni_study: StudyAssessment, keyword: str) -> None:
    """The same reader refuses heatmaps that lack their place in the patient."""
    images = [round_trip(image) for image in heatmap_series(mni_study, mni_study.series[0])]
    for image in images:
        del image[keyword]

    with pytest.raises((ValueError, AttributeError)):
        hd.get_volume_from_series(images)


def test_a_group_without_its_outline_is_caught(mni_study: StudyAssessment) -> None:
    """The reader fails on the group, as viewers do; the template would let it pass."""
    mutant = round_trip(made(mni_study))
    group = next(item for item in descendants(mutant) if code_of(item).value == "125007")
    group.ContentSequence = [item for item in group.ContentSequence if item.ValueType != "SCOORD"]
    region = Code("111030", "DCM", "Image Region")
    content: Any = hd.sr.Comprehensive3DSR.from_dataset(mutant).content

    with pytest.raises(RuntimeError, match="No content item representing a valid ROI reference"):
        content.get_planar_roi_measurement_groups(reference_type=region)


@pytest.mark.parametrize(
    "mutate",
    [
        pytest.param(number_without_units, id="number-without-units"),
        pytest.param(without("CompletionFlag"), id="no-completion-flag"),
        pytest.param(without("CurrentRequestedProcedureEvidenceSequence"), id="no-evidence"),
        pytest.param(without("ConceptNameCodeSequence"), id="no-title"),
    ],
)
def test_a_mutilated_report_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate, mutate: Callable[[Dataset], None]
) -> None:
    """dciodvfy sees each mutilation of a report."""
    mutant = deepcopy(made(mni_study))
    mutate(mutant)

    assert errors(dciodvfy([mutant]))
