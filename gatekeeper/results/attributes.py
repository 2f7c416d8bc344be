"""What a result takes over from its source: patient and study, unchanged but for their errors.

Identifiers (names, patient ID, accession number, study ID) are copied to the letter, even when the
source made them too long: a changed identifier would file the result under another patient or
order. Everything else is copied when it is valid and left out, emptied or shortened when it is
not, so that a source's error is never a result's error.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pydicom.valuerep import PersonName, format_number_as_ds

from gatekeeper.errors import IdentifierError
from gatekeeper.identifiers import Uid
from gatekeeper.results.text import needs_character_set, source_character_set

IDENTIFIERS = ("PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID")
# Type 2: present in every object, empty when unknown (PS3.3 C.7.1.1, C.7.2.1).
REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
OPTIONAL = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthTime",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PregnancyStatus",
    "LastMenstrualDate",
    "Occupation",
    "AdditionalPatientHistory",
    "PatientComments",
    "EthnicGroup",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "AdmittingDiagnosesDescription",
    "IssuerOfAccessionNumberSequence",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "TimezoneOffsetFromUTC",
)
# What pydicom raises, reading or writing, on values that are not what their representation says.
_UNUSABLE = (
    AttributeError,
    BytesLengthException,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)
_TEXT_LENGTH = {"LO": 64, "SH": 16, "ST": 1024, "LT": 10240, "UC": 2**31, "UT": 2**31}
# Values that a pattern settles, with how to mend them first; by keyword or by VR.
_PATTERNS: dict[str, tuple[re.Pattern[str], Callable[[str], str]]] = {
    "Laterality": (re.compile(r"[RL]"), str.upper),
    "PatientSex": (re.compile(r"[MFO]"), str.upper),
    "TimezoneOffsetFromUTC": (re.compile(r"[+-](0[0-9]|1[0-4])[0-5][0-9]"), str.strip),
    "AS": (re.compile(r"[0-9]{3}[DWMY]"), str.upper),
    "CS": (re.compile(r"[A-Z0-9_ ]{1,16}"), str.upper),
    "TM": (
        re.compile(r"([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?"),
        lambda text: text.replace(":", ""),
    ),
}


def patient_and_study(source: Dataset, study_instance_uid: str) -> Dataset:
    """Return the Patient, General Study and Patient Study attributes of `source`, sanitised.

    Args:
        source: the data set of any image of the study.
        study_instance_uid: the study, as received.
    """
    target = Dataset()
    character_set = source_character_set(source)
    if character_set:
        target.SpecificCharacterSet = character_set
    for keyword in (*REQUIRED, *OPTIONAL):
        value = _taken_over(source, keyword)
        if value is not None:
            put(target, keyword, value)
        elif keyword in REQUIRED:
            put(target, keyword, "")
    target.StudyInstanceUID = UID(study_instance_uid)
    return target


def lacks_character_set(source: Dataset) -> bool:
    """Tell whether what a result takes over needs a character set and the source states none."""
    return needs_character_set(patient_and_study(source, ""))


def _taken_over(source: Dataset, keyword: str) -> Any:
    """Return the value of an attribute that a result can take over and write, else None.

    A source may state any value representation, so what the library makes of a value (bytes where
    a text is due, a data set where a number is) shows itself only in writing.
    """
    try:
        value = _own(sanitised(source, keyword))
        if value is None:
            return None
        trial = Dataset()
        # Takes any text; which set the object gets is settled once all its text is known.
        trial.SpecificCharacterSet = "ISO_IR 192"
        put(trial, keyword, value)
        trial.save_as(io.BytesIO(), implicit_vr=False, little_endian=True)
    except _UNUSABLE:
        return None
    return _own(value)


def _own(value: Any) -> Any:
    """Return a name made from text anew: the library keeps the bytes of its first writing.

    A name read from a file knows the character set of its bytes, and is as it was.
    """
    made_from_text = isinstance(value, PersonName) and value.encodings is None
    return PersonName(str(value)) if made_from_text else value


def sanitised(source: Dataset, keyword: str) -> Any:
    """Return the valid value of an attribute of `source`, None when absent, empty or invalid."""
    value = _raw(source, keyword)
    if value is None or keyword in IDENTIFIERS:
        return value
    if isinstance(value, Sequence):
        items = [_sanitised_item(item) for item in value]
        return [item for item in items if len(item)] or None
    single = dictionary_VM(keyword) == "1"
    vr = dictionary_VR(keyword)
    values: list[Any] = list(value) if isinstance(value, MultiValue) else [value]
    if single and len(values) > 1 and vr in _TEXT_LENGTH:
        values = [" ".join(str(part) for part in values)]
    kept = [_clean(keyword, vr, part) for part in values]
    if any(part is None for part in kept) or (single and len(kept) > 1):
        return None
    return kept[0] if len(kept) == 1 else kept


def numbers(source: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return the `count` finite numbers of an attribute, None when it does not hold just those."""
    value = _raw(source, keyword)
    parts: list[Any] = list(value) if isinstance(value, MultiValue) else [value]
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def decimal(value: float) -> str:
    """Return a number as a Decimal String of at most 16 characters (PS3.5 section 6.2)."""
    return format_number_as_ds(float(value))


