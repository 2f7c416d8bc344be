"""Codes used in the results: those of public schemes, and our private scheme, declared.

No public scheme has a code for an anomaly score, a conformal p-value or a gate's decision. Ours
are in the scheme `99GATEKEEPER`, which each object that uses it identifies by UID
(PS3.3 Table 12-1, Coding Scheme Identification Sequence), so that no other scheme of that name is
taken for it. `docs/results.md` lists them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from gatekeeper.identifiers import Uid
from gatekeeper.results.catalogue import Catalogue
from gatekeeper.results.text import plain
from gatekeeper.rules.verdict import Verdict

SCHEME = "99GATEKEEPER"
SCHEME_UID = Uid.derive("gatekeeper", "coding scheme")


def _ours(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


GATE_VERDICT = _ours("VERDICT", "Gate verdict")
VERDICTS = {
    Verdict.CLEAR: _ours("CLEAR", "Clear: not held"),
    Verdict.SUSPECT: _ours("SUSPECT", "Suspect: held"),
    Verdict.UNREADABLE: _ours("UNREADABLE", "Unreadable: not decided"),
    Verdict.UNCALIBRATED: _ours("UNCALIBRATED", "Uncalibrated: not decided"),
}
AGAINST_REFERENCE = _ours("AGAINST_REF", "Scan compared with the reference subjects")
WHOLE_SERIES = _ours("SERIES", "Whole series compared with reference subjects")
REGION = _ours("REGION", "Region unlike the reference subjects")
SCORE = _ours("SCORE", "Anomaly score")
P_VALUE = _ours("P_VALUE", "Conformal p-value")
HOLD_RATE = _ours("HOLD_RATE", "False-hold rate")
REFERENCES = _ours("REFERENCES", "Number of reference subjects")
MAP_PEAK = _ours("MAP_PEAK", "Anomaly map, peak")
MAP_MEAN = _ours("MAP_MEAN", "Anomaly map, mean")
MAP_THRESHOLD = _ours("MAP_THRESHOLD", "Anomaly map, threshold of regions")
CENTRE = (
    _ours("CENTRE_LEFT", "Centre, toward the patient's left"),
    _ours("CENTRE_BACK", "Centre, toward the patient's back"),
    _ours("CENTRE_HEAD", "Centre, toward the patient's head"),
)
PROBABILITY_LOW = _ours("CANCER_LOW", "Probability of cancer, lower end of 95 % interval")
PROBABILITY_HIGH = _ours("CANCER_HIGH", "Probability of cancer, upper end of 95 % interval")
PREVALENCE = _ours("PREVALENCE", "Part of malignant patients in the calibration")
ANOMALY_MAP = _ours("ANOMALY_MAP", "Calibrated distance from normal, overlaid")
MAP_VALUE = _ours("MAP_VALUE", "Calibrated distance from normal")

ALL_OURS: tuple[Code, ...] = (
    GATE_VERDICT,
    *VERDICTS.values(),
    AGAINST_REFERENCE,
    WHOLE_SERIES,
    REGION,
    SCORE,
    P_VALUE,
    HOLD_RATE,
    REFERENCES,
    MAP_PEAK,
    MAP_MEAN,
    MAP_THRESHOLD,
    *CENTRE,
    PROBABILITY_LOW,
    PROBABILITY_HIGH,
    PREVALENCE,
    ANOMALY_MAP,
    MAP_VALUE,
)


class LevelPart(StrEnum):
    """What is told of one level; the value begins the code."""

    SCORE = "S"
    MEDIAN = "M"
    P_VALUE = "P"


_LEVEL_MEANINGS = {
    LevelPart.SCORE: "Anomaly score, level '{}'",
    LevelPart.MEDIAN: "Median of the reference, level '{}'",
    LevelPart.P_VALUE: "Conformal p-value, level '{}'",
}
_KEY = 13
"""Characters of a level's key, 5 bits each."""
_NAME = 31
"""Characters of a level's name that every meaning has room for: Code Meaning has 64 (LO)."""
_LEVEL_CODE = re.compile(rf"([SMP])_([A-Z2-7]{{{_KEY}}})")


@dataclass(frozen=True, slots=True)
class LevelCode:
    """What a level's code says: of which level, by its key and its name, and what of it."""

    part: LevelPart
    key: str
    name: str


def level_score(level: str) -> Code:
    """Return the code of one level's score."""
    return _level(LevelPart.SCORE, level)


def level_p_value(level: str) -> Code:
    """Return the code of one level's p-value."""
    return _level(LevelPart.P_VALUE, level)


def level_median(level: str) -> Code:
    """Return the code of the reference subjects' median score at one level."""
    return _level(LevelPart.MEDIAN, level)


def level_of(code: Code) -> LevelCode | None:
    """Return which level a code is of; None when it is of none."""
    found = _LEVEL_CODE.fullmatch(code.value)
    if found is None or code.scheme_designator != SCHEME:
        return None
    part = LevelPart(found[1])
    before, after = _LEVEL_MEANINGS[part].split("{}")
    return LevelCode(part, found[2], code.meaning.removeprefix(before).removesuffix(after))


