"""Regions as a segmentation: on the source's voxels, valid, and known by the report's names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib import metadata
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage
from results.readers import on_grid, read_by_dcmqi
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
from gatekeeper.results.common import to_bytes
from gatekeeper.results.report import report
from gatekeeper.results.segmentation import segmentation
from gatekeeper.results.tree import code_of, descendants
from models.finding import Region


def made(study: StudyAssessment) -> Dataset:
    """Return the segmentation that a study's first series must have."""
    dataset = segmentation(study, study.series[0])
    assert dataset is not None
    return dataset


def regions_of(series: SeriesAssessment) -> tuple[Region, ...]:
    """Return the regions of an assessed series."""
    assert series.finding is not None
    return series.finding.regions


def mask_of(series: SeriesAssessment, region: Region) -> NDArray[np.bool_]:
    """Return a region's voxels on the whole grid."""
    assert series.finding is not None
    whole = np.zeros(series.finding.map.shape, np.bool_)
    place = tuple(
        slice(start, start + size)
        for start, size in zip(region.mask_offset, region.mask.shape, strict=True)
    )
    whole[place] = region.mask
    return whole


def test_every_region_is_a_segment_named_as_in_the_report(mni_study: StudyAssessment) -> None:
    """Label, codes, numbers and algorithm are there, and the tracking UID is the report's."""
    document = report(mni_study)
    assert document is not None
    groups = [item for item in descendants(document) if code_of(item).value == "125007"]
    tracked = [
        next(item.UID for item in group.ContentSequence if code_of(item).value == "112040")
        for group in groups
    ]

    segments = made(mni_study).SegmentSequence

    assert [segment.SegmentLabel for segment in segments] == ["Region 1", "Region 2"]
    assert [segment.TrackingUID for segment in segments] == tracked[1:]
    for segment, region in zip(segments, regions_of(mni_study.series[0]), strict=True):
        assert segment.TrackingID == f"Series 4 T1 MPRAGE ax, region {region.label}"
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "309825002"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "REGION"
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (
            "features mr-brain-t1",
            "0.1.0",
        )
        finding = mni_study.series[0].finding
        assert finding is not None
        assert f"bundle_sha256={finding.model_digest}" in algorithm.AlgorithmParameters
        assert f"peak {region.peak:.4g}" in segment.SegmentDescription
    colours = {
        hd.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb()
        for item in made(mni_study).SegmentSequence
    }
    assert len(colours) == min(len(made(mni_study).SegmentSequence), 6)


def test_a_segmentation_says_what_it_is(mni_study: StudyAssessment) -> None:
    """Kind, research mark, equipment, series number and private scheme are on it."""
    dataset = made(mni_study)

    assert dataset.SOPClassUID.name == "Segmentation Storage"
    assert dataset.Modality == "SEG"
    assert dataset.SegmentationType == "BINARY"
    assert dataset.ContentQualification == "RESEARCH"
    assert dataset.SeriesNumber == mni_study.series_number + 200
    assert dataset.SeriesDescription == "Regions of Series 4 T1 MPRAGE ax"
    assert (dataset.Manufacturer, dataset.ManufacturerModelName) == ("Gatekeeper", "Gatekeeper")
    assert dataset.DeviceSerialNumber == mni_study.model_digest
    assert dataset.CodingSchemeIdentificationSequence[0].CodingSchemeUID.startswith("2.25.")
    source = mni_study.series[0].source.slices[0].header
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "FrameOfReferenceUID"):
        assert dataset[keyword].value == source[keyword].value, keyword


def test_frames_cite_the_slice_they_lie_on(mni_study: StudyAssessment) -> None:
    """Each frame names its slice and has that slice's position; untouched slices have none."""
    (series,) = mni_study.series
    dataset = made(mni_study)
    slices = {str(part.header.SOPInstanceUID): part.header for part in series.source.slices}
    touched = sum(
        int(region.mask.any(axis=(1, 2)).sum()) for region in regions_of(mni_study.series[0])
    )

    assert dataset.NumberOfFrames == len(dataset.PerFrameFunctionalGroupsSequence) == touched
    for group in dataset.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        cited = slices[reference.ReferencedSOPInstanceUID]
        assert reference.SpatialLocationsPreserved == "YES"
        assert "ReferencedFrameNumber" not in reference
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert list(position) == list(cited.ImagePositionPatient)
    (listed,) = dataset.ReferencedSeriesSequence
    assert listed.SeriesInstanceUID == series.source.series_instance_uid
    assert {item.ReferencedSOPInstanceUID for item in listed.ReferencedInstanceSequence} == set(
        slices
    )


