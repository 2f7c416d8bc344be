"""Attributes whose value representation is not the dictionary's never stop a result."""

from __future__ import annotations

import io
import random

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian

from gatekeeper.results.attributes import patient_and_study


def header() -> bytes:
    """Return a Part 10 header with the attributes that results copy, sequences among them."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "12", "99X", "A procedure"
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = "X1", "TEXT"
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.SOPClassUID, source.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"
    source.StudyDate, source.StudyTime = "20200102", "101500"
    source.PatientName, source.PatientID = "Doe^Jane", "P1"
    source.PatientBirthDate, source.PatientBirthTime = "19660101", "0101"
    source.PatientAge, source.PatientWeight, source.PregnancyStatus = "054Y", 70, 4
    source.ProcedureCodeSequence, source.OtherPatientIDsSequence = [code], [other]
    content = io.BytesIO()
    source.save_as(content, enforce_file_format=True)
    return content.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_what_is_taken_over_can_always_be_written(seed: int) -> None:
    """Bytes turned at random change VRs, lengths and values; the copy is still a data set."""
    chance = random.Random(seed)
    sound = header()
    start = sound.find(b"\x08\x00\x20\x00")
    for _ in range(400):
        content = bytearray(sound)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(start, len(content))] = chance.randrange(256)
        try:
            source = dcmread(io.BytesIO(content), stop_before_pixels=True)
        except (InvalidDicomError, ValueError, EOFError, NotImplementedError, AttributeError):
            continue
        taken = patient_and_study(source, "1.2.3")
        written = io.BytesIO()
        taken.save_as(written, implicit_vr=False, little_endian=True)
        assert taken.StudyInstanceUID == "1.2.3"
