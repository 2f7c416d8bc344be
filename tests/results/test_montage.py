"""A montage is one legible picture of where a series is most unlike the reference."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from results.validators import (
    KNOWN_ENTITY_WARNINGS,
    KNOWN_WARNINGS,
    RealScan,
    Validate,
    errors,
    on_real_scans,
    round_trip,
    unknown,
    without,
)

from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.capture import display_window, heatmap_series
from gatekeeper.results.catalogue import english
from gatekeeper.results.common import to_bytes
from gatekeeper.results.measurements import peak_slice
from gatekeeper.results.montage import montage, most_suspicious, picture
from gatekeeper.results.picture import strip_height
from gatekeeper.rules.verdict import Judgement, Verdict
from models.volume import Volume


def made(study: StudyAssessment, place: int = 0) -> Dataset:
    """Return the montage that a series of a study must have."""
    dataset = montage(study, study.series[place])
    assert dataset is not None
    return dataset


def drawn(series: SeriesAssessment) -> NDArray[np.uint8]:
    """Return the montage's pixels."""
    assert series.volume is not None
    assert series.finding is not None
    chosen, window = most_suspicious(series.finding), display_window(series, series.finding)
    return picture(series, series.volume, series.finding, chosen, window, english())


def coloured(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which pixels above the legend's strip have colour."""
    shown = pixels[: len(pixels) - strip_height(pixels.shape[1])].astype(int)
    return shown.max(axis=2) != shown.min(axis=2)


def test_a_montage_says_what_it_is(mni_study: StudyAssessment) -> None:
    """Kind, research mark, derivation and the loop guard's marks are on it."""
    image = made(mni_study)

    assert image.SOPClassUID.name == "Secondary Capture Image Storage"
    assert (image.Modality, image.ConversionType) == ("OT", "SYN")
    assert list(image.ImageType) == ["DERIVED", "SECONDARY", "OTHER", "ANOMALY_MAP"]
    assert image.ContentQualification == "RESEARCH"
    assert (image.Manufacturer, image.ManufacturerModelName) == ("Gatekeeper", "Gatekeeper")
    assert image.BurnedInAnnotation == "NO"
    assert "threshold 3" in image.DerivationDescription
    assert image.pixel_array.shape == (image.Rows, image.Columns, 3)


def test_a_montage_comes_first_in_a_series_of_its_own(mni_study: StudyAssessment) -> None:
    """In a list ordered by number it stands before report and heatmaps."""
    image = made(mni_study)
    heatmap = heatmap_series(mni_study, mni_study.series[0])[0]

    assert (image.SeriesNumber, image.InstanceNumber) == (9099, 1)
    assert image.SeriesNumber < mni_study.series_number < heatmap.SeriesNumber
    assert image.SeriesInstanceUID != heatmap.SeriesInstanceUID


def test_nothing_in_a_montage_can_be_measured(mni_study: StudyAssessment) -> None:
    """It has no place in the patient and no scale; the sides of its panels are all the same."""
    image = made(mni_study)
    heatmap = heatmap_series(mni_study, mni_study.series[0])[0]

    for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "PixelSpacing"):
        assert keyword not in image
    assert list(image.PatientOrientation) == list(heatmap.PatientOrientation) == ["R", "P"]
    assert {item.SpatialLocationsPreserved for item in image.SourceImageSequence} == {"NO"}


def test_the_most_suspicious_slices_are_shown_and_named(mni_study: StudyAssessment) -> None:
    """The slice of the map's peak is among them, and the sources are those shown."""
    (series,) = mni_study.series
    assert series.finding is not None
    chosen = most_suspicious(series.finding)
    image = made(mni_study)

    assert len(chosen) == 3
    assert chosen == sorted(chosen)
    assert peak_slice(series.finding) in chosen
    named = [item.ReferencedSOPInstanceUID for item in image.SourceImageSequence]
    assert named == [series.source.slices[index].header.SOPInstanceUID for index in chosen]
    for index in chosen:
        number = series.source.slices[index].header.InstanceNumber
        assert f"image {number}, slice {index + 1} of 24" in image.ImageComments


def test_a_map_below_its_threshold_shows_where_it_is_highest(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """Of a clear series without a coloured place the nearest to one are shown, without colour."""
    low = assess(mni_slices, p_value=8 / 20, peaks=((0.5, 0.4, 0.4, 2.5),)).series[0]
    flat = assess(mni_slices, p_value=8 / 20, peaks=()).series[0]

    assert peak_slice(low.finding) in most_suspicious(low.finding)
    assert most_suspicious(flat.finding) == [7, 12, 16]
    assert not coloured(drawn(low)).any()
    assert coloured(drawn(assess(mni_slices).series[0])).any()


def test_frames_are_named_by_number(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """A multi-frame source is one instance, cited frame by frame."""
    image = made(assess(mni_slices, frames=True))

    frames = [item.ReferencedFrameNumber for item in image.SourceImageSequence]
    assert len(set(frames)) == 3
    assert f"frame {frames[0]}, slice" in image.ImageComments
    (series,) = image.ReferencedSeriesSequence
    assert len(series.ReferencedInstanceSequence) == 1


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((6, 64, 64), (3.0, 3.0)),
        ((6, 128, 128), (2.0, 2.0)),
        ((6, 384, 274), (0.667, 0.7)),
        ((6, 512, 512), (0.7, 0.7)),
        ((6, 1024, 1024), (0.25, 0.25)),
        ((6, 40, 320), (6.0, 1.0)),
        ((1, 320, 40), (1.0, 6.0)),
    ],
)
def test_a_montage_is_legible_whatever_the_size_of_its_source(
    mni_study: StudyAssessment, shape: tuple[int, int, int], spacing: tuple[float, float]
) -> None:
    """Panels are 400 to 512 pixels long, in true proportions; no word touches an edge."""
    series = resized(mni_study.series[0], shape, spacing)
    count = min(3, shape[0])

    pixels = drawn(series)

    height, width = pixels.shape[:2]
    ratio = shape[1] * spacing[0] / (shape[2] * spacing[1])
    panel = (width - 20 * (count + 1)) / count
    if width > 560:
        assert 400 <= round(max(panel, panel * ratio)) <= 512
    assert width <= 3 * 512 + 4 * 20
    assert height < 1100
    assert not pixels[:, :4].any()
    assert not pixels[:, -4:].any()
    assert not pixels[:4].any()


