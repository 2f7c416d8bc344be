"""Modules that every result object shares: equipment, series, SOP Common, and the file itself."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import datetime

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from gatekeeper import __version__
from gatekeeper.lesions.finding import ScoredLesion
from gatekeeper.results import codes, uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import (
    analysis_time,
    patient_and_study,
    put,
)
from gatekeeper.results.text import plain, settle_character_set
from gatekeeper.results.texts import Text

MANUFACTURER = "Gatekeeper"
MODEL = "Gatekeeper"
LESION_CALIBRATION = "Platt"
"""What the lesion bundles are calibrated by: Platt's scaling."""


def is_image(header: Dataset) -> bool:
    """Tell whether an instance is an image, by its SOP class or its matrix."""
    return "Image Storage" in UID(str(header.get("SOPClassUID", ""))).name or "Rows" in header


def images(series: SeriesAssessment) -> list[Dataset]:
    """Return the headers of a series that are images."""
    return [header for header in series.source.headers if is_image(header)]


def first_header(series: SeriesAssessment) -> Dataset:
    """Return the header that stands for a series: its first slice's, else its first image's.

    A series of which no header could be read has an empty one.
    """
    if series.source.slices:
        return series.source.slices[0].header
    return next(iter((*images(series), *series.source.headers)), Dataset())


def new_object(
    study: StudyAssessment,
    source: Dataset,
    sop_class: str,
    series_uid: str,
    number: int,
    description: str,
    foreign: Iterable[str] = (),
) -> Dataset:
    """Return a data set with all but its own modality's modules; it has no instance UID yet.

    Args:
        study: the job's answer.
        source: an image of the study, for patient and study.
        sop_class: its SOP Class UID.
        series_uid: its SeriesInstanceUID.
        number: its SeriesNumber.
        description: its SeriesDescription, cut at 64 characters.
        foreign: other texts from the source that will be in it, for its character set.
    """
    target = patient_and_study(source, study.study_instance_uid)
    settle_character_set(target, (description, study.institution, study.words.alphabet, *foreign))
    moment = analysis_time(target.get("TimezoneOffsetFromUTC"), study.created_at)
    target.SOPClassUID = UID(sop_class)
    for entity in ("InstanceCreation", "Series", "Content"):
        put(target, f"{entity}Date", moment.strftime("%Y%m%d"))
        put(target, f"{entity}Time", moment.strftime("%H%M%S.%f"))
    target.SeriesInstanceUID = UID(series_uid)
    target.SeriesNumber = number
    put(target, "SeriesDescription", description[:64])
    target.Manufacturer = MANUFACTURER
    target.ManufacturerModelName = MODEL
    target.SoftwareVersions = __version__
    put(target, "StationName", study.ae_title[:16])
    if study.institution:
        put(target, "InstitutionName", study.institution[:64])
    target.ContentQualification = "RESEARCH"
    target.CodingSchemeIdentificationSequence = [codes.coding_scheme_identification()]
    target.ContributingEquipmentSequence = contributing_equipment(study, moment)
    return target


def complete(target: Dataset, instance_uid: str, instance_number: int) -> Dataset:
    """Give a data set its instance UID and number and the file meta information that goes with."""
    target.SOPInstanceUID = UID(instance_uid)
    target.InstanceNumber = instance_number
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = target.SOPClassUID
    meta.MediaStorageSOPInstanceUID = target.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(uids.IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = uids.IMPLEMENTATION_VERSION_NAME
    target.file_meta = meta
    return target


def to_bytes(dataset: Dataset) -> bytes:
    """Return a result as the bytes of a DICOM file (PS3.10), the same on every run."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def assessed(study: StudyAssessment) -> Sequence[SeriesAssessment]:
    """Return the series that a detector answered on, in the study's order."""
    return [
        series
        for series in study.series
        if series.finding is not None and series.volume is not None and series.source.slices
    ]


def measured(study: StudyAssessment) -> Sequence[SeriesAssessment]:
    """Return the series of which a report has numbers: those assessed, then those with lesions."""
    answered = assessed(study)
    return [
        *answered,
        *(one for one in study.series if lesions_of(one) and one not in answered),
    ]


def lesions_of(series: SeriesAssessment) -> Sequence[ScoredLesion]:
    """Return the lesions of a series that were scored."""
    if series.lesions is None or series.volume is None or not series.source.slices:
        return ()
    return series.lesions.lesions


def place_of(study: StudyAssessment, series: SeriesAssessment) -> int:
    """Return the place of a series among the assessed ones, counted from 0."""
    return next((place for place, other in enumerate(assessed(study)) if other is series), 0)


def reference_to(header: Dataset) -> Dataset:
    """Return a reference to an instance (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = UID(str(header.SOPClassUID))
    item.ReferencedSOPInstanceUID = UID(str(header.SOPInstanceUID))
    return item


def contributing_equipment(study: StudyAssessment, moment: datetime) -> list[Dataset]:
    """Return one item for each algorithm that contributed (PS3.3 C.12.1.1.5; IHE AI Results)."""
    findings = {
        series.finding.model_digest: series.finding
        for series in assessed(study)
        if series.finding is not None
    }
    parts = [
        (
            f"{finding.detector} {finding.profile}",
            finding.bundle_version,
            digest,
            study.words.say(
                Text.EQUIPMENT, bundle=digest, calibration=plain(finding.calibration_digest)
            ),
        )
        for digest, finding in findings.items()
    ] or [(MODEL, __version__, study.model_digest, study.words.say(Text.EQUIPMENT_NONE))]
    lesion_bundles = {
        series.lesions.bundle_digest: series.lesions.bundle
        for series in study.series
        if series.lesions is not None
    }
    parts += [
        (
            f"lesions {name}",
            digest[:12],
            digest,
            study.words.say(Text.EQUIPMENT, bundle=digest, calibration=LESION_CALIBRATION),
        )
        for digest, name in lesion_bundles.items()
    ]
    items: list[Dataset] = []
    for model, version, digest, description in parts:
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [codes.code_item(codes.PROCESSING_EQUIPMENT)]
        item.Manufacturer = MANUFACTURER
        item.ManufacturerModelName = plain(model)[:64]
        item.SoftwareVersions = [__version__, plain(version)[:64]]
        item.DeviceUID = UID(uids.device(digest))
        item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S.%f%z")
        item.ContributionDescription = description
        items.append(item)
    return items
