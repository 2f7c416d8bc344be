"""A presentation state shows the source as the heatmaps do, with the regions drawn on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage
from results.readers import shown_by_dcmtk
from results.validators import (
    KNOWN_ENTITY_WARNINGS,
    KNOWN_STATE_WARNINGS,
    KNOWN_WARNINGS,
    RealScan,
    Validate,
    errors,
    on_real_scans,
    round_trip,
    unknown,
    without,
)

from gatekeeper.results.assessment import SeriesAssessment, SourceSlice, StudyAssessment
from gatekeeper.results.capture import display_window
from gatekeeper.results.common import to_bytes
from gatekeeper.results.picture import windowed
from gatekeeper.results.place import outline
from gatekeeper.results.presentation import presentation_states
from models.volume import Volume

Shown = Callable[..., NDArray[np.uint8]]


def made(study: StudyAssessment) -> Dataset:
    """Return the presentation state that a study's first series must have."""
    dataset = presentation_states(study, study.series[0])
    assert dataset is not None
    return dataset


def changed(slices: Sequence[Dataset], change: Callable[[int, Dataset], None]) -> list[Dataset]:
    """Return copies of slices, each changed by its place."""
    copies = [deepcopy(one) for one in slices]
    for place, one in enumerate(copies):
        change(place, one)
    return copies


@pytest.fixture
def shown(peer: Callable[[str], str], tmp_path: Path) -> Shown:
    """Return a function that gives the grey values that the toolkit shows of a frame."""
    program = peer("dcmp2pgm")

    def show(image: Dataset, state: Dataset, frame: int = 1) -> NDArray[np.uint8]:
        return shown_by_dcmtk(program, image, state, frame, tmp_path)

    return show


def image_of(slices: Sequence[Dataset], series: SeriesAssessment, index: int) -> Dataset:
    """Return the image with pixels of one plane of the volume."""
    uid = series.source.slices[index].header.SOPInstanceUID
    (image,) = [one for one in slices if one.SOPInstanceUID == uid]
    return image


def expected(series: SeriesAssessment, index: int) -> NDArray[np.uint8]:
    """Return the grey values of a heatmap's source slice."""
    assert series.volume is not None
    assert series.finding is not None
    window = display_window(series, series.finding)
    return windowed(series.volume.array[index], window.centre, window.width, window.function)


