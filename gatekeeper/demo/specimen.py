"""A specimen: one small picture that is plainly a test, to send to an archive and fetch again.

Patient, study and series say so in every field that a list shows, and so does the picture. It has
our marks, so that when it comes back to our listener it is known and not analysed.
"""

from __future__ import annotations

import datetime
import io

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from gatekeeper import __version__
from gatekeeper.identifiers import Uid
from gatekeeper.listen.file_meta import IMPLEMENTATION_CLASS_UID
from gatekeeper.listen.headers import OWN_MANUFACTURER

PATIENT_NAME = "GATEKEEPER^TEST"
PATIENT_ID = "GATEKEEPER-TEST"
_SIDE = 128


def specimen(key: str, now: datetime.datetime) -> Dataset:
    """Return a Secondary Capture image (PS3.3 A.8) whose UIDs are derived from `key`.

    Args:
        key: another one for each test.
        now: written as the date and time of the study.
    """
    study = Uid.derive("gatekeeper specimen", key)
    dataset = Dataset()
    meta = dataset.file_meta = FileMetaDataset()
    instance = UID(Uid.derive(study, "instance"))
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = Uid.derive(study, "series")
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.StudyDate = dataset.ContentDate = now.strftime("%Y%m%d")
    dataset.StudyTime = dataset.ContentTime = now.strftime("%H%M%S")
    dataset.Modality = "OT"
    dataset.ConversionType = "SYN"
    dataset.Manufacturer = dataset.ManufacturerModelName = OWN_MANUFACTURER
    dataset.SoftwareVersions = __version__
    dataset.PatientName = PATIENT_NAME
    dataset.PatientID = PATIENT_ID
    dataset.PatientBirthDate = dataset.ReferringPhysicianName = dataset.AccessionNumber = ""
    dataset.PatientSex = "O"
    dataset.StudyID = "TEST"
    dataset.StudyDescription = "GATEKEEPER TEST - NO PATIENT"
    dataset.SeriesDescription = "Test picture, may be deleted"
    dataset.ImageComments = "Sent by `gatekeeper node roundtrip` to test a connection."
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    dataset.BurnedInAnnotation = "NO"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = _SIDE
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = _crossed().tobytes()
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """Return the Part 10 file of a specimen."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _crossed() -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return a ramp of greys that is crossed out, which nobody takes for anatomy."""
    row, column = np.mgrid[0:_SIDE, 0:_SIDE]
    crossed = (abs(row - column) < 3) | (abs(row + column - _SIDE + 1) < 3)
    return np.where(crossed, 255, column).astype(np.uint8)
