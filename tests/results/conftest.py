"""Studies made of real pixels with a constructed finding, deterministic and no detector's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import config, dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from results.validators import (
    dcentvfy,
    dciodvfy,
    dcmpschk,
    iod_validator,
    printed,
    real,
    sr_validator,
)

from gatekeeper.identifiers import Digest, Uid
from gatekeeper.results.assessment import (
    SeriesAssessment,
    SourceSeries,
    SourceSlice,
    StudyAssessment,
)
from gatekeeper.rules.verdict import Judgement, Verdict, judge_finding, judge_study
from models.finding import Finding, Level, Region
from models.volume import Volume

__all__ = [
    "dcentvfy",
    "dciodvfy",
    "dcmpschk",
    "iod_validator",
    "printed",
    "real",
    "sr_validator",
]

CREATED_AT = 1_760_000_000.25
TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"

Assess = Callable[..., StudyAssessment]


# Sources


@pytest.fixture(scope="session")
def mni_slices() -> list[Dataset]:
    """Return 24 axial MR slices of the MNI152 T1 template, as a scanner would send them."""
    nibabel: Any = pytest.importorskip("nibabel")
    pytest.importorskip("nilearn")
    image = nibabel.load(Path(str(files("nilearn"))) / TEMPLATE)
    data = np.asarray(image.dataobj, np.float32)[:, :, 8::7][:, :, :24]
    origin = np.asarray(image.affine, np.float64)[:3, 3]
    # NIfTI: x to the right, y to the front. DICOM: x to the left, y to the back.
    pixels = np.ascontiguousarray(data[:, ::-1, :].transpose(2, 1, 0))
    pixels = np.rint(pixels / pixels.max() * 1000).astype(np.uint16)
    left, back = -origin[0], -(origin[1] + data.shape[1] - 1)
    return [
        _mr_slice(number, plane, (left, back, origin[2] + 8 + 7.0 * number))
        for number, plane in enumerate(pixels)
    ]


def _mr_slice(
    number: int, pixels: NDArray[np.uint16], position: tuple[float, float, float]
) -> Dataset:
    """Return one MR image (PS3.3 A.4) of a Japanese patient, columns running to the right."""
    study = Uid.derive("test study")
    target = Dataset()
    target.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    target.SOPClassUID = MRImageStorage
    target.SOPInstanceUID = Uid.derive(study, str(number))
    target.StudyInstanceUID = study
    target.SeriesInstanceUID = Uid.derive(study, "series")
    target.FrameOfReferenceUID = Uid.derive(study, "frame")
    target.PositionReferenceIndicator = ""
    target.StudyDate = target.SeriesDate = target.ContentDate = "20240229"
    target.StudyTime = target.SeriesTime = target.ContentTime = "235901.5"
    target.TimezoneOffsetFromUTC = "+0900"
    target.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    target.PatientID = "4711"
    target.IssuerOfPatientID = "HOSPITAL"
    target.PatientBirthDate = "19700101"
    target.PatientSex = "M"
    target.PatientAge = "054Y"
    target.AccessionNumber = "A-0815"
    target.ReferringPhysicianName = "Suzuki^Hanako"
    target.StudyID = "S1"
    target.StudyDescription = "Head"
    target.SeriesDescription = "T1 MPRAGE ax"
    target.SeriesNumber = 4
    target.AcquisitionNumber = 1
    target.InstanceNumber = number + 1
    target.Manufacturer = "Test"
    target.Modality = "MR"
    target.BodyPartExamined = "BRAIN"
    target.PatientPosition = "HFS"
    target.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    target.ScanningSequence = "GR"
    target.SequenceVariant = "NONE"
    target.ScanOptions = ""
    target.MRAcquisitionType = "3D"
    target.RepetitionTime = target.EchoTime = target.EchoTrainLength = None
    target.ImagePositionPatient = [float(value) for value in position]
    target.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    target.PixelSpacing = [1, 1]
    target.SliceThickness = 1
    target.SpacingBetweenSlices = 7
    target.SamplesPerPixel = 1
    target.PhotometricInterpretation = "MONOCHROME2"
    target.Rows, target.Columns = pixels.shape
    target.BitsAllocated, target.BitsStored, target.HighBit = 16, 12, 11
    target.PixelRepresentation = 0
    target.WindowCenter, target.WindowWidth = 500, 1000
    data = pixels.tobytes()
    target.PixelData = data
    target.file_meta = FileMetaDataset()
    target.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return target


@pytest.fixture(scope="session")
def seven_tesla_slices(shared_data: Path) -> list[Dataset]:
    """Return the 384 slices of a real 7 T head, whose header has errors of its own."""
    folder = shared_data / "brain_t1_structural_dicom" / "dicoms"
    return _read(sorted(folder.glob("*.dcm")))


@pytest.fixture(scope="session")
def pelvis_slices(shared_data: Path) -> list[Dataset]:
    """Return the 19 slices of a real pelvis, each with a window of its own."""
    folder = shared_data / "pelvis_mr_prostatex_dicom" / "ProstateX-0000_t2_tra"
    return _read(sorted(folder.glob("*.dcm")))


@pytest.fixture(scope="session")
def chest_slices(shared_data: Path) -> list[Dataset]:
    """Return the 21 slices of a real chest CT in JPEG 2000."""
    return _read(sorted((shared_data / "chest_ct_lidc0001_dicom").glob("*.dcm")))


def _read(paths: Sequence[Path]) -> list[Dataset]:
    assert paths
    with config.disable_value_validation():
        found = [dcmread(path) for path in paths]
        # Decoding a value validates it; the sources' own errors are no failure of a test.
        for header in found:
            for element in header:
                assert element.tag
    return [cast(Dataset, header) for header in found]


# Assessments


@pytest.fixture(scope="session")
def assess() -> Assess:
    """Return the function that makes a study's assessment from slices; see `assess_slices`."""
    return assess_slices


