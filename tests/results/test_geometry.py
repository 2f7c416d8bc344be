"""What was planted at a place in the patient comes back at that place, in every result.

Scans of any orientation, spacing, tilt and order of arrival, classic or enhanced, go through the
worker's own reader. What the results say of the place is worked out here from DICOM attributes
alone, as a viewer would (PS3.3 C.7.6.2.1.1, C.18.6.1).
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from pydicom.dataset import Dataset
from results.readers import shown_by_dcmtk
from results.scans import AXIAL, BRIGHT, SAGITTAL, Scan, Vector, bright_places, scans
from results.validators import round_trip
from skimage import measure
from work.phantoms import STUDY, read

from gatekeeper.identifiers import Digest, Uid
from gatekeeper.results import codes
from gatekeeper.results.assessment import SeriesAssessment, SourceSlice, StudyAssessment
from gatekeeper.results.capture import iterate_heatmaps
from gatekeeper.results.parametric import parametric_map
from gatekeeper.results.picture import strip_height
from gatekeeper.results.presentation import presentation_states
from gatekeeper.results.report import report
from gatekeeper.results.segmentation import segmentation
from gatekeeper.results.tree import code_of, descendants
from gatekeeper.rules.verdict import judge_finding, judge_study
from gatekeeper.work.series import candidates
from gatekeeper.work.upright import upright

HALF_A_VOXEL = 0.5


def assessed(scan: Scan) -> StudyAssessment:
    """Return the assessment of a scan whose map is the scan itself, as the worker reads it."""
    with tempfile.TemporaryDirectory() as folder:
        (received,) = read(scan.instances(), Path(folder))
        (candidate,) = candidates(received)
        volume = candidate.decode(1_000_000)
    seen = upright(volume, 1_000_000)
    finding = seen.on_source(bright_places(seen.volume))
    judgement = judge_finding(finding, 0.05)
    series = SeriesAssessment(candidate.source_series(), judgement, volume, finding)
    return StudyAssessment(
        study_instance_uid=Uid(STUDY),
        content_digest=Digest.of(b"content"),
        model_digest=Digest.of(b"models"),
        revision=1,
        created_at=1_760_000_000.25,
        judgement=judge_study([judgement]),
        false_hold_rate=0.05,
        series=(series,),
        ae_title="GATEKEEPER",
    )


def pixel_place(position: Any, orientation: Any, spacing: Any, row: float, column: float) -> Vector:
    """Return where a pixel's centre lies in the patient (PS3.3 equation C.7.6.2.1-1)."""
    cosines = np.array(orientation, np.float64)
    dy, dx = (float(value) for value in spacing)
    origin = np.array(position, np.float64)
    return origin + cosines[:3] * dx * column + cosines[3:] * dy * row


def heatmap_place(study: StudyAssessment) -> Vector:
    """Return the middle of all coloured pixels of the heatmaps."""
    (series,) = study.series
    assert series.finding is not None
    # Outlines and numbers are white, and are drawn over the map where they have no other room.
    bare = dataclasses.replace(series, finding=dataclasses.replace(series.finding, regions=()))
    places: list[Vector] = []
    for picture in iterate_heatmaps(study, bare):
        read_back = round_trip(picture)
        pixels = read_back.pixel_array[: picture.Rows - strip_height(picture.Columns)]
        rows, columns = np.nonzero(pixels.max(axis=2) != pixels.min(axis=2))
        if len(rows):
            places.append(
                pixel_place(
                    read_back.ImagePositionPatient,
                    read_back.ImageOrientationPatient,
                    read_back.PixelSpacing,
                    float(rows.mean()),
                    float(columns.mean()),
                )
            )
    return np.mean(places, axis=0)


def multiframe_place(dataset: Dataset | None, threshold: float) -> Vector:
    """Return the middle of all pixels over a threshold, by each frame's own position."""
    assert dataset is not None
    read_back = round_trip(dataset)
    (shared,) = read_back.SharedFunctionalGroupsSequence
    frames = read_back.pixel_array.reshape(-1, read_back.Rows, read_back.Columns)
    places: list[Vector] = []
    for pixels, group in zip(frames, read_back.PerFrameFunctionalGroupsSequence, strict=True):
        rows, columns = np.nonzero(pixels > threshold)
        if len(rows):
            places.append(
                pixel_place(
                    group.PlanePositionSequence[0].ImagePositionPatient,
                    shared.PlaneOrientationSequence[0].ImageOrientationPatient,
                    shared.PixelMeasuresSequence[0].PixelSpacing,
                    float(rows.mean()),
                    float(columns.mean()),
                )
            )
    return np.mean(places, axis=0)


