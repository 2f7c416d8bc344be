"""Fields: what a rule may ask about, where its value comes from, and how it is compared.

A field is an attribute by its DICOM keyword (PS3.6), of the items of sequences by dots
(``SharedFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness``), or a fact of ours in
lower case: ``source``, ``series.kind``, ``verdict``. There are no others: private attributes have
no keyword.
"""

from __future__ import annotations

import difflib
import enum
import functools
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword

from gatekeeper.errors import GatekeeperError
from gatekeeper.work.protocol import BODY_PARTS, SEQUENCES

MAXIMUM_DEPTH = 8
"""Keywords in one path."""

_PIXELS = 0x7FE00000


class Kind(enum.StrEnum):
    """How the values of a field are read and compared."""

    TEXT = "text"
    CHOICE = "one of a few words"
    NAME = "person name"
    NUMBER = "number"
    AGE = "age"
    DATE = "date"
    TIME = "time"
    DATETIME = "date and time"
    OPAQUE = "bytes or items"


class Scope(enum.StrEnum):
    """What a field is a fact of."""

    STUDY = "study"
    SERIES = "series"
    JUDGED = "judged"
    """Of the study, once it has a verdict."""


class UnknownFieldError(GatekeeperError):
    """A field that there is none of."""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that a rule may ask about.

    Attributes:
        name: as rules write it.
        kind, scope: see there.
        tags: of a DICOM attribute, from the outermost sequence inwards; empty for a fact of ours.
        choices: values there are, where they are few.
    """

    name: str
    kind: Kind
    scope: Scope
    tags: tuple[int, ...] = ()
    choices: tuple[str, ...] = ()


VERDICTS = ("CLEAR", "SUSPECT", "UNREADABLE", "UNCALIBRATED")
"""Values of `gatekeeper.rules.verdict.Verdict`, here so that no array library is imported."""
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
VOLUME = "volume"
IMAGES = "images"
NO_IMAGES = "no images"
SERIES_KINDS = (
    VOLUME,
    IMAGES,
    NO_IMAGES,
    "localizer",
    "secondary capture",
    "screen capture",
    "report page",
    "projection",
    "rendering",
    "fusion picture",
    "colour picture",
    "own result",
)
"""What a series is: `volume` when its images lie on regular grids, `images` when they do not or
nobody looked, else why it is not for assessment."""
ORIENTATIONS = ("axial", "coronal", "sagittal", "oblique")

_OURS = {
    field.name: field
    for field in (
        Field("source", Kind.TEXT, Scope.STUDY),
        Field("time", Kind.TIME, Scope.STUDY),
        Field("weekday", Kind.CHOICE, Scope.STUDY, choices=WEEKDAYS),
        Field("instances", Kind.NUMBER, Scope.STUDY),
        Field("series", Kind.NUMBER, Scope.STUDY),
        Field("modalities", Kind.TEXT, Scope.STUDY),
        Field("series.kind", Kind.CHOICE, Scope.SERIES, choices=SERIES_KINDS),
        Field("series.body_part", Kind.CHOICE, Scope.SERIES, choices=BODY_PARTS),
        Field("series.contrast", Kind.CHOICE, Scope.SERIES, choices=SEQUENCES),
        Field("series.images", Kind.NUMBER, Scope.SERIES),
        Field("series.orientation", Kind.CHOICE, Scope.SERIES, choices=ORIENTATIONS),
        Field("series.slice_spacing", Kind.NUMBER, Scope.SERIES),
        Field("series.thickness", Kind.NUMBER, Scope.SERIES),
        Field("verdict", Kind.CHOICE, Scope.JUDGED, choices=VERDICTS),
        Field("p_value", Kind.NUMBER, Scope.JUDGED),
        Field("detector", Kind.TEXT, Scope.JUDGED),
        Field("device_calibrated", Kind.CHOICE, Scope.JUDGED, choices=("yes", "no")),
    )
}
OUR_FIELDS = tuple(_OURS)
"""Names of the facts that are no DICOM attributes."""

# Attributes of patient and study (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1, C.7.2.2, C.7.2.3): the same in
# every series. All others are taken from each series by itself.
_OF_STUDY = """
    PatientName PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence TypeOfPatientID
    OtherPatientIDs OtherPatientIDsSequence OtherPatientNames PatientBirthDate PatientBirthTime
    PatientBirthName PatientSex PatientMotherBirthName MilitaryRank BranchOfService
    MedicalRecordLocator MedicalAlerts Allergies CountryOfResidence RegionOfResidence
    PatientTelephoneNumbers EthnicGroup Occupation SmokingStatus AdditionalPatientHistory
    PregnancyStatus LastMenstrualDate PatientReligiousPreference PatientComments PatientAddress
    PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription
    PatientBreedCodeSequence ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization
    PatientSexNeutered QualityControlSubject ReferencedPatientSequence
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
    StudyInstanceUID StudyID StudyDate StudyTime StudyDescription AccessionNumber
    IssuerOfAccessionNumberSequence ReferringPhysicianName
    ReferringPhysicianIdentificationSequence ConsultingPhysicianName PhysiciansOfRecord
    PhysiciansOfRecordIdentificationSequence NameOfPhysiciansReadingStudy
    PhysiciansReadingStudyIdentificationSequence RequestingService
    RequestingServiceCodeSequence RequestingPhysician ReasonForVisit
    ReasonForPerformedProcedureCodeSequence ProcedureCodeSequence ReferencedStudySequence
    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName
    ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
    ClinicalTrialSubjectReadingID ClinicalTrialTimePointID ClinicalTrialTimePointDescription
    PatientAge PatientSize PatientWeight PatientBodyMassIndex MeasuredAPDimension
    MeasuredLateralDimension PatientSizeCodeSequence AdmissionID ServiceEpisodeID
    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence ServiceEpisodeDescription