def put(target: Dataset, keyword: str, value: Any) -> None:
    """Set an attribute without the library's complaint about an identifier that is too long."""
    element = DataElement(keyword, dictionary_VR(keyword), value, validation_mode=config.IGNORE)
    target[element.tag] = element


def analysis_time(study_offset: str | None, created_at: float) -> datetime:
    """Return the job's creation in the source's time zone, or in UTC where it states none.

    Args:
        study_offset: TimezoneOffsetFromUTC as ``+HHMM``, or None.
        created_at: seconds since epoch, UTC.
    """
    if not study_offset:
        return datetime.fromtimestamp(created_at, UTC)
    minutes = int(study_offset[1:3]) * 60 + int(study_offset[3:5])
    shift = timedelta(minutes=-minutes if study_offset[0] == "-" else minutes)
    return datetime.fromtimestamp(created_at, timezone(shift))


def _raw(source: Dataset, keyword: str) -> Any:
    """Return an attribute's value; None when it is absent, empty or cannot be decoded."""
    # The library warns of every odd value and raises on the oddest; both are ours to judge here.
    with config.disable_value_validation():
        try:
            value: Any = source.get(keyword)
        except _UNUSABLE:
            return None
    return None if value is None or value in ("", []) else value


def _sanitised_item(item: Dataset) -> Dataset:
    kept = Dataset()
    for tag in item.keys():  # noqa: SIM118 - iterating the item itself would decode its values
        keyword = keyword_for_tag(tag)
        value = sanitised(item, keyword) if keyword else None
        if value is not None:
            put(kept, keyword, value)
    return kept


def _clean(keyword: str, vr: str, value: Any) -> Any:
    """Return `value` if it is valid for `vr` (PS3.5 section 6.2), mended if it can be, or None."""
    if isinstance(value, PersonName):
        return value
    text = str(value).strip()
    if keyword in _PATTERNS or vr in _PATTERNS:
        pattern, mend = _PATTERNS.get(keyword) or _PATTERNS[vr]
        return mend(text) if pattern.fullmatch(mend(text)) else None
    if vr in _TEXT_LENGTH:
        return text[: _TEXT_LENGTH[vr]]
    try:
        convert = _NUMBERS.get(keyword) or _NUMBERS.get(vr)
        return None if convert is None else convert(value)
    except (TypeError, ValueError, OverflowError, IdentifierError):
        return None


def _date(value: Any) -> str:
    digits = str(value).strip().replace(".", "")
    datetime.strptime(digits, "%Y%m%d")  # noqa: DTZ007 - a date has no time zone
    if len(digits) != 8:
        raise ValueError("not YYYYMMDD")
    return digits


def _finite_decimal(value: Any) -> str:
    if not math.isfinite(float(value)):
        raise ValueError("not finite")
    # A value that was read keeps the characters it was written with.
    written = str(value).strip()
    return written if len(written) <= 16 else decimal(float(value))


def _pregnancy(value: Any) -> int:
    if int(value) not in (1, 2, 3, 4):
        raise ValueError("not a pregnancy status")
    return int(value)


# Values that a conversion settles; it raises on those that are not valid; by keyword or by VR.
_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "PregnancyStatus": _pregnancy,
    "DA": _date,
    "DS": _finite_decimal,
    "IS": int,
    "SS": int,
    "UI": lambda value: UID(Uid.parse(str(value))),
    "US": int,
}
