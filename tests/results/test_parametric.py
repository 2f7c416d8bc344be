"""The map in numbers: the very values, on the source's grid, with their meaning."""

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

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.common import to_bytes
from gatekeeper.results.parametric import parametric_map
from models.finding import Finding

# The tool's edition of the standard is older than the term (PS3.3 C.8.32.2).
KNOWN = (*KNOWN_WARNINGS, "Unrecognized defined term <QUANTITY>")


def made(study: StudyAssessment) -> Dataset:
    """Return the map that a study's first series must have."""
    dataset = parametric_map(study, study.series[0])
    assert dataset is not None
    return dataset


def finding_of(study: StudyAssessment) -> Finding:
    """Return the finding on a study's first series."""
    finding = study.series[0].finding
    assert finding is not None
    return finding


def test_a_map_says_what_its_values_are(mni_study: StudyAssessment) -> None:
    """Quantity, unit, range and window are stated, and the values are the stored ones."""
    finding = finding_of(mni_study)
    (shared,) = made(mni_study).SharedFunctionalGroupsSequence

    (mapping,) = shared.RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert mapping.LUTExplanation == finding.map_unit
    (quantity,) = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodeValue == "MAP_VALUE"
    assert quantity.ConceptCodeSequence[0].CodingSchemeDesignator == "99GATEKEEPER"
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped == finding.map.min()
    assert mapping.DoubleFloatRealWorldValueLastValueMapped == finding.map.max()
    (window,) = shared.FrameVOILUTSequence
    assert (float(window.WindowCenter), float(window.WindowWidth)) == (4.0, 8.0)


def test_a_map_says_what_it_is(mni_study: StudyAssessment) -> None:
    """Kind, research mark, body part, anatomy, equipment and series number are on it."""
    dataset = made(mni_study)

    assert dataset.SOPClassUID.name == "Parametric Map Storage"
    assert list(dataset.ImageType) == ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    assert dataset.Modality == "OT"
    assert dataset.ContentQualification == "RESEARCH"
    assert dataset.BodyPartExamined == "BRAIN"
    assert dataset.RecognizableVisualFeatures == "YES"
    assert dataset.SeriesNumber == mni_study.series_number + 300
    assert dataset.DeviceSerialNumber == mni_study.model_digest
    (anatomy,) = dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence
    assert anatomy.FrameLaterality == "U"
    assert anatomy.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert dataset.BitsAllocated == 32
    assert "PixelData" not in dataset