"""
_STUDY_KEYWORDS = frozenset(_OF_STUDY.split())

_KINDS = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"), Kind.TEXT),
    **dict.fromkeys(
        ("DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "US or SS"), Kind.NUMBER
    ),
    "PN": Kind.NAME,
    "AS": Kind.AGE,
    "DA": Kind.DATE,
    "TM": Kind.TIME,
    "DT": Kind.DATETIME,
}


@functools.lru_cache(maxsize=4096)
def field_of(name: str) -> Field:
    """Return the field of this name.

    Raises:
        UnknownFieldError: saying which one may have been meant.
    """
    if name in _OURS:
        return _OURS[name]
    parts = name.split(".")
    if len(parts) > MAXIMUM_DEPTH:
        raise UnknownFieldError(f"a path of {len(parts)} keywords, and {MAXIMUM_DEPTH} are allowed")
    tags = tuple(_tag(part, name) for part in parts)
    for part, tag in zip(parts[:-1], tags[:-1], strict=True):
        if dictionary_VR(tag) != "SQ":
            raise UnknownFieldError(f"{part} is no sequence: nothing lies in it")
    if tags[0] >= _PIXELS:
        raise UnknownFieldError(f"{name}: headers are read up to the pixel data alone")
    kind = _KINDS.get(dictionary_VR(tags[-1]), Kind.OPAQUE)
    scope = Scope.STUDY if parts[0] in _STUDY_KEYWORDS else Scope.SERIES
    return Field(name, kind, scope, tags)


def _tag(part: str, name: str) -> int:
    tag = tag_for_keyword(part)
    if tag is not None and part:
        return int(tag)
    raise UnknownFieldError(
        f"{name!r} is neither a DICOM keyword nor a fact of a study{_meant(part, name)}; "
        f"besides keywords there are {', '.join(OUR_FIELDS)}"
    )


def _meant(part: str, name: str) -> str:
    known = {word.casefold(): word for word in (*OUR_FIELDS, *keyword_dict) if word}
    for word in (name, part):
        near = difflib.get_close_matches(word.casefold(), known, n=2, cutoff=0.75)
        if near:
            return f" (meant: {' or '.join(known[one] for one in near)}?)"
    return ""