def test_pydicom_reads_back_every_voxel(mni_study: StudyAssessment) -> None:
    """The bits of each frame are the region's voxels on the slice that the frame cites."""
    (series,) = mni_study.series
    dataset = round_trip(made(mni_study))
    order = [str(part.header.SOPInstanceUID) for part in series.source.slices]
    found = {region.label: np.zeros_like(mask_of(series, region)) for region in regions_of(series)}
    for pixels, group in zip(
        dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True
    ):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        found[number][order.index(reference.ReferencedSOPInstanceUID)] = pixels

    for region in regions_of(series):
        assert np.array_equal(found[region.label], mask_of(series, region))


def test_highdicom_reads_back_every_voxel_by_its_source(mni_study: StudyAssessment) -> None:
    """Asked for the source's instances in order, highdicom gives the regions on that grid."""
    (series,) = mni_study.series
    read = hd.seg.Segmentation.from_dataset(round_trip(made(mni_study)))
    uids = [str(part.header.SOPInstanceUID) for part in series.source.slices]

    pixels = read.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )

    for region in regions_of(series):
        assert np.array_equal(pixels == region.label, mask_of(series, region))


def test_dcmqi_reads_back_every_voxel(
    mni_study: StudyAssessment,
    published: Callable[[str], metadata.Distribution],
    tmp_path: Path,
) -> None:
    """An independent reader puts each segment where its region is in the patient."""
    (series,) = mni_study.series

    paths = read_by_dcmqi(published, "segimage2itkimage", made(mni_study), tmp_path)

    assert len(paths) == 2
    for path, region in zip(paths, regions_of(series), strict=True):
        assert np.array_equal(on_grid(path, series) > 0, mask_of(series, region))


@on_real_scans(slice(None))
def test_validators_find_no_error_in_a_segmentation(
    real: RealScan,
    dciodvfy: Validate,
    dcentvfy: Validate,
) -> None:
    """Segmentations of real scans are free of errors and of warnings that are not explained."""
    slices, study = real
    dataset = made(study)

    assert unknown(dciodvfy([dataset]), KNOWN_WARNINGS) == []
    assert unknown(dcentvfy([*slices, dataset]), KNOWN_ENTITY_WARNINGS) == []


def test_a_segmentation_of_an_unknown_body_part_is_valid(
    seven_tesla_slices: Sequence[Dataset], assess: Any, dciodvfy: Validate
) -> None:
    """Where neither header nor volume names a body part, none is claimed, nor a side."""
    dataset = made(assess(seven_tesla_slices[180:184]))

    assert "BodyPartExamined" not in dataset
    assert unknown(dciodvfy([dataset]), KNOWN_WARNINGS) == []


def test_one_region_on_one_slice_is_valid(
    mni_slices: Sequence[Dataset], assess: Any, dciodvfy: Validate
) -> None:
    """A segmentation of one segment and one frame has nothing missing and reads back."""
    study = assess(mni_slices, peaks=((0.5, 0.4, 0.4, 4.0),), body_part="BRAIN")
    (series,) = study.series
    (region,) = regions_of(series)
    index = region.slice_index - region.mask_offset[0]
    flat = dataclasses.replace(
        region,
        mask=region.mask[index : index + 1],
        mask_offset=(region.slice_index, *region.mask_offset[1:]),
    )
    series = dataclasses.replace(
        series, finding=dataclasses.replace(series.finding, regions=(flat,))
    )

    dataset = segmentation(study, series)

    assert dataset is not None
    assert dataset.NumberOfFrames == 1
    assert unknown(dciodvfy([dataset]), KNOWN_WARNINGS) == []
    assert np.array_equal(
        round_trip(dataset).pixel_array, mask_of(series, flat)[region.slice_index]
    )


def test_lossy_and_enhanced_sources_give_valid_segmentations(
    mni_slices: Sequence[Dataset], assess: Any, dciodvfy: Validate
) -> None:
    """Frames name the frames of their source, the instance is listed once, loss is passed on."""
    slices = [deepcopy(one) for one in mni_slices]
    for one in slices:
        one.SOPClassUID = EnhancedMRImageStorage
        one.LossyImageCompression = "01"
        one.LossyImageCompressionRatio = "12.5"
        one.LossyImageCompressionMethod = "ISO_10918_1"
    study = assess(slices, frames=True, body_part="BRAIN")
    (series,) = study.series
    series = dataclasses.replace(series, source=dataclasses.replace(series.source, lossy=True))
    study = dataclasses.replace(study, series=(series,))

    dataset = made(study)

    assert unknown(dciodvfy([dataset]), KNOWN_WARNINGS) == []
    assert dataset.LossyImageCompression == "01"
    assert float(dataset.LossyImageCompressionRatio) == 12.5
    (listed,) = dataset.ReferencedSeriesSequence
    assert len(listed.ReferencedInstanceSequence) == 1
    for group in dataset.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        frame = reference.ReferencedFrameNumber
        assert np.allclose(place, series.volume.to_patient((frame - 1, 0, 0)), atol=1e-9)


