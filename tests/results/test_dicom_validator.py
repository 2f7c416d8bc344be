"""dicom-validator, by the standard's own tables, finds no error in any kind of result."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
from pydicom.dataset import Dataset
from results.golden import objects
from results.validators import KNOWN_IOD_COMPLAINTS, Validate, unexplained, without


@pytest.fixture(scope="module")
def results() -> dict[str, Dataset]:
    """Return one result of each kind."""
    return objects()


def test_every_result_follows_its_iod(results: dict[str, Dataset], iod_validator: Validate) -> None:
    """What is found is what the IODs gained after the tables' edition, and all of that."""
    found = {name: iod_validator([made]) for name, made in results.items()}

    unexplained_in = {name: unexplained(lines) for name, lines in found.items()}
    assert not any(unexplained_in.values()), unexplained_in
    assert {line for lines in found.values() for line in lines} == set(KNOWN_IOD_COMPLAINTS)


def _inside(*path: str) -> Callable[[Dataset], None]:
    """Return a mutation that takes an attribute out of the first item of sequences."""

    def mutate(dataset: Dataset) -> None:
        for keyword in path[:-1]:
            dataset = dataset[keyword].value[0]
        del dataset[path[-1]]

    return mutate


def _unknown_verification(dataset: Dataset) -> None:
    dataset.VerificationFlag = "PERHAPS"


def _fractional(dataset: Dataset) -> None:
    dataset.SegmentationType = "SOFT"


_SHARED = "SharedFunctionalGroupsSequence"
_FRAMES = "PerFrameFunctionalGroupsSequence"
MUTANTS: list[tuple[str, Callable[[Dataset], None], str]] = [
    ("heatmap", without("ConversionType"), "ConversionType is missing"),
    ("heatmap", without("PatientID"), "PatientID is missing"),
    ("montage", without("PhotometricInterpretation"), "PhotometricInterpretation is missing"),
    ("segmentation", without("FrameOfReferenceUID"), "FrameOfReferenceUID is missing"),
    ("segmentation", _inside("SegmentSequence", "SegmentLabel"), "SegmentSequence.SegmentLabel"),
    ("segmentation", _inside("SegmentSequence", "SegmentAlgorithmName"), "SegmentAlgorithmName"),
    ("segmentation", _fractional, "SegmentationType - enum value 'SOFT' not allowed"),
    ("segmentation", _inside(_FRAMES, "FrameContentSequence"), "FrameContentSequence"),
    ("parametric-map", without("FrameOfReferenceUID"), "FrameOfReferenceUID is missing"),
    ("parametric-map", _inside(_SHARED, "PixelMeasuresSequence"), "PixelMeasuresSequence"),
    (
        "parametric-map",
        _inside(_SHARED, "RealWorldValueMappingSequence", "MeasurementUnitsCodeSequence"),
        "MeasurementUnitsCodeSequence is missing",
    ),
    ("presentation", without("PresentationLUTShape"), "PresentationLUTShape"),
    ("presentation", without("DisplayedAreaSelectionSequence"), "DisplayedAreaSelectionSequence"),
    ("presentation", _inside("GraphicLayerSequence", "GraphicLayerOrder"), "GraphicLayerOrder"),
    ("key-objects", without("CurrentRequestedProcedureEvidenceSequence"), "Evidence"),
    ("report", without("CompletionFlag"), "CompletionFlag is missing"),
    ("report", _unknown_verification, "VerificationFlag - enum value 'PERHAPS' not allowed"),
]


@pytest.mark.parametrize(
    ("name", "mutate", "said"), MUTANTS, ids=[f"{name}-{said[:40]}" for name, _, said in MUTANTS]
)
def test_a_mutilated_result_is_caught(
    results: dict[str, Dataset],
    iod_validator: Validate,
    name: str,
    mutate: Callable[[Dataset], None],
    said: str,
) -> None:
    """Its silence means something: it names what is missing or not permitted."""
    mutant = deepcopy(results[name])
    mutate(mutant)

    found = unexplained(iod_validator([mutant]))
    assert any(said in line for line in found), found
