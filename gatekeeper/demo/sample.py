"""A sample MR study of real anatomy: the MNI152 T1 template, as it is and with a stated fault.

The template (ICBM 2009a nonlinear symmetric, the average of 152 healthy adult brains, skull
removed; Fonov et al., NeuroImage 2011) comes inside the `nilearn` package. It is written as one
DICOM MR series of axial slices. The fault is an acquisition fault simulated in k-space by
`models.artefacts`; what was done is written into the series' description.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

import gatekeeper
from gatekeeper.errors import GatekeeperError
from gatekeeper.identifiers import Uid
from models.volume import Volume

TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_ACQUIRED = datetime.datetime(2011, 1, 15, 9, 30, tzinfo=datetime.UTC)
_GREY_LEVELS = 1000.0


@dataclass(frozen=True, slots=True)
class SampleStudy:
    """One study written to a folder."""

    study_instance_uid: Uid
    title: str
    statement: str
    folder: Path
    instances: int


def template() -> Volume:
    """Return the MNI152 T1 template in axial slices, head last, its brightest voxel 1.

    Raises:
        GatekeeperError: if the packages that carry and read it are not installed.
    """
    try:
        # nilearn itself is not imported: it takes seconds, and only its data file is wanted.
        import nibabel

        path = Path(str(files("nilearn"))) / TEMPLATE
    except ModuleNotFoundError as error:
        raise GatekeeperError(
            f"the sample study needs the package {error.name}: pip install 'dicom-gatekeeper[demo]'"
        ) from None
    image = cast(Any, nibabel).load(path)
    data = np.asarray(image.dataobj, dtype=np.float32)
    to_ras = np.asarray(image.affine, dtype=np.float64)
    # NIfTI counts x to the right, y to the front; DICOM rows run to the back (y in LPS) and
    # columns to the patient's left (x in LPS), so both run against the file's axes.
    array = np.ascontiguousarray(data[::-1, ::-1, :].transpose(2, 1, 0))
    last = np.array(data.shape) - 1
    index_to_file = np.array(
        [[0, 0, -1, last[0]], [0, -1, 0, last[1]], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64
    )
    ras_to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    return Volume(array / array.max(), ras_to_lps @ to_ras @ index_to_file, "MR", "BRAIN", "T1")


def write_study(
    scan: Volume,
    folder: Path,
    *,
    title: str,
    statement: str,
    every: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SampleStudy:
    """Write `scan` as one MR series into `folder` (MR Image IOD, PS3.3 A.4).

    Args:
        scan: the volume; its intensities are scaled to 12 bits.
        folder: made when absent.
        title: short name; part of the SeriesDescription, and the key of all UIDs.
        statement: what the study is, written into ImageComments.
        every: write every n-th slice only.
        progress: told slices written and slices in all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = Uid.derive("gatekeeper sample study", gatekeeper.__version__, title)
    chosen = range(0, scan.array.shape[0], every)
    pixels = np.clip(np.rint(scan.array * _GREY_LEVELS), 0, 4095).astype(np.uint16)
    series = _series(study, title, statement)
    _set_plane(series, scan.affine, every)
    for number, index in enumerate(chosen, start=1):
        dataset = copy.deepcopy(series)
        dataset.SOPInstanceUID = Uid.derive(study, "instance", str(index))
        dataset.InstanceNumber = number
        position = scan.affine @ np.array([index, 0, 0, 1.0])
        dataset.ImagePositionPatient = [_decimal(value) for value in position[:3]]
        _set_pixels(dataset, pixels[index])
        dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
        if progress is not None:
            progress(number, len(chosen))
    return SampleStudy(study, title, statement, folder, len(chosen))


def _series(study: Uid, title: str, statement: str) -> Dataset:
    """Return what every instance of the series has in common, but for the image plane."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = MRImageStorage
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = Uid.derive(study, "series")
    dataset.FrameOfReferenceUID = Uid.derive(study, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    dataset.Modality = "MR"
    for keyword in ("Study", "Series", "Content", "Acquisition"):
        setattr(dataset, f"{keyword}Date", _ACQUIRED.strftime("%Y%m%d"))
        setattr(dataset, f"{keyword}Time", _ACQUIRED.strftime("%H%M%S"))
    dataset.PatientName = "MNI152^Template"
    dataset.PatientID = "GATEKEEPER-SAMPLE"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.StudyID = "SAMPLE"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Head sample study"
    dataset.SeriesDescription = f"T1w MNI152 {title}"[:64]
    dataset.ProtocolName = "T1w"
    dataset.ImageComments = statement
    dataset.DerivationDescription = statement
    dataset.Manufacturer = "MNI / ICBM"
    dataset.BodyPartExamined = "BRAIN"
    dataset.PatientPosition = "HFS"
    dataset.SeriesNumber = 1
    dataset.AcquisitionNumber = 1
    dataset.ScanningSequence = "GR"
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "3D"
    dataset.RepetitionTime = dataset.EchoTime = dataset.EchoTrainLength = None
    return dataset


def _set_plane(dataset: Dataset, affine: NDArray[np.float64], every: int) -> None:
    """Set the Image Plane module (PS3.3 C.7.6.2) but for the position."""
    step, row, column = (affine[:3, axis] for axis in range(3))
    dataset.ImageOrientationPatient = [
        _decimal(value) for axis in (column, row) for value in axis / np.linalg.norm(axis)
    ]
    dataset.PixelSpacing = [_decimal(np.linalg.norm(row)), _decimal(np.linalg.norm(column))]
    dataset.SliceThickness = _decimal(np.linalg.norm(step))
    dataset.SpacingBetweenSlices = _decimal(np.linalg.norm(step) * every)


def _set_pixels(dataset: Dataset, pixels: NDArray[np.uint16]) -> None:
    """Set the Image Pixel module (PS3.3 C.7.6.3) and the window."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = _GREY_LEVELS / 2, _GREY_LEVELS
    dataset.PixelData = pixels.tobytes()


def _decimal(value: float | np.floating[Any]) -> float:
    """Return `value` as DS can hold it: at most 16 characters (PS3.5 6.2)."""
    return round(float(value), 6)