def region_group(study: StudyAssessment) -> Dataset:
    """Return the report's one group of a region."""
    document = report(study)
    assert document is not None
    groups = [item for item in descendants(round_trip(document)) if code_of(item).value == "125007"]
    (_, found) = groups
    return found


def stated_centre(group: Dataset) -> Vector:
    """Return the centre that a group states in numbers."""
    numbers = {
        code_of(item).value: item.MeasuredValueSequence[0].NumericValue
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }
    return np.array([float(numbers[code.value]) for code in codes.CENTRE])


def outlined(group: Dataset, scan: Scan) -> tuple[int, Vector]:
    """Return the slice of the scan that a group outlines, and the outline's middle there."""
    (graphic,) = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
    (reference,) = graphic.ContentSequence[0].ReferencedSOPSequence
    points = np.array(graphic.GraphicData, np.float64).reshape(-1, 2)
    # (0, 0) is the top left corner of the first pixel, whose centre is the position.
    column, row = (points.min(axis=0) + points.max(axis=0)) / 2 - 0.5
    number = int(str(reference.ReferencedSOPInstanceUID).rsplit(".", 1)[1]) - 1
    if scan.enhanced:
        index = scan.shares[number][int(reference.ReferencedFrameNumber) - 1]
    else:
        index = scan.order[number]
    place = pixel_place(
        scan.position(index), scan.orientation, scan.spacing[1:], float(row), float(column)
    )
    return index, place


def voxels_apart(scan: Scan, place: Vector) -> float:
    """Return how far a place is from the one that was planted, in voxels along the worst axis."""
    return float(np.abs(np.linalg.solve(scan.steps, place - scan.place)).max())


EVERYWHERE = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@EVERYWHERE
@given(scans())
def test_a_planted_place_comes_back_in_every_result(scan: Scan) -> None:
    """Heatmap, segmentation, parametric map and report are within half a voxel of the place."""
    study = assessed(scan)
    (series,) = study.series

    group = region_group(study)
    found = {
        "heatmap": heatmap_place(study),
        "segmentation": multiframe_place(segmentation(study, series), 0),
        "parametric map": multiframe_place(parametric_map(study, series), BRIGHT / 2),
        "report": stated_centre(group),
    }
    apart = {name: voxels_apart(scan, place) for name, place in found.items()}
    assert max(apart.values()) <= HALF_A_VOXEL, apart

    index, place = outlined(group, scan)
    assert abs(index - scan.voxel[0]) <= scan.reach[0]
    beside = place - scan.steps[:, 0] * (index - scan.voxel[0])
    assert voxels_apart(scan, beside) <= HALF_A_VOXEL


def plain(**fields: Any) -> Scan:
    """Return an axial scan with a single bright voxel."""
    known: dict[str, Any] = {
        "orientation": AXIAL,
        "spacing": (3.0, 1.5, 0.75),
        "shape": (6, 12, 16),
        "origin": (-40.0, -60.0, 20.0),
        "backwards": False,
        "tilt": (0.0, 0.0),
        "enhanced": 0,
        "order": (0, 1, 2, 3, 4, 5),
        "voxel": (2, 4, 9),
        "reach": (0, 0, 0),
        "aside": (0.0, 0.0, 0.0),
    }
    return Scan(**(known | fields))


@pytest.mark.parametrize("degrees", [0.4, 20.0])
@pytest.mark.parametrize("enhanced", [0, 1, 2], ids=["classic", "enhanced", "two-enhanced"])
def test_a_voxel_on_the_grid_comes_back_to_the_micrometre(enhanced: int, degrees: float) -> None:
    """Nothing is rounded on the way but the report's 32-bit outline, with a tilted gantry too."""
    scan = plain(enhanced=enhanced, tilt=(degrees, 30.0), orientation=SAGITTAL)
    study = assessed(scan)
    (series,) = study.series
    found = [
        heatmap_place(study),
        multiframe_place(segmentation(study, series), 0),
        multiframe_place(parametric_map(study, series), BRIGHT / 2),
        stated_centre(region_group(study)),
        outlined(region_group(study), scan)[1],
    ]

    for place in found:
        assert np.allclose(place, scan.place, rtol=0, atol=1e-3)


def _turned(dataset: Dataset) -> None:
    (orientation,) = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    cosines = list(orientation.ImageOrientationPatient)
    orientation.ImageOrientationPatient = cosines[3:] + cosines[:3]


def _swapped(dataset: Dataset) -> None:
    (measures,) = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    measures.PixelSpacing = list(measures.PixelSpacing)[::-1]