def test_pydicom_reads_back_every_value_in_slice_order(mni_study: StudyAssessment) -> None:
    """Frame k is slice k to the bit, with that slice's position and reference."""
    (series,) = mni_study.series
    dataset = round_trip(made(mni_study))

    assert np.array_equal(dataset.pixel_array, finding_of(mni_study).map)
    for part, group in zip(
        series.source.slices, dataset.PerFrameFunctionalGroupsSequence, strict=True
    ):
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == part.header.SOPInstanceUID
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert list(position) == list(part.header.ImagePositionPatient)
    ranks = [
        group.FrameContentSequence[0].DimensionIndexValues
        for group in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert ranks == list(range(1, 25))


def test_highdicom_makes_the_map_a_volume_in_place(mni_study: StudyAssessment) -> None:
    """From the geometry alone, highdicom puts each value where the source volume has it."""
    (series,) = mni_study.series
    assert series.volume is not None
    finding = finding_of(mni_study)

    volume = hd.pm.ParametricMap.from_dataset(round_trip(made(mni_study))).get_volume()

    peak = np.unravel_index(finding.map.argmax(), finding.map.shape)
    there = np.array([series.volume.to_patient((int(peak[0]), int(peak[1]), int(peak[2])))])
    index = tuple(np.rint(volume.map_reference_to_indices(there)[0]).astype(int))
    assert volume.array[index] == finding.map.max()
    assert volume.frame_of_reference_uid == series.source.slices[0].header.FrameOfReferenceUID


def test_dcmqi_reads_back_every_value(
    mni_study: StudyAssessment,
    published: Callable[[str], metadata.Distribution],
    tmp_path: Path,
) -> None:
    """A reader that goes by the frames' order has every value in its place."""
    (path,) = read_by_dcmqi(published, "paramap2itkimage", made(mni_study), tmp_path)

    assert np.array_equal(on_grid(path, mni_study.series[0]), finding_of(mni_study).map)


@on_real_scans(slice(None))
def test_validators_find_no_error_in_a_map(
    real: RealScan,
    dciodvfy: Validate,
    dcentvfy: Validate,
) -> None:
    """Maps of real scans are free of errors and of warnings that are not explained."""
    slices, study = real
    dataset = made(study)

    assert unknown(dciodvfy([dataset]), KNOWN) == []
    assert unknown(dcentvfy([*slices, dataset]), KNOWN_ENTITY_WARNINGS) == []


def test_a_map_of_an_unknown_body_part_is_valid(
    seven_tesla_slices: Sequence[Dataset], assess: Any, dciodvfy: Validate
) -> None:
    """Where nothing names a body part, the frames' anatomy is the most general one."""
    dataset = made(assess(seven_tesla_slices[180:184]))

    assert unknown(dciodvfy([dataset]), KNOWN) == []
    (anatomy,) = dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence
    assert anatomy.AnatomicRegionSequence[0].CodeMeaning == "Entire body"


def test_an_enhanced_source_gives_a_valid_map(
    mni_slices: Sequence[Dataset], assess: Any, dciodvfy: Validate
) -> None:
    """Frames name the frames of their source and lie where those lie."""
    slices = [deepcopy(one) for one in mni_slices]
    for one in slices:
        one.SOPClassUID = EnhancedMRImageStorage
    study = assess(slices, frames=True, body_part="BRAIN")

    dataset = made(study)

    assert unknown(dciodvfy([dataset]), KNOWN) == []
    for index, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        assert reference.ReferencedFrameNumber == index + 1
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.allclose(place, study.series[0].volume.to_patient((index, 0, 0)), atol=1e-9)


def _without_mapping(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence


def _without_orientation(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


@pytest.mark.parametrize(
    "mutate",
    [
        pytest.param(_without_mapping, id="no-real-world-value-mapping"),
        pytest.param(_without_orientation, id="no-plane-orientation"),
        pytest.param(without("ContentLabel"), id="no-content-label"),
        pytest.param(without("DimensionIndexSequence"), id="no-dimensions"),
    ],
)
def test_a_mutilated_map_is_caught(
    mni_study: StudyAssessment, dciodvfy: Validate, mutate: Callable[[Dataset], None]
) -> None:
    """dciodvfy sees what is missing: its silence on our maps means something."""
    mutant = deepcopy(made(mni_study))
    mutate(mutant)

    assert errors(dciodvfy([mutant]))


def test_a_map_out_of_place_is_caught(mni_study: StudyAssessment) -> None:
    """dciodvfy lets a missing frame of reference pass; highdicom refuses to place such values."""
    dataset = round_trip(made(mni_study))
    del dataset.FrameOfReferenceUID

    with pytest.raises(RuntimeError, match="frame-of-reference"):
        hd.pm.ParametricMap.from_dataset(dataset).get_volume()


def test_a_map_without_regions_is_a_map(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """A scan like the reference has its numbers too, all of one value included."""
    dataset = made(assess(mni_slices, peaks=()))

    assert not round_trip(dataset).pixel_array.any()


def test_a_series_that_was_not_judged_has_no_map(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """Nothing was judged, so there are no numbers."""
    study = assess(mni_slices, p_value=None)

    assert parametric_map(study, study.series[0]) is None


def test_without_a_frame_of_reference_there_is_no_map(
    mni_slices: Sequence[Dataset], assess: Any
) -> None:
    """Positions mean nothing without a frame of reference."""
    slices = [deepcopy(one) for one in mni_slices]
    for one in slices:
        del one.FrameOfReferenceUID
    study = assess(slices)

    assert parametric_map(study, study.series[0]) is None


def test_repeated_positions_give_no_map(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """Two slices in one place make no grid that a reader could stack."""
    slices = [deepcopy(one) for one in mni_slices]
    slices[7].ImagePositionPatient = slices[8].ImagePositionPatient
    study = assess(slices)

    assert parametric_map(study, study.series[0]) is None


def test_slices_that_do_not_fit_are_refused(mni_study: StudyAssessment) -> None:
    """A map of other slices than the source's is an error, never a wrong place."""
    (series,) = mni_study.series
    fewer = dataclasses.replace(series.source, slices=series.source.slices[:-1])

    with pytest.raises(ValueError, match="not of one shape"):
        parametric_map(mni_study, dataclasses.replace(series, source=fewer))


def test_a_second_run_gives_the_same_map(mni_study: StudyAssessment) -> None:
    """A job that is run again after a crash makes a byte-identical file."""
    assert to_bytes(made(dataclasses.replace(mni_study))) == to_bytes(made(mni_study))