def _level(part: LevelPart, level: str) -> Code:
    """Return a level's code: its name is too long for a value, so the value has its digest.

    So two levels never share a code, and a level has the same one in every bundle.
    """
    key = base64.b32encode(hashlib.sha256(level.encode()).digest()).decode("ascii")[:_KEY]
    name = plain(level)
    if name != level or len(name) > _NAME or not name.isprintable():
        kept = "".join(letter if letter.isprintable() else "?" for letter in name)
        name = f"{kept[: _NAME - 8]}~{key[:7]}"
    return _ours(f"{part}_{key}", _LEVEL_MEANINGS[part].format(name))


# CID 222 'Normality Codes' (PS3.16): what the comparison with the reference says, not the patient.
NORMALITY = {
    Verdict.CLEAR: Code("17621005", "SCT", "Normal"),
    Verdict.SUSPECT: Code("263654008", "SCT", "Abnormal"),
    Verdict.UNREADABLE: Code("371934000", "SCT", "Undetermined"),
    Verdict.UNCALIBRATED: Code("371934000", "SCT", "Undetermined"),
}
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
COMMENT = Code("121106", "DCM", "Comment")
CONCLUSION = Code("121077", "DCM", "Conclusion")
CONCLUSIONS = Code("121076", "DCM", "Conclusions")
DEVICE = Code("121007", "DCM", "Device")
FINDING = Code("121071", "DCM", "Finding")
FINDINGS = Code("121070", "DCM", "Findings")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
LESION = Code("52988006", "SCT", "Lesion")
MODALITY = Code("121139", "DCM", "Modality")
PROBABILITY_OF_CANCER = Code("111047", "DCM", "Probability of cancer")
PROCEDURE_DESCRIPTION = Code("121065", "DCM", "Procedure Description")
PROCEDURE_DESCRIPTIONS = Code("121064", "DCM", "Current Procedure Descriptions")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
SOURCE = Code("260753009", "SCT", "Source")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
STUDY_FINDINGS = Code("18782-3", "LN", "Radiology Study observation (findings)")
VOLUME = Code("118565006", "SCT", "Volume")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")

NO_UNITS = Code("1", "UCUM", "no units")
MILLIMETRE = Code("mm", "UCUM", "mm")
CUBIC_MILLIMETRE = Code("mm3", "UCUM", "mm3")
PERCENT = Code("%", "UCUM", "Percent")
SUBJECTS = Code("{subjects}", "UCUM", "subjects")

# CID 29 'Acquisition Modality' (PS3.16), those that a source may have.
MODALITIES = {
    "CR": Code("CR", "DCM", "Computed Radiography"),
    "CT": Code("CT", "DCM", "Computed Tomography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
    "MG": Code("MG", "DCM", "Mammography"),
    "MR": Code("MR", "DCM", "Magnetic Resonance"),
    "NM": Code("NM", "DCM", "Nuclear Medicine"),
    "PT": Code("PT", "DCM", "Positron emission tomography"),
    "US": Code("US", "DCM", "Ultrasound"),
    "XA": Code("XA", "DCM", "X-Ray Angiography"),
}


def language(words: Catalogue) -> Code:
    """Return the code of a language (CID 5000 'Languages', PS3.16)."""
    return Code(words.language, "RFC5646", words.name)


def code_item(code: Code) -> Dataset:
    """Return a code sequence item (PS3.3 section 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def coding_scheme_identification() -> Dataset:
    """Return the item that declares our private scheme (PS3.3 Table 12-1)."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeUID = UID(SCHEME_UID)
    item.CodingSchemeName = "Gatekeeper results"
    item.CodingSchemeResponsibleOrganization = "Gatekeeper"
    return item


SEGMENTATION = Code("113076", "DCM", "Segmentation")
# CID 7150 'Segmentation Property Categories' (PS3.16): a place, not a tissue and not an illness.
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
# CID 4031 'Common Anatomic Regions' (PS3.16), by the defined terms of BodyPartExamined.
ENTIRE_BODY = Code("38266002", "SCT", "Entire body")
ANATOMY = {
    "ABDOMEN": Code("818981001", "SCT", "Abdomen"),
    "BRAIN": Code("12738006", "SCT", "Brain"),
    "CHEST": Code("816094009", "SCT", "Chest"),
    "HEAD": Code("69536005", "SCT", "Head"),
    "HEART": Code("80891009", "SCT", "Heart"),
    "LIVER": Code("10200004", "SCT", "Liver"),
    "NECK": Code("45048000", "SCT", "Neck"),
    "PELVIS": Code("816092008", "SCT", "Pelvis"),
    "PROSTATE": Code("41216001", "SCT", "Prostate"),
    "SPINE": Code("421060004", "SCT", "Spine"),
}


def public() -> list[Code]:
    """Return every code of a public scheme that is defined here, by scheme and value."""
    tables = [value for value in globals().values() if isinstance(value, dict)]
    found = {
        value
        for value in (*globals().values(), *(one for of in tables for one in of.values()))
        if isinstance(value, Code) and value.scheme_designator != SCHEME
    }
    return sorted(found, key=lambda code: (code.scheme_designator, code.value))
