"""Objects as others send them: each is read, or named, and none stops the study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lesions.chests import NODULE, SPACING, STEP, chest, nodule, segmentation, structure_set
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless
from work.phantoms import encoded, read

from gatekeeper.lesions.structures import structures
from gatekeeper.work.lesion_request import LesionRequest
from gatekeeper.work.lesions import LesionScorer
from gatekeeper.work.series import candidates

Change = Callable[[Dataset], None]
NOT = "Not scored for malignancy: "


def problems(made: list[Dataset], folder: Path) -> tuple[str, ...]:
    """Return what is said of a study's objects before anything is scored."""
    return LesionScorer(LesionRequest("", 20), read(made, folder), 10**6).problems


def _frames(made: Dataset) -> None:
    made.NumberOfFrames = 10**9


def _fewer(made: Dataset) -> None:
    made.PerFrameFunctionalGroupsSequence = made.PerFrameFunctionalGroupsSequence[:1]


def _label_map(made: Dataset) -> None:
    made.SegmentationType = "LABELMAP"


def _nowhere(made: Dataset) -> None:
    del made.FrameOfReferenceUID


def _unplaced(made: Dataset) -> None:
    for one in made.PerFrameFunctionalGroupsSequence:
        del one.PlanePositionSequence


def _short(made: Dataset) -> None:
    made.PixelData = made.PixelData[:10]


def _compressed(made: Dataset) -> None:
    made.file_meta.TransferSyntaxUID = JPEGLSLossless
    made["PixelData"].is_undefined_length = True
    made.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x02\x00\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_frames, "beyond the limit of 1,000,000 pixels."),
        (_fewer, "of another number of frames than it states."),
        (_label_map, "of a type that is not read."),
        (_nowhere, "without a frame of reference."),
        (_unplaced, "without ImagePositionPatient."),
        (_short, "not as the standard has it (ValueError)."),
        (_compressed, "compressed in a way that is not read."),
    ],
)
def test_a_segmentation_that_is_not_read_is_named(change: Change, why: str, tmp_path: Path) -> None:
    """One sentence with the rule broken, and nothing raised."""
    made = segmentation(chest(1), nodule())
    change(made)
    assert problems([made], tmp_path) == (f"{NOT}a segmentation, {why}",)


def _no_space(made: Dataset) -> None:
    made.ReferencedFrameOfReferenceSequence = []


def _no_number(made: Dataset) -> None:
    made.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2", "inf"]


def _many(made: Dataset) -> None:
    made.ROIContourSequence = [Dataset() for _ in range(101)]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_no_space, "without a frame of reference."),
        (_no_number, "ContourData is not a finite number."),
        (_many, "beyond the limit of 100 structures."),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS:UserWarning")
def test_a_structure_set_that_is_not_read_is_named(
    change: Change, why: str, tmp_path: Path
) -> None:
    """One sentence with the rule broken, and nothing raised."""
    made = structure_set(chest(2))
    change(made)
    assert problems([made], tmp_path) == (f"{NOT}a structure set, {why}",)


def test_structures_without_value_representations_are_read(tmp_path: Path) -> None:
    """In Implicit VR a long sequence looks like bulk: it is read again, from the file."""
    made = structure_set(chest(3))
    (contours,) = made.ROIContourSequence
    contours.ContourSequence = list(contours.ContourSequence) * 30
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert len(encoded(made)) > 1 << 16
    (series,) = read([made], tmp_path)
    (found,) = structures(series.sources[0])
    assert len(found.contours) == 150


@pytest.mark.parametrize("kind", ["ORGAN", "EXTERNAL", "MARKER"])
def test_structures_that_are_no_target_are_passed_over(kind: str, tmp_path: Path) -> None:
    """An organ at risk or the outline of the body is no lesion, and needs no sentence."""
    assert problems([structure_set(chest(4), kind)], tmp_path) == ()


def test_a_hole_is_left_where_contours_exclude_each_other(tmp_path: Path) -> None:
    """CLOSEDPLANAR_XOR: an inner contour takes its pixels out; a plain one does not."""
    ct = chest(5)
    counts: list[int] = []
    for kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        made = structure_set(ct)
        inner = structure_set(ct, radius_mm=3.0)
        (outer,) = made.ROIContourSequence
        outer.ContourSequence = [
            *outer.ContourSequence,
            *inner.ROIContourSequence[0].ContourSequence,
        ]
        for item in outer.ContourSequence:
            item.ContourGeometricType = kind
        series = read([*ct, made], tmp_path)
        (candidate,) = candidates(series[0])
        (found,) = structures(series[1].sources[0])
        voxels = found.voxels(candidate.decode(10**6))
        counts.append(len(voxels))
        middle = voxels.mean(axis=0)
        assert middle == pytest.approx(NODULE, abs=0.5)
    hole = 5 * np.pi * 3.0**2 / SPACING**2
    assert counts[0] - counts[1] == pytest.approx(hole, rel=0.25)
    assert counts[0] * SPACING**2 * STEP == pytest.approx(5 * STEP * np.pi * 7.0**2, rel=0.1)