@pytest.fixture(scope="session")
def mni_study(mni_slices: Sequence[Dataset]) -> StudyAssessment:
    """Return a suspect study with two regions."""
    return assess_slices(mni_slices, p_value=1 / 20, body_part="BRAIN")


def assess_slices(
    slices: Sequence[Dataset],
    *,
    p_value: float | None = 1 / 20,
    reason: str = "Not assessed: no profile for this kind of scan.",
    verdict: Verdict = Verdict.UNCALIBRATED,
    body_part: str = "",
    frames: bool = False,
    peaks: Sequence[tuple[float, float, float, float]] = (
        (0.55, 0.35, 0.30, 7.5),
        (0.45, 0.62, 0.66, 5.0),
    ),
    **of_study: Any,
) -> StudyAssessment:
    """Return the assessment of a study of one series.

    Args:
        slices: its images with pixel data.
        p_value: of the finding; None for a series that no detector answered on.
        reason: why not, in that case.
        verdict: the verdict, in that case.
        body_part: as read from the header.
        frames: say that the slices are the frames 1, 2, ... of the first image.
        peaks: places in the map as shares of slices, rows, columns, and their height.
        of_study: attributes of StudyAssessment.
    """
    ordered, volume = volume_of(slices, body_part)
    headers = tuple(_without_pixels(one) for one in ordered)
    planes = tuple(
        SourceSlice(headers[0], index + 1) if frames else SourceSlice(header)
        for index, header in enumerate(headers)
    )
    by_uid = sorted(headers, key=lambda header: str(header.SOPInstanceUID))
    source = SourceSeries(Uid(headers[0].SeriesInstanceUID), tuple(by_uid), planes)
    if p_value is None:
        series = SeriesAssessment(source, Judgement(verdict, reason))
    else:
        finding = constructed_finding(volume, p_value, peaks)
        series = SeriesAssessment(source, judge_finding(finding, 0.05), volume, finding)
    values: dict[str, Any] = {
        "study_instance_uid": Uid(headers[0].StudyInstanceUID),
        "content_digest": Digest.of(b"content"),
        "model_digest": Digest.of(b"models"),
        "revision": 1,
        "created_at": CREATED_AT,
        "judgement": judge_study([series.judgement]),
        "false_hold_rate": 0.05,
        "series": (series,),
        "ae_title": "GATEKEEPER",
        **of_study,
    }
    return StudyAssessment(**values)


