"""Heatmaps lie where their source lies, say where they come from, and cost little to make."""

from __future__ import annotations

import dataclasses
import gc
import time
import weakref
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from gatekeeper.results.assessment import SeriesAssessment, SourceSeries, StudyAssessment
from gatekeeper.results.capture import display_window, heatmap_series, iterate_heatmaps
from gatekeeper.results.common import to_bytes
from gatekeeper.results.picture import strip_height
from models.volume import Volume


@pytest.fixture(scope="module")
def heatmaps(mni_study: StudyAssessment) -> list[Dataset]:
    """Return the heatmaps of the template's series."""
    return heatmap_series(mni_study, mni_study.series[0])


def patient_position(image: Dataset, row: float, column: float) -> NDArray[np.float64]:
    """Return where a pixel's centre lies in the patient (PS3.3 equation C.7.6.2.1-1)."""
    orientation = np.array(image.ImageOrientationPatient, np.float64)
    dy, dx = (float(value) for value in image.PixelSpacing)
    origin = np.array(image.ImagePositionPatient, np.float64)
    return origin + orientation[:3] * dx * column + orientation[3:] * dy * row


def pixels_of(image: Dataset) -> NDArray[np.uint8]:
    """Return the pixels that show the source, without the legend's strip."""
    return image.pixel_array[: image.Rows - strip_height(image.Columns)]


def test_every_slice_has_one_heatmap_in_order(
    mni_study: StudyAssessment, heatmaps: list[Dataset]
) -> None:
    """One object for each slice names that slice as its source, and no other."""
    slices = mni_study.series[0].source.slices

    assert len(heatmaps) == len(slices) == 24
    for image, source in zip(heatmaps, slices, strict=True):
        (reference,) = image.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.header.SOPInstanceUID
        assert reference.SpatialLocationsPreserved == "YES"
        assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        (series,) = image.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == source.header.SeriesInstanceUID
        (instance,) = series.ReferencedInstanceSequence
        assert instance.ReferencedSOPInstanceUID == source.header.SOPInstanceUID
        assert image.InstanceNumber == source.header.InstanceNumber
    assert len({image.SOPInstanceUID for image in heatmaps}) == 24
    assert len({image.SeriesInstanceUID for image in heatmaps}) == 1


def test_a_heatmap_says_what_it_is(mni_study: StudyAssessment, heatmaps: list[Dataset]) -> None:
    """Kind, research mark, derivation, equipment and the loop guard's marks are on every one."""
    for image in heatmaps:
        assert image.SOPClassUID.name == "Secondary Capture Image Storage"
        assert image.Modality == "OT"
        assert image.ConversionType == "SYN"
        assert list(image.ImageType) == ["DERIVED", "SECONDARY", "OTHER", "ANOMALY_MAP"]
        assert image.ContentQualification == "RESEARCH"
        assert (image.Manufacturer, image.ManufacturerModelName) == ("Gatekeeper", "Gatekeeper")
        assert image.BurnedInAnnotation == "NO"
        assert image.RecognizableVisualFeatures == "YES"
        assert image.LossyImageCompression == "00"
        assert "threshold 3" in image.DerivationDescription
        assert image.DerivationCodeSequence[0].CodingSchemeDesignator == "99GATEKEEPER"
        (scheme,) = image.CodingSchemeIdentificationSequence
        assert scheme.CodingSchemeUID.startswith("2.25.")
        (equipment,) = image.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert equipment.DeviceUID.startswith("2.25.")
    assert heatmaps[0].SeriesNumber == mni_study.series_number + 1


def test_patient_and_study_are_the_sources(
    mni_study: StudyAssessment, heatmaps: list[Dataset]
) -> None:
    """A heatmap is filed under the same patient, order and study."""
    source = mni_study.series[0].source.slices[0].header
    for keyword in (
        "SpecificCharacterSet",
        "StudyInstanceUID",
        "PatientID",
        "IssuerOfPatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "StudyDescription",
        "TimezoneOffsetFromUTC",
        "FrameOfReferenceUID",
    ):
        assert heatmaps[0][keyword].value == source[keyword].value, keyword


@pytest.mark.parametrize("source", ["seven_tesla_slices", "pelvis_slices", "chest_slices"])
def test_a_heatmap_lies_where_its_source_lies(
    source: str, assess: Any, request: pytest.FixtureRequest
) -> None:
    """Position, orientation and spacing are the source's to 16 digits where nothing is enlarged."""
    slices = request.getfixturevalue(source)[:20]
    study = assess(slices)
    (series,) = study.series

    for image, part in zip(heatmap_series(study, series), series.source.slices, strict=True):
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            ours, theirs = (np.array(one[keyword].value, float) for one in (image, part.header))
            assert np.allclose(ours, theirs, rtol=0, atol=1e-10), keyword
        assert image.FrameOfReferenceUID == part.header.FrameOfReferenceUID
        assert image.Columns == part.header.Columns
        assert image.Rows - strip_height(image.Columns) == part.header.Rows
        assert float(image.SpacingBetweenSlices) == pytest.approx(series.volume.spacing[0])