def resized(
    series: SeriesAssessment, shape: tuple[int, int, int], spacing: tuple[float, float]
) -> SeriesAssessment:
    """Return the series with a smooth volume and map of this shape, and no regions."""
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[2, 0], affine[1, 1], affine[0, 2] = 4.0, spacing[0], spacing[1]
    values = np.broadcast_to(np.linspace(0, 5, shape[1], dtype=np.float32)[:, None], shape)
    assert series.finding is not None
    return replace(
        series,
        source=replace(series.source, slices=series.source.slices[: shape[0]]),
        volume=Volume(np.zeros(shape, np.float32), affine, "MR"),
        finding=replace(series.finding, map=values.copy(), regions=()),
    )


def test_the_sides_follow_the_plane(mni_study: StudyAssessment) -> None:
    """A sagittal series is marked front to back and head to feet."""
    (series,) = mni_study.series
    assert series.volume is not None
    affine = np.eye(4)
    affine[:3, :3] = np.array([[7.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    volume = replace(series.volume, affine=affine)
    study = replace(mni_study, series=(replace(series, volume=volume),))

    assert list(made(study).PatientOrientation) == ["P", "F"]


def test_a_reason_of_any_length_fits(mni_study: StudyAssessment) -> None:
    """Three lines at most; the rest is in the report."""
    (series,) = mni_study.series
    usual = drawn(series)
    for reason in ("word " * 400, "w" * 4000, ""):
        pixels = drawn(replace(series, judgement=Judgement(Verdict.SUSPECT, reason)))

        assert pixels.shape[1] == usual.shape[1]
        assert abs(pixels.shape[0] - usual.shape[0]) <= 60
        assert not pixels[:, -4:].any()


def test_no_words_of_the_source_are_burned_in(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """A description may hold a name, so the picture does not depend on it."""
    other = [deepcopy(one) for one in mni_slices]
    for one in other:
        one.SeriesDescription = "YAMADA TAROU"
        one.PatientName = "Suzuki^Ichirou"
        one.StudyDescription = "YAMADA"

    usual, changed = assess(mni_slices), assess(other)

    assert np.array_equal(drawn(usual.series[0]), drawn(changed.series[0]))


def test_a_series_without_a_finding_has_no_montage(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """Nothing was judged, so nothing is drawn."""
    study = assess(mni_slices, p_value=None)

    assert montage(study, study.series[0]) is None


def test_montages_of_several_series_are_one_series(
    mni_study: StudyAssessment,
    pelvis_slices: Sequence[Dataset],
    assess: Any,
    dciodvfy: Validate,
) -> None:
    """They are scrolled through; the body part is stated only where it is that of all."""
    other = assess(pelvis_slices, body_part="PELVIS").series[0]
    study = replace(mni_study, series=(mni_study.series[0], other))

    images = [made(study, place) for place in (0, 1)]

    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert len({image.SOPInstanceUID for image in images}) == 2
    assert [image.InstanceNumber for image in images] == [1, 2]
    assert made(mni_study).BodyPartExamined == "BRAIN"
    assert not any("BodyPartExamined" in image for image in images)
    known = (*KNOWN_WARNINGS, "only permitted to be empty when actually unknown")
    assert unknown(dciodvfy(images), known) == []


@on_real_scans()
def test_validators_find_no_error_in_a_montage(
    real: RealScan,
    dciodvfy: Validate,
    dcentvfy: Validate,
) -> None:
    """Montages of real scans are free of errors and unknown warnings."""
    slices, study = real
    image = made(study)

    assert unknown(dciodvfy([image]), KNOWN_WARNINGS) == []
    assert unknown(dcentvfy([*slices, image]), KNOWN_ENTITY_WARNINGS) == []


@pytest.mark.parametrize(
    "keyword",
    ["ConversionType", "PatientID", "PatientOrientation", "PhotometricInterpretation"],
)
def test_a_mutilated_montage_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate, keyword: str
) -> None:
    """dciodvfy sees what is missing: its silence on our montages means something."""
    mutant = round_trip(made(mni_study))
    without(keyword)(mutant)

    assert errors(dciodvfy([mutant]))


def test_a_second_run_gives_the_same_bytes(mni_study: StudyAssessment) -> None:
    """Nothing in a montage comes from the clock or from chance."""
    assert to_bytes(made(replace(mni_study))) == to_bytes(made(mni_study))