def _reversed(dataset: Dataset) -> None:
    groups = dataset.PerFrameFunctionalGroupsSequence
    dataset.PerFrameFunctionalGroupsSequence = list(groups)[::-1]


@pytest.mark.parametrize("mutate", [_turned, _swapped, _reversed])
def test_a_result_out_of_place_is_caught(mutate: Any) -> None:
    """Rows for columns, spacings swapped or frames reversed are each seen by this very test."""
    scan = plain()
    study = assessed(scan)
    dataset = parametric_map(study, study.series[0])
    assert dataset is not None
    mutate(dataset)

    assert voxels_apart(scan, multiframe_place(dataset, BRIGHT / 2)) > HALF_A_VOXEL


@pytest.mark.parametrize("make", [segmentation, parametric_map])
def test_frames_of_a_tilted_scan_lie_where_their_slices_do(make: Any) -> None:
    """Each frame has the position of the slice that it names, to the digit, and their distance."""
    scan = plain(tilt=(17.5, 90.0))
    positions = {str(one.SOPInstanceUID): one.ImagePositionPatient for one in scan.instances()}
    study = assessed(scan)
    made = make(study, study.series[0])
    frames = [
        (group.DerivationImageSequence[0].SourceImageSequence[0], group.PlanePositionSequence[0])
        for group in made.PerFrameFunctionalGroupsSequence
    ]

    assert frames
    for source, place in frames:
        assert place.ImagePositionPatient == positions[str(source.ReferencedSOPInstanceUID)]
    (measures,) = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SpacingBetweenSlices == pytest.approx(scan.spacing[0])


@pytest.mark.parametrize("degrees", [0.0, 20.0])
@pytest.mark.parametrize("enhanced", [0, 2], ids=["classic", "two-enhanced"])
def test_a_presentation_state_outlines_the_bright_pixels_that_the_toolkit_shows(
    peer: Callable[[str], str], tmp_path: Path, enhanced: int, degrees: float
) -> None:
    """The outline encloses just the marker's pixels, on the image that it names, shown by DCMTK."""
    scan = plain(enhanced=enhanced, tilt=(degrees, 90.0), order=(4, 1, 0, 3, 2, 5), reach=(0, 1, 2))
    study = assessed(scan)
    state = presentation_states(study, study.series[0])
    assert state is not None
    _, annotation = state.GraphicAnnotationSequence
    (reference,) = annotation.ReferencedImageSequence
    (graphic,) = annotation.GraphicObjectSequence
    (image,) = [
        one for one in scan.instances() if one.SOPInstanceUID == reference.ReferencedSOPInstanceUID
    ]
    frame = int(reference.get("ReferencedFrameNumber", 1))

    shown = shown_by_dcmtk(peer("dcmp2pgm"), image, state, frame, tmp_path)

    # Centres of pixels, counted from the corner of the first.
    rows, columns = np.indices(shown.shape) + 0.5
    outline = np.array(graphic.GraphicData, np.float64).reshape(-1, 2)
    places = np.stack([columns.ravel(), rows.ravel()], axis=1)
    enclosed = measure.points_in_poly(places, outline).reshape(shown.shape)
    assert np.array_equal(enclosed, shown > 200)
    assert np.count_nonzero(enclosed) == 3 * 5


def test_every_result_trusts_the_same_numbers_of_a_slice() -> None:
    """Where a header's orientation is not its volume's, no result takes the header's position."""
    study = assessed(plain(shape=(6, 12, 256), order=(0, 1, 2, 3, 4, 5)))
    (series,) = study.series
    first, *others = series.source.slices
    header = Dataset()
    header.update(first.header)
    header.ImagePositionPatient = [part + 0.01 for part in header.ImagePositionPatient]
    header.ImageOrientationPatient = list(SAGITTAL)
    slices = (SourceSlice(header), *others)
    series = dataclasses.replace(series, source=dataclasses.replace(series.source, slices=slices))
    study = dataclasses.replace(study, series=(series,))
    numeric = parametric_map(study, series)
    assert numeric is not None
    (plane,) = numeric.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    picture = next(iterate_heatmaps(study, series))

    volume = study.series[0].volume
    assert volume is not None
    assert plane.ImagePositionPatient == list(volume.to_patient((0, 0, 0)))
    # Each pixel is drawn as two rows, whose first lies a quarter of a pixel before the centre.
    moved = np.subtract(picture.ImagePositionPatient, plane.ImagePositionPatient)
    assert np.allclose(moved, (0, -0.375, 0))