def volume_of(slices: Sequence[Dataset], body_part: str = "") -> tuple[list[Dataset], Volume]:
    """Return the slices in order along their normal, and the volume they make."""
    orientation = np.array(slices[0].ImageOrientationPatient, np.float64)
    across, down = orientation[:3], orientation[3:]
    normal = np.cross(across, down)
    places = [float(np.array(one.ImagePositionPatient, np.float64) @ normal) for one in slices]
    ordered = [slices[index] for index in np.argsort(places)]
    first = np.array(ordered[0].ImagePositionPatient, np.float64)
    last = np.array(ordered[-1].ImagePositionPatient, np.float64)
    dy, dx = (float(value) for value in ordered[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = (last - first) / (len(ordered) - 1)
    affine[:3, 1], affine[:3, 2], affine[:3, 3] = down * dy, across * dx, first
    shape = (len(ordered), int(ordered[0].Rows), int(ordered[0].Columns))
    array = np.empty(shape, np.float32)
    for index, one in enumerate(ordered):
        array[index] = one.pixel_array
        array[index] *= float(one.get("RescaleSlope", 1))
        array[index] += float(one.get("RescaleIntercept", 0))
    return ordered, Volume(array, affine, str(slices[0].Modality), body_part)


def constructed_finding(
    volume: Volume, p_value: float, peaks: Sequence[tuple[float, float, float, float]]
) -> Finding:
    """Return a finding whose map has a smooth bump, 15 mm wide, at each of `peaks`."""
    shape = volume.array.shape
    axes = [
        (np.arange(count, dtype=np.float32)) * np.float32(step)
        for count, step in zip(shape, volume.spacing, strict=True)
    ]
    values = np.zeros(shape, np.float32)
    for *place, height in peaks:
        bumps = [
            np.exp(-(((axis - share * axis[-1]) / 15) ** 2)).astype(np.float32)
            for axis, share in zip(axes, place, strict=True)
        ]
        values += np.float32(height) * (
            bumps[0][:, None, None] * bumps[1][None, :, None] * bumps[2][None, None, :]
        )
    levels = (
        Level("geometry", "Is the head's shape like the reference's?", 1.2, 0.65, 19, 1.3),
        Level("global", "Are the image features like the reference's?", 91.0, p_value, 19, 40.5),
        Level("focal", "Is every place like the same place?", 5.1, 0.35, 19, 4.0),
    )
    return Finding(
        score=91.0,
        p_value=p_value,
        levels=levels,
        map=values,
        map_unit="robust z-score against 19 reference subjects",
        map_threshold=3.0,
        map_maximum=8.0,
        regions=_regions(values, 3.0, volume),
        display_window=_display_window(volume),
        detector="features",
        profile="mr-brain-t1",
        bundle_version="0.1.0",
        model_digest=Digest.of(b"bundle"),
        calibration_digest=Digest.of(b"calibration"),
        calibration_description="19 healthy adults, 1.5 T, one scanner, held out from training.",
        milliseconds={"map": 1.0},
    )


def _regions(values: NDArray[np.float32], threshold: float, volume: Volume) -> tuple[Region, ...]:
    from scipy import ndimage
    from skimage.measure import find_contours

    labelled: Any = ndimage.label(values > threshold)
    labels = labelled[0]
    found: list[Region] = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = np.asarray(labels[box] == label)
        inside = values[box][mask]
        areas = mask.sum(axis=(1, 2))
        best = int(np.argmax(areas))
        offset = tuple(int(part.start) for part in box)
        padded = np.pad(mask[best], 1).astype(np.float64)
        contour = max(find_contours(padded, 0.5), key=len)
        centre = np.mean(np.argwhere(mask), axis=0) + offset
        found.append(
            Region(
                label=0,
                volume_mm3=float(mask.sum() * volume.voxel_mm3),
                centre=volume.to_patient((centre[0], centre[1], centre[2])),
                peak=float(inside.max()),
                mean=float(inside.mean()),
                slice_index=best + offset[0],
                outline=contour[:, ::-1] - 1 + np.array([offset[2], offset[1]]),
                mask=mask,
                mask_offset=(offset[0], offset[1], offset[2]),
            )
        )
    found.sort(key=lambda region: -region.mean * region.mask.sum())
    return tuple(
        dataclasses.replace(one, label=rank) for rank, one in enumerate(found[:10], start=1)
    )


def _display_window(volume: Volume) -> tuple[float, float]:
    low, high = np.percentile(volume.array[:, ::4, ::4], [1, 99.5])
    return float(low + high) / 2, float(high - low)


def _without_pixels(header: Dataset) -> Dataset:
    kept = Dataset()
    kept.update({element.tag: element for element in header if element.tag != 0x7FE00010})
    return kept