def assert_same_grey(seen: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> None:
    """Rounding apart, the toolkit shows what the heatmap shows."""
    assert seen.shape == wanted.shape
    assert np.abs(seen.astype(int) - wanted).max() <= 1


def test_a_presentation_state_says_what_it_is(mni_study: StudyAssessment) -> None:
    """Class, research mark, dates and numbers are on it, and every slice is listed."""
    state = made(mni_study)

    assert state.SOPClassUID.name == "Grayscale Softcopy Presentation State Storage"
    assert state.Modality == "PR"
    assert state.ContentQualification == "RESEARCH"
    assert (state.Manufacturer, state.ManufacturerModelName) == ("Gatekeeper", "Gatekeeper")
    assert (state.SeriesNumber, state.InstanceNumber) == (9150, 1)
    assert state.ContentLabel == "REGIONS"
    assert state.PresentationCreationDate == "20251009"
    (series,) = state.ReferencedSeriesSequence
    listed = [item.ReferencedSOPInstanceUID for item in series.ReferencedImageSequence]
    slices = mni_study.series[0].source.slices
    assert listed == [part.header.SOPInstanceUID for part in slices]


def test_each_region_is_outlined_and_numbered_on_its_slice(mni_study: StudyAssessment) -> None:
    """Outline and number of a region are on the one image of its largest area."""
    (series,) = mni_study.series
    assert series.finding is not None
    _, *annotations = made(mni_study).GraphicAnnotationSequence

    assert len(annotations) == len(series.finding.regions) == 2
    for annotation, region in zip(annotations, series.finding.regions, strict=True):
        (reference,) = annotation.ReferencedImageSequence
        source = series.source.slices[region.slice_index].header
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        (graphic,) = annotation.GraphicObjectSequence
        points = np.array(graphic.GraphicData).reshape(-1, 2)
        assert graphic.GraphicAnnotationUnits == "PIXEL"
        assert graphic.NumberOfGraphicPoints == len(points)
        assert np.array_equal(points, outline(region, series.finding.map.shape))
        (text,) = annotation.TextObjectSequence
        assert text.UnformattedTextValue == str(region.label)
        corners = (text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner)
        assert all(0 <= x <= 197 and 0 <= y <= 233 for x, y in corners)


def test_the_research_text_is_on_every_image(mni_study: StudyAssessment) -> None:
    """It stands at the bottom of the screen, whichever slice and part of it is shown."""
    state = made(mni_study)
    banner = state.GraphicAnnotationSequence[0]

    assert "ReferencedImageSequence" not in banner
    (text,) = banner.TextObjectSequence
    assert text.UnformattedTextValue == "Research - not for diagnostic use"
    assert text.BoundingBoxAnnotationUnits == "DISPLAY"
    (layer,) = state.GraphicLayerSequence
    assert {item.GraphicLayer for item in state.GraphicAnnotationSequence} == {layer.GraphicLayer}


def test_the_displayed_area_is_the_whole_of_every_image(mni_study: StudyAssessment) -> None:
    """One area, for all images, in their true proportions."""
    (area,) = made(mni_study).DisplayedAreaSelectionSequence

    assert "ReferencedImageSequence" not in area
    assert area.DisplayedAreaTopLeftHandCorner == [1, 1]
    assert area.DisplayedAreaBottomRightHandCorner == [197, 233]
    assert area.PresentationPixelSpacing == [1, 1]


def test_a_series_without_a_region_has_no_presentation_state(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """There is nothing to draw, of a clear series and of one without a finding."""
    clear = assess(mni_slices, p_value=8 / 20, peaks=())
    unread = assess(mni_slices, p_value=None)

    assert presentation_states(clear, clear.series[0]) is None
    assert presentation_states(unread, unread.series[0]) is None


def test_frames_are_listed_and_drawn_on_by_number(
    mni_slices: Sequence[Dataset], assess: Any, dciodvfy: Validate, dcmpschk: Validate
) -> None:
    """One multi-frame instance is listed once with all its frames."""
    slices = [deepcopy(one) for one in mni_slices]
    for one in slices:
        one.SOPClassUID = EnhancedMRImageStorage
    study = assess(slices, frames=True, body_part="BRAIN")
    state = made(study)

    (listed,) = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert listed.ReferencedFrameNumber == list(range(1, 25))
    drawn = [
        item.ReferencedImageSequence[0].ReferencedFrameNumber
        for item in state.GraphicAnnotationSequence[1:]
    ]
    assert study.series[0].finding is not None
    assert drawn == [region.slice_index + 1 for region in study.series[0].finding.regions]
    assert unknown(dciodvfy([state]), KNOWN_WARNINGS) == []
    assert unknown(dcmpschk([state]), KNOWN_STATE_WARNINGS) == []


@pytest.mark.parametrize("shared", [True, False], ids=["one-scale", "scale-of-each-frame"])
def test_the_toolkit_shows_each_frame_as_the_heatmaps_do(
    mni_slices: Sequence[Dataset], assess: Any, shown: Shown, shared: bool
) -> None:
    """A multi-frame source states its rescale in functional groups, shared or frame by frame."""

    def rescale(place: int, one: Dataset) -> None:
        one.SOPClassUID = EnhancedMRImageStorage
        one.RescaleSlope, one.RescaleIntercept = (2.0 if shared or place % 2 else 1.0), 0.0

    slices = changed(mni_slices[8:14], rescale)
    study = assess(slices, frames=True)
    (series,) = study.series
    whole, groups = deepcopy(image_of(slices, series, 0)), list[Dataset]()
    ordered = sorted(slices, key=lambda one: -float(one.ImagePositionPatient[2]))
    for one in ordered:
        scale, group = Dataset(), Dataset()
        scale.RescaleSlope, scale.RescaleIntercept = one.RescaleSlope, one.RescaleIntercept
        scale.RescaleType = "US"
        group.PixelValueTransformationSequence = [scale]
        groups.append(group)
    header = series.source.slices[0].header
    for one in (header, whole):
        del one.RescaleSlope, one.RescaleIntercept
        one.NumberOfFrames = len(slices)
        one.PerFrameFunctionalGroupsSequence = [Dataset()] * 6 if shared else groups
        one.SharedFunctionalGroupsSequence = [groups[0]] if shared else []
    whole.PixelData = b"".join(one.PixelData for one in ordered)
    state = made(study)

    assert len(state.SoftcopyVOILUTSequence) == (1 if shared else 2)
    for index in (1, 4):
        assert_same_grey(shown(whole, state, index + 1), expected(series, index))


def test_the_toolkit_shows_the_source_as_the_heatmaps_do(
    mni_slices: Sequence[Dataset], mni_study: StudyAssessment, shown: Shown
) -> None:
    """DCMTK, given image and presentation state, arrives at the heatmaps' grey."""
    (series,) = mni_study.series

    seen = shown(image_of(mni_slices, series, 9), made(mni_study))

    assert_same_grey(seen, expected(series, 9))


def test_values_that_are_rescaled_are_shown_the_same(
    chest_slices: Sequence[Dataset], assess: Any, shown: Shown
) -> None:
    """A CT's window is in Hounsfield units, and the presentation state says how to get there."""

    def name(place: int, one: Dataset) -> None:
        # The toolkit reads no presentation state of a patient without a name.
        one.PatientName = "Chest^Someone"

    slices = changed(chest_slices[:6], name)
    study = assess(slices)
    state = made(study)
    image = image_of(slices, study.series[0], 2)
    image.decompress(generate_instance_uid=False)

    assert state.RescaleType == "HU"
    assert_same_grey(shown(image, state), expected(study.series[0], 2))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
def test_slices_of_different_scale_each_have_their_window(
    mni_slices: Sequence[Dataset], assess: Any, shown: Shown, function: str
) -> None:
    """Where each slice is rescaled by itself, the window is given in stored values for each."""

    def rescale(place: int, one: Dataset) -> None:
        one.RescaleSlope, one.RescaleIntercept = 0.5 + 0.25 * (place % 3), -10.0 * (place % 3)
        one.VOILUTFunction = function

    slices = changed(mni_slices[8:14], rescale)
    study = assess(slices)
    (series,) = study.series
    state = made(study)

    assert "RescaleSlope" not in state
    assert len(state.SoftcopyVOILUTSequence) == 3
    for item in state.SoftcopyVOILUTSequence:
        listed = {reference.ReferencedSOPInstanceUID for reference in item.ReferencedImageSequence}
        images = [one for one in slices if one.SOPInstanceUID in listed]
        (slope,) = {one.RescaleSlope for one in images}
        (intercept,) = {one.RescaleIntercept for one in images}
        if function == "LINEAR_EXACT":
            assert item.VOILUTFunction == function
            assert float(item.WindowCenter) * slope + intercept == pytest.approx(500)
            assert float(item.WindowWidth) * slope == pytest.approx(1000)
    for index in (1, 2) if function == "LINEAR" else ():
        image = image_of(slices, series, index)
        assert_same_grey(shown(image, state), expected(series, index))


@pytest.mark.parametrize(
    ("function", "width", "stated"),
    [
        ("LINEAR", 100, None),
        ("NONE", 100, None),
        ("LINEAR", 1, "LINEAR_EXACT"),
        ("SIGMOID", 9, "SIGMOID"),
    ],
)
def test_the_windows_function_is_one_that_the_standard_has(
    mni_slices: Sequence[Dataset], assess: Any, function: str, width: int, stated: str | None
) -> None:
    """What the source says wrongly is stated as it is drawn."""

    def window(place: int, one: Dataset) -> None:
        one.VOILUTFunction, one.WindowWidth = function, width

    (item,) = made(assess(changed(mni_slices[10:13], window))).SoftcopyVOILUTSequence

    assert item.get("VOILUTFunction") == stated
    assert item.WindowWidth == width


@pytest.mark.parametrize("slope", ["0", "1e-310", "1e300", "-1e13"])
def test_a_rescale_that_cannot_be_is_left_out(
    mni_slices: Sequence[Dataset], assess: Any, slope: str
) -> None:
    """A header of nonsense still gets its presentation state."""
    study = assess(mni_slices[10:13])
    for place, part in enumerate(study.series[0].source.slices):
        part.header.RescaleSlope, part.header.RescaleIntercept = slope, str(place)

    assert "RescaleSlope" not in made(study)


def test_a_source_that_says_it_is_inverted_is_shown_inverted(
    mni_slices: Sequence[Dataset], assess: Any, shown: Shown
) -> None:
    """MONOCHROME1 whose values were kept: the presentation state turns the grey round."""

    def invert(place: int, one: Dataset) -> None:
        one.PhotometricInterpretation = "MONOCHROME1"

    slices = changed(mni_slices[8:14], invert)
    study = assess(slices)
    state = made(study)

    assert state.PresentationLUTShape == "INVERSE"
    assert_same_grey(
        shown(image_of(slices, study.series[0], 2), state), 255 - expected(study.series[0], 2)
    )


@pytest.mark.parametrize("slopes", [(1.0, 1.0), (1.0, 2.0)], ids=["one-scale", "two-scales"])
def test_a_source_whose_values_were_turned_round_is_shown_as_it_was_judged(
    mni_slices: Sequence[Dataset], assess: Any, shown: Shown, slopes: tuple[float, float]
) -> None:
    """MONOCHROME1 whose values were complemented in decoding, as for MR."""

    def invert(place: int, one: Dataset) -> None:
        one.PhotometricInterpretation = "MONOCHROME1"
        one.RescaleSlope, one.RescaleIntercept = slopes[place % 2], 0.0

    slices = changed(mni_slices[8:14], invert)
    study = turned_round(assess(slices))
    (series,) = study.series
    state = made(study)

    for index in (2, 3):
        image = image_of(slices, series, index)
        assert_same_grey(shown(image, state), expected(series, index))


def turned_round(study: StudyAssessment) -> StudyAssessment:
    """Return a study as it is when decoding takes the complement of 12-bit values."""
    (series,) = study.series
    assert series.volume is not None
    slices: list[SourceSlice] = []
    for part in series.source.slices:
        header = Dataset()
        header.update(part.header)
        # Elements are shared with the original: left out here, not changed.
        del header.WindowCenter, header.WindowWidth, header.PhotometricInterpretation
        header.PhotometricInterpretation = "MONOCHROME2"
        slices.append(SourceSlice(header))
    slopes = np.array([float(part.header.RescaleSlope) for part in slices], np.float32)
    array = slopes[:, None, None] * np.float32(4095) - series.volume.array
    volume = Volume(array, series.volume.affine, "MR")
    source = replace(series.source, slices=tuple(slices))
    assert series.finding is not None
    finding = replace(series.finding, display_window=(3600.0, 1500.0))
    turned = replace(series, source=source, volume=volume, finding=finding)
    return replace(study, series=(turned,))


@on_real_scans()
def test_validators_find_no_error_in_a_presentation_state(
    real: RealScan,
    dciodvfy: Validate,
    dcentvfy: Validate,
    dcmpschk: Validate,
) -> None:
    """Presentation states of real scans are free of errors and unknown warnings."""
    slices, study = real
    state = made(study)

    assert unknown(dciodvfy([state]), KNOWN_WARNINGS) == []
    assert unknown(dcentvfy([*slices, state]), KNOWN_ENTITY_WARNINGS) == []
    assert unknown(dcmpschk([state]), KNOWN_STATE_WARNINGS) == []


@pytest.mark.parametrize(
    "keyword",
    [
        "ReferencedSeriesSequence",
        "DisplayedAreaSelectionSequence",
        "PresentationCreationDate",
        "PresentationLUTShape",
        "ContentLabel",
    ],
)
def test_a_mutilated_presentation_state_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate, dcmpschk: Validate, keyword: str
) -> None:
    """One validator or the other sees each part that is missing."""
    mutant = round_trip(made(mni_study))
    without(keyword)(mutant)

    assert errors(dciodvfy([mutant])) or unknown(dcmpschk([mutant]), KNOWN_STATE_WARNINGS)


def test_a_second_run_gives_the_same_bytes(mni_study: StudyAssessment) -> None:
    """Nothing in a presentation state comes from the clock or from chance."""
    assert to_bytes(made(replace(mni_study))) == to_bytes(made(mni_study))
