"""A chest made for tests: a body of soft tissue, two lungs of air, and a nodule in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage
from work.phantoms import ROOT, series

from gatekeeper.identifiers import Uid

SLICES, SIDE, SPACING, STEP = 12, 64, 1.4, 2.0
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
MASS = Code("4147007", "SCT", "Mass")
NODULE = (6, 32, 44)
"""Slice, row and column of the nodule's middle."""
RADIUS = 5.0
"""Of the nodule, in pixels."""


def study_of(number: int) -> str:
    """Return the UID of one test's study."""
    return f"{ROOT}.8.{number}"


def nodule() -> NDArray[np.bool_]:
    """Return the nodule's voxels, (slices, rows, columns)."""
    z, y, x = np.ogrid[:SLICES, :SIDE, :SIDE]
    away = np.hypot(y - NODULE[1], x - NODULE[2])
    return (away <= RADIUS) & (np.abs(z - NODULE[0]) <= 2)


def chest(number: int, **attributes: Any) -> list[Dataset]:
    """Return an axial CT of a chest, in HU after its rescale."""
    made = series(
        SLICES, modality="CT", description="chest", study=study_of(number), shape=(SIDE, SIDE),
        step=(0.0, 0.0, STEP), BodyPartExamined="CHEST", PixelSpacing=[SPACING, SPACING],
        StudyDate="20260320", StudyTime="080000", PositionReferenceIndicator="",
        RescaleIntercept=-1024, RescaleSlope=1, **attributes,
    )  # fmt: skip
    y, x = np.mgrid[:SIDE, :SIDE]
    for index, dataset in enumerate(made):
        hu = np.where(np.hypot(y - 32, x - 32) < 30, 40.0, -1000.0)
        for side in (20, 44):
            hu[np.hypot((y - 32) / 1.6, x - side) < 10] = -850.0
        hu[nodule()[index]] = 60.0
        dataset.PixelData = (hu + 1024).astype("<u2").tobytes()
    return made


def segmentation(ct: Sequence[Dataset], mask: Any, category: Code = ABNORMAL) -> Dataset:
    """Return a SEG of the nodule, as other programs make them."""
    for one in ct:
        one.PatientBirthDate = one.PatientSex = ""
    described = hd.seg.SegmentDescription(
        1, "nodule", category, MASS, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    first = ct[0]
    return hd.seg.Segmentation(
        list(ct), mask.astype(np.uint8), hd.seg.SegmentationTypeValues.BINARY, [described],
        series_instance_uid=Uid.derive("series", first.StudyInstanceUID), series_number=60,
        sop_instance_uid=Uid.derive("instance", first.StudyInstanceUID), instance_number=1,
        manufacturer="Maker", manufacturer_model_name="Model", software_versions="1",
        device_serial_number="1",
    )  # fmt: skip


def structure_set(ct: list[Dataset], kind: str = "GTV", radius_mm: float = 7.0) -> Dataset:
    """Return a structure set (PS3.3 A.19) with the nodule as one structure of five circles."""
    first = ct[0]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = RTStructureSetStorage
    made.Modality = "RTSTRUCT"
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyTime"):
        setattr(made, keyword, first[keyword].value)
    made.SeriesInstanceUID = f"{first.StudyInstanceUID}.70"
    made.SOPInstanceUID = f"{first.StudyInstanceUID}.70.1"
    made.StructureSetLabel = "nodules"
    space, study, named = Dataset(), Dataset(), Dataset()
    space.FrameOfReferenceUID = first.FrameOfReferenceUID
    named.SeriesInstanceUID = first.SeriesInstanceUID
    study.RTReferencedSeriesSequence = [named]
    space.RTReferencedStudySequence = [study]
    made.ReferencedFrameOfReferenceSequence = [space]
    roi, contours, observed = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = 3, "nodule"
    roi.ReferencedFrameOfReferenceUID = first.FrameOfReferenceUID
    made.StructureSetROISequence = [roi]
    contours.ReferencedROINumber = 3
    contours.ContourSequence = []
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    for level in range(NODULE[0] - 2, NODULE[0] + 3):
        circle = np.stack(
            [
                NODULE[2] * SPACING + radius_mm * np.cos(angles),
                NODULE[1] * SPACING + radius_mm * np.sin(angles),
                np.full(40, level * STEP),
            ],
            axis=1,
        )
        item = Dataset()
        item.ContourGeometricType = "CLOSED_PLANAR"
        item.NumberOfContourPoints = 40
        item.ContourData = [f"{value:.3f}" for value in circle.ravel()]
        contours.ContourSequence.append(item)
    made.ROIContourSequence = [contours]
    observed.ObservationNumber, observed.ReferencedROINumber = 1, 3
    observed.RTROIInterpretedType = kind
    observed.ROIInterpreter = ""
    made.RTROIObservationsSequence = [observed]
    return made
