"""The study of the golden files, and what it would be otherwise: source, site, answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from pydicom.dataset import Dataset
from results.golden_study import assessed_study, unassessed_study

from gatekeeper.identifiers import Digest, Uid
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.rules.verdict import Judgement, Verdict, judge_finding, judge_study

Studies = list[StudyAssessment]
"""One study that could be assessed, and one that could not."""

_NEEDED = frozenset(
    [
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "FrameOfReferenceUID",
    ]
)

_FIRST = {
    "PatientBirthTime": "101010",
    "PatientSize": "1.75",
    "PatientWeight": "70",
    "PregnancyStatus": 1,
    "LastMenstrualDate": "20231201",
    "Occupation": "Baker",
    "AdditionalPatientHistory": "None of note",
    "PatientComments": "Comment",
    "EthnicGroup": "Group",
    "PhysiciansOfRecord": "Record^Doctor",
    "NameOfPhysiciansReadingStudy": "Reading^Doctor",
    "AdmittingDiagnosesDescription": "Headache",
    "ReferringPhysicianName": "Referring^Doctor",
    "PatientIdentityRemoved": "NO",
    "DeidentificationMethod": "None",
}
_SECOND = {
    "PatientName": "Other^Patient",
    "PatientID": "OTHER",
    "IssuerOfPatientID": "CLINIC",
    "PatientBirthDate": "19800202",
    "PatientBirthTime": "111111",
    "PatientSex": "F",
    "PatientAge": "044Y",
    "PatientSize": "1.65",
    "PatientWeight": "60",
    "PregnancyStatus": 2,
    "LastMenstrualDate": "20231202",
    "Occupation": "Miller",
    "AdditionalPatientHistory": "Long",
    "PatientComments": "Remark",
    "EthnicGroup": "Other",
    "PhysiciansOfRecord": "Other^Record",
    "NameOfPhysiciansReadingStudy": "Other^Reading",
    "AdmittingDiagnosesDescription": "Dizziness",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "By hand",
    "AccessionNumber": "B-4711",
    "StudyID": "S2",
    "StudyDate": "20240202",
    "StudyTime": "130000",
    "StudyDescription": "Skull",
    "ReferringPhysicianName": "Other^Referring",
    "TimezoneOffsetFromUTC": "+0100",
    "SeriesDescription": "t1_other",
    "BodyPartExamined": "HEAD",
    "PatientPosition": "FFS",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.99",
    "PositionReferenceIndicator": "SN",
    "WindowCenter": "300",
    "WindowWidth": "400",
}


def plain() -> Studies:
    """Return the studies with every attribute that a result takes over."""
    return _studies(lambda header: header.update(sequences("1")) or _put(header, _FIRST))


def other_source() -> Studies:
    """Return them of another patient, study and scan."""
    found = _studies(lambda header: header.update(sequences("2")) or _put(header, _SECOND))
    return [replace(one, study_instance_uid=Uid("1.2.3.4")) for one in found]


def other_site() -> Studies:
    """Return them as another installation judges them."""
    return [replace(one, ae_title="OTHER", institution="", series_number=7000) for one in plain()]


def other_answer() -> Studies:
    """Return them judged by another model, to another verdict, at another time."""
    return [_other_answer(one) for one in plain()]


def least() -> Studies:
    """Return them of a source that has only what it must have."""
    return _studies(_keep_needed)


def _studies(change: Callable[[Dataset], object]) -> list[StudyAssessment]:
    """Return the assessed and the other study, each header changed."""
    return [_with_headers(study, change) for study in (assessed_study(), unassessed_study())]


def _with_headers(study: StudyAssessment, change: Callable[[Dataset], object]) -> StudyAssessment:
    series: list[SeriesAssessment] = []
    for one in study.series:
        headers = {str(header.SOPInstanceUID): deepcopy(header) for header in one.source.headers}
        for header in headers.values():
            change(header)
        slices = tuple(
            replace(part, header=headers[str(part.header.SOPInstanceUID)])
            for part in one.source.slices
        )
        source = replace(one.source, headers=tuple(headers.values()), slices=slices)
        series.append(replace(one, source=source))
    return replace(study, series=tuple(series))


def _other_answer(study: StudyAssessment) -> StudyAssessment:
    series = tuple(_judged_otherwise(one) for one in study.series)
    return replace(
        study,
        series=series,
        judgement=judge_study([one.judgement for one in series]),
        created_at=study.created_at + 90_000.5,
        content_digest=Digest.of(b"other content"),
        model_digest=Digest.of(b"other models"),
    )


def _judged_otherwise(series: SeriesAssessment) -> SeriesAssessment:
    if series.finding is None:
        return replace(series, judgement=Judgement(Verdict.UNREADABLE, "Not assessed: broken."))
    finding = replace(
        series.finding,
        p_value=0.5,
        score=1.5,
        detector="quality",
        profile="mr-brain-flair",
        bundle_version="9.9.9",
        model_digest=Digest.of(b"other"),
        calibration_digest=Digest.of(b"another"),
        calibration_description="20 others.",
        map_threshold=2.5,
        map_maximum=9.0,
        map_unit="z",
    )
    return replace(series, finding=finding, judgement=judge_finding(finding, 0.0625))


def _keep_needed(header: Dataset) -> None:
    for element in list(header):
        if element.keyword not in _NEEDED:
            del header[element.tag]


def _put(header: Dataset, values: Mapping[str, Any]) -> None:
    for keyword, value in values.items():
        setattr(header, keyword, value)


def sequences(which: str) -> Dataset:
    """Return the sequences that a result takes over."""
    code, issuer, other, qualifier = Dataset(), Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = f"P{which}", "L", "MR of head"
    issuer.LocalNamespaceEntityID = f"N{which}"
    other.PatientID, other.TypeOfPatientID = f"X{which}", "TEXT"
    qualifier.UniversalEntityID, qualifier.UniversalEntityIDType = f"1.2.{which}", "ISO"
    found = Dataset()
    found.ProcedureCodeSequence = [code]
    found.DeidentificationMethodCodeSequence = [code]
    found.IssuerOfAccessionNumberSequence = [issuer]
    found.OtherPatientIDsSequence = [other]
    found.IssuerOfPatientIDQualifiersSequence = [qualifier]
    return found