def _without_label(dataset: Dataset) -> None:
    del dataset.SegmentSequence[0].SegmentLabel


def _without_algorithm(dataset: Dataset) -> None:
    del dataset.SegmentSequence[1].SegmentAlgorithmName


def _without_spacing(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing


@pytest.mark.parametrize(
    "mutate",
    [
        pytest.param(_without_label, id="no-segment-label"),
        pytest.param(_without_algorithm, id="no-algorithm-name"),
        pytest.param(_without_spacing, id="no-pixel-spacing"),
        pytest.param(without("DeviceSerialNumber"), id="no-serial-number"),
        pytest.param(without("DimensionOrganizationSequence"), id="no-dimensions"),
        pytest.param(without("SegmentationType"), id="no-segmentation-type"),
    ],
)
def test_a_mutilated_segmentation_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate, mutate: Callable[[Dataset], None]
) -> None:
    """dciodvfy sees what is missing: its silence on our segmentations means something."""
    mutant = deepcopy(made(mni_study))
    mutate(mutant)

    assert errors(dciodvfy([mutant]))


def test_a_segmentation_out_of_place_is_caught(mni_study: StudyAssessment) -> None:
    """dciodvfy lets a missing frame of reference pass; highdicom refuses to place such voxels."""
    dataset = round_trip(made(mni_study))
    assert hd.seg.Segmentation.from_dataset(dataset).get_volume().shape[0] == 6
    del dataset.FrameOfReferenceUID

    with pytest.raises(ValueError, match="CoordinateSystemNames"):
        hd.seg.Segmentation.from_dataset(dataset).get_volume()


def test_a_series_without_regions_has_no_segmentation(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """An empty segmentation would say nothing, and readers fail on it."""
    for study in (assess(mni_slices, peaks=()), assess(mni_slices, p_value=None)):
        assert segmentation(study, study.series[0]) is None


@pytest.mark.parametrize("own", [None, "1.2.3"], ids=["none", "two"])
def test_without_one_frame_of_reference_there_is_no_segmentation(
    own: str | None, mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """Positions mean nothing without a frame of reference, nor between two."""
    slices = [deepcopy(one) for one in mni_slices]
    for one in slices if own is None else slices[:1]:
        del one.FrameOfReferenceUID
        if own is not None:
            one.FrameOfReferenceUID = own
    study = assess(slices)

    assert regions_of(study.series[0])
    assert segmentation(study, study.series[0]) is None


def test_repeated_positions_give_no_segmentation(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """Two slices in one place make no grid that a reader could stack."""
    slices = [deepcopy(one) for one in mni_slices]
    slices[7].ImagePositionPatient = slices[8].ImagePositionPatient
    study = assess(slices)

    assert regions_of(study.series[0])
    assert segmentation(study, study.series[0]) is None


def test_slices_that_do_not_fit_are_refused(mni_study: StudyAssessment) -> None:
    """Regions of other slices than the source's are an error, never a wrong place."""
    (series,) = mni_study.series
    fewer = dataclasses.replace(series.source, slices=series.source.slices[:-1])

    with pytest.raises(ValueError, match="not of one shape"):
        segmentation(mni_study, dataclasses.replace(series, source=fewer))


def test_a_second_run_gives_the_same_segmentation(mni_study: StudyAssessment) -> None:
    """A job that is run again after a crash makes a byte-identical file."""
    assert to_bytes(made(dataclasses.replace(mni_study))) == to_bytes(made(mni_study))


def test_each_series_has_a_segmentation_of_its_own(
    mni_study: StudyAssessment, pelvis_slices: Sequence[Dataset], assess: Any
) -> None:
    """Numbers count on with the series, clear of the heatmaps', and UIDs differ."""
    first, second = mni_study.series[0], assess(pelvis_slices).series[0]
    study = dataclasses.replace(mni_study, series=(first, second))

    found = [segmentation(study, series) for series in (first, second)]

    assert [one.SeriesNumber for one in found if one is not None] == [9300, 9301]
    assert len({one.SeriesInstanceUID for one in found if one is not None}) == 2


def test_another_content_makes_another_segmentation(mni_study: StudyAssessment) -> None:
    """No UID of an object is used for other bytes: an archive would keep the old ones."""
    first, second = made(mni_study), made(dataclasses.replace(mni_study, revision=2))

    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert first[keyword].value != second[keyword].value
    organizations = [one.DimensionOrganizationSequence[0] for one in (first, second)]
    assert len({item.DimensionOrganizationUID for item in organizations}) == 2
