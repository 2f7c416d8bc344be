"""Structured reports with measurements, as a lung function laboratory sends them."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

ENHANCED_SR = UID("1.2.840.10008.5.1.4.1.1.88.22")


def code(value: str, scheme: str, meaning: str = "x") -> Dataset:
    """Return a code item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def num(
    concept: tuple[str, str], value: str, unit: str, scheme: str = "UCUM", moment: str = ""
) -> Dataset:
    """Return a NUM content item; `concept` is (scheme, value)."""
    item, measured = Dataset(), Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "NUM"
    item.ConceptNameCodeSequence = Items([code(concept[1], concept[0])])
    measured.NumericValue = value
    measured.MeasurementUnitsCodeSequence = Items([code(unit, scheme)])
    item.MeasuredValueSequence = Items([measured])
    if moment:
        item.ObservationDateTime = moment
    return item


def container(items: Sequence[Dataset]) -> Dataset:
    """Return a CONTAINER of items."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "CONTAINER"
    item.ContentSequence = Items(items)
    return item


def report(items: Sequence[Dataset], study: str = "", patient: str = "P1") -> Dataset:
    """Return a report of 15 March 2026 with its file meta information."""
    found = container(items)
    del found.RelationshipType
    found.SOPClassUID = ENHANCED_SR
    found.SOPInstanceUID = generate_uid()
    found.StudyInstanceUID = study or generate_uid()
    found.SeriesInstanceUID = generate_uid()
    found.Modality = "SR"
    found.PatientID = patient
    found.ContentDate, found.ContentTime = "20260315", "101500"
    found.file_meta = FileMetaDataset()
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return found