@pytest.mark.parametrize(("size", "spacing"), [(64, (3.0, 3.0)), (50, (4.0, 1.0))])
def test_an_enlarged_heatmap_keeps_every_voxel_in_its_place(
    mni_slices: Sequence[Dataset], assess: Any, size: int, spacing: tuple[float, float]
) -> None:
    """The middle of a voxel's block of pixels lies where the voxel's centre lies."""
    study = assess(shrunk(mni_slices, size, spacing))
    (series,) = study.series
    volume, finding = series.volume, series.finding
    single = np.zeros_like(finding.map)
    single[5, 20, 30] = 7.0
    series = dataclasses.replace(
        series, finding=dataclasses.replace(finding, map=single, regions=())
    )

    image = heatmap_series(study, series)[5]

    pixels = pixels_of(image)
    rows, columns = np.nonzero(pixels.max(axis=2) != pixels.min(axis=2))
    middle = patient_position(image, rows.mean(), columns.mean())
    assert len(rows) > 1
    assert np.allclose(middle, volume.to_patient((5, 20, 30)), rtol=0, atol=1e-9)


def shrunk(slices: Sequence[Dataset], size: int, spacing: tuple[float, float]) -> list[Dataset]:
    """Return slices with a matrix of `size` and this (row, column) spacing, oblique in space."""
    found: list[Dataset] = []
    for number, one in enumerate(slices):
        small = deepcopy(one)
        small.Rows = small.Columns = size
        small.PixelSpacing = list(spacing)
        small.ImageOrientationPatient = [0.8, 0.6, 0, 0, 0, -1]
        small.ImagePositionPatient = [10 - 0.6 * 7 * number, 20 + 0.8 * 7 * number, 30]
        small.PixelData = one.pixel_array[100 : 100 + size, 80 : 80 + size].tobytes()
        found.append(small)
    return found


def test_a_volume_on_another_grid_than_its_headers_is_trusted(mni_study: StudyAssessment) -> None:
    """Where header and volume disagree, the picture lies where its pixels do."""
    (series,) = mni_study.series
    assert series.volume is not None
    affine = series.volume.affine.copy()
    affine[:3, 3] += 50.0
    moved = dataclasses.replace(series, volume=dataclasses.replace(series.volume, affine=affine))

    image = heatmap_series(mni_study, moved)[0]

    half = -0.25  # each voxel is drawn as two by two pixels of 0.5 mm
    expected = affine[:3, 3] + half * (affine[:3, 1] + affine[:3, 2])
    assert np.allclose(np.array(image.ImagePositionPatient, float), expected, atol=1e-9)


