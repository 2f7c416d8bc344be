"""Small DICOM objects made for tests, without patients."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from gatekeeper.send.transport import SendObject
from storage.records import Result

MR = "1.2.840.10008.5.1.4.1.1.4"
STUDY = "1.2.826.0.1.3680043.8.498.1"


def mr_slice(number: int, *, transfer_syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    """Return an MR instance of 16 x 16 pixels, the same for the same number."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.SOPClassUID = MR
    dataset.SOPInstanceUID = f"{STUDY}.2.{number}"
    dataset.StudyInstanceUID = STUDY
    dataset.SeriesInstanceUID = f"{STUDY}.1"
    dataset.Modality = "MR"
    dataset.PatientID = "TEST"
    dataset.PatientName = "Test^Object"
    dataset.StudyDate = "20240101"
    dataset.StudyTime = "120000"
    dataset.StudyID = "1"
    dataset.AccessionNumber = "A1"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = number.to_bytes(2, "little") * 256
    return dataset


def write_slices(folder: Path, count: int) -> list[Path]:
    """Write `count` MR instances as DICOM files and return them in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number in range(1, count + 1):
        path = folder / f"{number:04d}.dcm"
        mr_slice(number).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def send_objects(paths: list[Path]) -> list[SendObject]:
    """Return what `write_slices` wrote as objects to send."""
    return [
        SendObject(MR, f"{STUDY}.2.{number}", ExplicitVRLittleEndian, path)
        for number, path in enumerate(paths, start=1)
    ]


def result_of(item: SendObject, digest: str) -> Result:
    """Return an object in the spool as a row of a delivery."""
    return Result(
        sop_instance_uid=item.sop_instance_uid,
        sop_class_uid=item.sop_class_uid,
        series_instance_uid=f"{STUDY}.1",
        transfer_syntax_uid=item.transfer_syntax_uid,
        kind="heatmap",
        digest=digest,
        size=item.path.stat().st_size,
    )