def test_without_a_frame_of_reference_no_position_is_claimed(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """A picture without a frame of reference has its sides and spacing only."""
    slices = [without(one, "FrameOfReferenceUID") for one in mni_slices[:3]]
    study = assess(slices)

    image = heatmap_series(study, study.series[0])[0]

    assert "ImagePositionPatient" not in image
    assert list(image.PatientOrientation) == ["R", "P"]
    assert [float(value) for value in image.PixelSpacing] == [0.5, 0.5]


def without(header: Dataset, keyword: str) -> Dataset:
    """Return a copy that lacks one attribute."""
    copy = deepcopy(header)
    del copy[keyword]
    return copy


def test_frames_of_one_instance_are_told_apart(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """Heatmaps of a multi-frame source name the frame and lie where the frame lies."""
    study = assess(mni_slices[:4], frames=True)
    (series,) = study.series

    images = heatmap_series(study, series)

    assert len({image.SOPInstanceUID for image in images}) == 4
    assert [image.InstanceNumber for image in images] == [1, 2, 3, 4]
    for index, image in enumerate(images):
        assert image.SourceImageSequence[0].ReferencedFrameNumber == index + 1
        centre = patient_position(image, 0.5, 0.5)
        assert np.allclose(centre, series.volume.to_patient((index, 0, 0)), atol=1e-9)


def test_one_window_serves_all_slices(pelvis_slices: Sequence[Dataset], assess: Any) -> None:
    """Where the source has a window for each slice, the pictures do not flicker between them."""
    (series,) = assess(pelvis_slices).series
    centres = [float(one.WindowCenter) for one in pelvis_slices]

    window = display_window(series, series.finding)

    assert window.centre == np.median(centres)
    assert len(set(centres)) > 10


def test_a_source_without_window_is_shown_in_the_detectors(
    seven_tesla_slices: Sequence[Dataset], assess: Any
) -> None:
    """The 7 T series states no window; the detector's is used."""
    (series,) = assess(seven_tesla_slices[200:204]).series

    window = display_window(series, series.finding)

    assert (window.centre, window.width) == series.finding.display_window


def test_an_inverted_source_is_shown_inverted(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """MONOCHROME1 means that low values are bright."""
    inverted: list[Dataset] = []
    for one in mni_slices[10:13]:
        copy = deepcopy(one)
        copy.PhotometricInterpretation = "MONOCHROME1"
        inverted.append(copy)
    usual, other = assess(mni_slices[10:13], peaks=()), assess(inverted, peaks=())

    for plain, image in zip(
        heatmap_series(usual, usual.series[0]),
        heatmap_series(other, other.series[0]),
        strict=True,
    ):
        # Interpolation rounds each picture by itself, once along rows, once along columns.
        total = pixels_of(image).astype(int) + pixels_of(plain)
        assert np.abs(total - 255).max() <= 2


def test_loss_in_the_source_is_passed_on(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """A heatmap of a lossily compressed source says so, with ratio and method."""
    lossy: list[Dataset] = []
    for one in mni_slices[:3]:
        copy = deepcopy(one)
        copy.LossyImageCompression = "01"
        copy.LossyImageCompressionRatio = "12.5"
        copy.LossyImageCompressionMethod = "ISO_10918_1"
        lossy.append(copy)
    study = assess(lossy)
    series = dataclasses.replace(
        study.series[0], source=dataclasses.replace(study.series[0].source, lossy=True)
    )

    image = heatmap_series(study, series)[0]

    assert image.LossyImageCompression == "01"
    assert float(image.LossyImageCompressionRatio) == 12.5
    assert image.LossyImageCompressionMethod == "ISO_10918_1"


def test_a_series_without_a_finding_has_no_heatmaps(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """Nothing was judged, so nothing is drawn."""
    study = assess(mni_slices, p_value=None)

    assert heatmap_series(study, study.series[0]) == []


def test_shapes_that_do_not_fit_are_refused(mni_study: StudyAssessment) -> None:
    """A map of other slices than the source's is an error, never a wrong picture."""
    (series,) = mni_study.series
    fewer = SourceSeries(
        series.source.series_instance_uid, series.source.headers, series.source.slices[:-1]
    )

    with pytest.raises(ValueError, match="not of one shape"):
        heatmap_series(mni_study, dataclasses.replace(series, source=fewer))


def test_a_second_run_gives_the_same_bytes(
    mni_study: StudyAssessment, heatmaps: list[Dataset]
) -> None:
    """A job that is run again after a crash makes byte-identical files."""
    again = heatmap_series(dataclasses.replace(mni_study), mni_study.series[0])

    assert [to_bytes(image) for image in again] == [to_bytes(image) for image in heatmaps]


def test_each_assessed_series_has_a_number_of_its_own(
    mni_study: StudyAssessment, pelvis_slices: Sequence[Dataset], assess: Any
) -> None:
    """Heatmap series count on from the report's number, and have UIDs of their own."""
    first: SeriesAssessment = mni_study.series[0]
    second: SeriesAssessment = assess(pelvis_slices).series[0]
    unread = dataclasses.replace(first, finding=None, volume=None)
    study = dataclasses.replace(mni_study, series=(unread, first, second))

    images = [next(iterate_heatmaps(study, series)) for series in (first, second)]

    assert [image.SeriesNumber for image in images] == [9101, 9102]
    assert images[0].SeriesInstanceUID != images[1].SeriesInstanceUID


def test_a_long_series_is_drawn_fast_and_one_at_a_time(
    seven_tesla_slices: Sequence[Dataset], assess: Any
) -> None:
    """384 slices take under 15 s of one core, and none is kept once the next is asked for."""
    study = assess(seven_tesla_slices, body_part="BRAIN")
    alive: list[weakref.ref[Dataset]] = []
    started = time.process_time()

    count = 0
    for image in iterate_heatmaps(study, study.series[0]):
        count += 1
        alive.append(weakref.ref(image))
        if count % 100 == 0:
            gc.collect()
            assert sum(reference() is not None for reference in alive) <= 2

    assert count == 384
    assert time.process_time() - started < 15


def test_volumes_keep_their_type(mni_study: StudyAssessment) -> None:
    """Drawing changes neither the volume nor the map."""
    (series,) = mni_study.series
    volume, finding = series.volume, series.finding
    assert isinstance(volume, Volume)
    assert finding is not None
    before = (volume.array.copy(), finding.map.copy())

    heatmap_series(mni_study, series)

    assert np.array_equal(volume.array, before[0])
    assert np.array_equal(finding.map, before[1])
