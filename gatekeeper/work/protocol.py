"""How a series was acquired, in the few normalised words that profiles are matched by.

Nothing of the header's free text is passed on: what comes out is drawn from the tables below. The
names of scanner and protocol, by which a site's calibrations are matched, are the exception: they
are reduced to capitals, digits and underscores, and go into no log and no result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from gatekeeper.errors import UnreadableSeries
from gatekeeper.work.values import items, number, text


@dataclass(frozen=True, slots=True)
class Protocol:
    """Modality, body part and MR contrast, each empty when the header does not say.

    Attributes:
        modality: DICOM Modality (PS3.3 C.7.3.1.1.1), ``MR``.
        body_part: ``BRAIN``, ``PELVIS``, ``CHEST`` and the other labels of `_BODY_PARTS`.
        sequence: ``T1``, ``T2``, ``FLAIR`` and the other labels of `_SEQUENCES`; ``T1C`` and
            ``FLAIRC`` after contrast agent; always empty for modalities other than MR.
    """

    modality: str
    body_part: str = ""
    sequence: str = ""

    def __str__(self) -> str:
        parts = [self.modality or "(modality not stated)"]
        parts.append(self.body_part or "(body part not stated)")
        if self.modality == "MR":
            parts.append(self.sequence or "(contrast not known)")
        return " ".join(parts)


_B = r"(?<![a-z])"
"""A word's beginning: digits and underscores may stand before it, letters may not."""

_BODY_PARTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (label, re.compile(_B + f"(?:{words})"))
    for label, words in (
        ("BRAIN", r"brain|cereb|head(?!er)|skull|neuro|cran|encephal|hirn|kopf|sch[aä]e?del|tete"),
        ("PELVIS", r"pelvi|prosta|becken|bekken|bassin|uter(?:us|ine)|ovar|rectum|rectal|bladder"),
        ("CHEST", r"chest|thor|lung|pulmo|poumon|mediast"),
        ("ABDOMEN", r"abdom|liver|leber|hepat|foie|kidney|renal|pancrea|mrcp|spleen|adrenal"),
        ("SPINE", r"[ctl]?[-_ ]?spine|spinal|lumba|sacr|wirbel|[bhl]ws|[ctl]spine|rachis"),
        ("NECK", r"neck|hals|larynx|thyroid|cervical(?![-_ ]*spine)"),
        ("BREAST", r"breast|mamm"),
        ("HEART", r"heart|card(?:i|ac)|herz"),
        ("KNEE", r"knee|knie|genou"),
        ("SHOULDER", r"shoulder|schulter|epaule"),
        ("HIP", r"hip(?![a-z])|hips|h[uü]e?ft"),
        ("EXTREMITY", r"ankle|foot|wrist|hand(?![a-z])|elbow|fuss|femur|tibia|extremity|finger"),
        ("WHOLEBODY", r"whole[-_ ]?body|ganzk"),
    )
)
BODY_PARTS = tuple(label for label, _ in _BODY_PARTS)
"""Every body part that a series may have."""
_BODY_FIELDS = ("BodyPartExamined", "SeriesDescription", "ProtocolName", "StudyDescription")

_E = r"(?![a-z])"
_SEQUENCES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (label, re.compile(words))
    for label, words in (
        ("MAP", rf"{_B}t[12][-_ ]?map|mapping{_E}|molli"),
        ("ADC", rf"{_B}adc{_E}|apparent[-_ ]diff"),
        ("DWI", rf"{_B}(?:dwi|diff|dti|trace|resolve|tensor|ep_b\d)|(?<![a-z0-9])b[-_ ]?\d{{3,4}}"),
        ("PERFUSION", rf"{_B}(?:perf|dsc{_E}|dce{_E}|p?c?asl{_E}|cb[fv]{_E}|mtt{_E})"),
        ("BOLD", rf"{_B}(?:f-?mri|bold{_E}|rest(?:ing)?[-_ ]?state)"),
        ("ANGIO", rf"{_B}(?:tof{_E}|mra{_E}|angio|pca{_E}|cemra)"),
        ("SWI", rf"{_B}(?:swi|swan{_E}|suscept|venobold|qsm{_E})"),
        ("T1", rf"{_B}t1[-_ ]?(?:w[-_ ]?)?(?:3d[-_ ]?)?(?:dark[-_ ]?fluid|flair)"),
        ("FLAIR", rf"{_B}flair|dark[-_ ]?fluid|fluid[-_ ]?atten"),
        ("STIR", rf"{_B}(?:stir{_E}|tirm{_E})"),
        ("T2STAR", rf"{_B}t2[-_ ]?(?:\*|star|s{_E}|ffe)|{_B}he(?:a|ae)?mo{_E}|{_B}medic{_E}"),
        ("SSFP", rf"{_B}(?:fiesta|ciss{_E}|tru(?:e)?[-_ ]?fi|b-?(?:ffe|tfe){_E}|ssfp)"),
        (
            "T1",
            rf"{_B}(?:t1(?!\d)|mp2?rage|i?r?-?f?spgr|bravo{_E}|tfl3d|mdeft|vibe|lava{_E}|thrive)",
        ),
        ("T2", rf"{_B}(?:t2(?!\d)|haste{_E}|ssfse)"),
        ("PD", rf"{_B}(?:pd(?:w|fs)?{_E}|proton|dp{_E})"),
    )
)
_SEQUENCE_FIELDS = ("SeriesDescription", "ProtocolName", "PulseSequenceName", "SequenceName")

_ACQUISITION_CONTRAST = {
    "T1": "T1",
    "T2": "T2",
    "T2_STAR": "T2STAR",
    "PROTON_DENSITY": "PD",
    "FLUID_ATTENUATED": "FLAIR",
    "STIR": "STIR",
    "DIFFUSION": "DWI",
    "PERFUSION": "PERFUSION",
    "TIME_OF_FLIGHT": "ANGIO",
    "TOF": "ANGIO",
    "PHASE_CONTRAST": "ANGIO",
}
"""Acquisition Contrast (0008,9209) of PS3.3 C.8.13.3.1.2 in our words."""

_AGENT = rf"gd{_E}|gad(?:o|{_E})|km{_E}|kontrast|contrast|ce{_E}"
_CONTRAST_WORDS = re.compile(rf"{_B}(?:{_AGENT}|post(?![-_ ]?op|[a-z]))|\+[-_ ]?c{_E}")
_BEFORE_CONTRAST = re.compile(
    rf"{_B}(?:pre|nativ[a-z]*|without|w/?o|non?|ohne|sans){_E}[-_ ]*(?:(?:{_AGENT})[a-z]*)?"
)
_NO_AGENT = frozenset({"", "NO", "NONE", "N", "0", "N/A", "NA", "NO CONTRAST"})

SEQUENCES = (*dict.fromkeys(label for label, _ in _SEQUENCES), "T1C", "FLAIRC")
"""Every MR contrast that a series may have."""

_LOCALIZER_WORDS = re.compile(
    rf"{_B}(?:locali[sz]|scout|survey|topogram|scano(?:gram)?{_E}|3[-_ ]?plane|loc{_E})"
    r"|aahead_scout|smartbrain"
)
_LOCALIZER_TYPES = frozenset({"LOCALIZER", "SCOUT"})
_DERIVED_TYPES = {
    "SCREEN SAVE": "a screen capture",
    "SCREEN SNAPSHOT": "a screen capture",
    "POSDISP": "a screen capture",
    "CSA REPORT": "a report page",
    "CSAPARALLEL": "a screen capture",
    "PROJECTION IMAGE": "a projection",
    "MIP": "a projection",
    "MINIP": "a projection",
    "MIN_IP": "a projection",
    "MAX_IP": "a projection",
    "VRT": "a rendering",
    "3D RENDERING": "a rendering",
    "VOLUMERENDER": "a rendering",
    "SSD": "a rendering",
    "FUSION": "a fusion picture",
}
"""ImageType values 3 and later that say a picture of the data, not the data."""

_MODALITY_BY_SOP_CLASS = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
    "1.2.840.10008.5.1.4.1.1.130": "PT",
}
_MAKERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("SIEMENS", re.compile(r"siemens")),
    ("GE", re.compile(r"^ge(?![a-z])|general electric")),
    ("PHILIPS", re.compile(r"philips")),
    ("CANON", re.compile(r"canon|toshiba")),
    ("FUJIFILM", re.compile(r"fuji|hitachi")),
    ("UIH", re.compile(r"uih|united imaging")),
)
"""Manufacturers by one word, however their names changed."""
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_OWN_NAME = "Gatekeeper"


SPLIT_KEYS = (
    "EchoTime",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TriggerTime",
    "InversionTime",
    "AcquisitionNumber",
    "StackID",
    "ImageType",
    "AcquisitionTime",
    "SeriesTime",
)
"""Attributes that may tell the volumes of one series apart, tried in this order."""


def protocol(header: Dataset) -> Protocol:
    """Return how the series of this header was acquired, as far as the header says."""
    modality = _MODALITY_BY_SOP_CLASS.get(text(header, "SOPClassUID"), "")
    modality = modality or text(header, "Modality").upper()
    sequence = _sequence(header) if modality == "MR" else ""
    return Protocol(modality, _body_part(header), sequence)


def device_name(header: Dataset) -> str:
    """Return the scanner as calibrations name it: ``SIEMENS SKYRA 3T``; empty when not stated.

    Manufacturer in one word, model, and for MR the field strength to 0.1 T (PS3.3 C.7.5.1,
    C.8.3.1.1.1). Serial number and station are left out: scanners of one kind are one.
    """
    made_by = _words(header, "Manufacturer")
    maker = next((label for label, words in _MAKERS if words.search(made_by)), "")
    model = plain_name(text(header, "ManufacturerModelName"))
    words = [maker or plain_name(made_by), model]
    if not any(words):
        return ""
    return " ".join(word for word in (*words, _field_strength(header)) if word)


def protocol_name(header: Dataset) -> str:
    """Return the protocol as calibrations name it: ``T1_MPRAGE_SAG``; empty when not stated.

    ProtocolName (0018,1030), else SeriesDescription (0008,103E).
    """
    stated = text(header, "ProtocolName") or text(header, "SeriesDescription")
    return plain_name(stated)


def plain_name(words: str) -> str:
    """Return `words` in capitals, at most 64, anything but letters and digits as one underscore."""
    return re.sub(r"[^A-Z0-9.+]+", "_", words.upper()).strip("_")[:64]


def _field_strength(header: Dataset) -> str:
    try:
        field = number(header, "MagneticFieldStrength")
    except UnreadableSeries:
        return ""
    if field is None or field <= 0:
        return ""
    tesla = field / 10_000 if field > 100 else field  # some scanners write gauss
    return f"{round(tesla, 1):g}T"


def skip_reason(header: Dataset) -> str | None:
    """Return why a series like this is not for assessment ('a localizer'), or None.

    ImageType DERIVED\\SECONDARY alone is no reason: images converted or resampled elsewhere carry
    it too (PS3.3 C.7.6.1.1.2).
    """
    if is_own_result(header):
        return "one of our own results"
    if text(header, "SOPClassUID").startswith(_SECONDARY_CAPTURE):
        return "a secondary capture"
    by_type = _skipped_type(text(header, "ImageType").upper().split("\\"))
    if by_type is not None:
        return by_type
    if any(_LOCALIZER_WORDS.search(_words(header, field)) for field in _SEQUENCE_FIELDS[:2]):
        return "a localizer"
    if text(header, "SamplesPerPixel") not in ("", "1"):
        return "a colour picture"
    return None


def _skipped_type(image_type: Sequence[str]) -> str | None:
    if _LOCALIZER_TYPES.intersection(image_type):
        return "a localizer"
    return next(
        (_DERIVED_TYPES[value] for value in image_type[2:] if value in _DERIVED_TYPES), None
    )


def is_own_result(header: Dataset) -> bool:
    """Tell whether the object carries the marks of our own results."""
    made_by = (text(header, "Manufacturer"), text(header, "ManufacturerModelName"))
    return made_by == (_OWN_NAME, _OWN_NAME)


def _words(header: Dataset, keyword: str) -> str:
    return text(header, keyword).lower()


def _body_part(header: Dataset) -> str:
    # A field that names several parts ('chest abdomen pelvis') decides nothing; the next may.
    for words in (*(_words(header, field) for field in _BODY_FIELDS), _anatomic_region(header)):
        found = {label for label, pattern in _BODY_PARTS if pattern.search(words)}
        if len(found) == 1:
            return found.pop()
    return ""


def _anatomic_region(header: Dataset) -> str:
    """Return the code meaning of the anatomic region (PS3.3 10.5, C.7.6.16.2.8), in lower case."""
    holders = [header]
    for group in items(header, "SharedFunctionalGroupsSequence"):
        holders += items(group, "FrameAnatomySequence")
    for holder in holders:
        for region in items(holder, "AnatomicRegionSequence"):
            return _words(region, "CodeMeaning")
    return ""


def _sequence(header: Dataset) -> str:
    found = (
        _sequence_by_words(header) or _acquisition_contrast(header) or _sequence_by_times(header)
    )
    if found in ("T1", "FLAIR") and _after_contrast(header):
        return found + "C"
    return found


def _sequence_by_words(header: Dataset) -> str:
    for field in _SEQUENCE_FIELDS:
        words = _words(header, field)
        for label, pattern in _SEQUENCES:
            if pattern.search(words):
                return label
    return ""


def _acquisition_contrast(header: Dataset) -> str:
    holders = [header]
    for group in items(header, "SharedFunctionalGroupsSequence"):
        holders += items(group, "MRImageFrameTypeSequence")
    for holder in holders:
        found = _ACQUISITION_CONTRAST.get(text(holder, "AcquisitionContrast").upper())
        if found:
            return found
    return ""


def _sequence_by_times(header: Dataset) -> str:
    """Return the contrast that TR, TE and TI (ms) make; the ranges of clinical 1.5 T and 3 T."""
    try:
        repetition = number(header, "RepetitionTime")
        echo = number(header, "EchoTime")
        inversion = number(header, "InversionTime") or 0.0
    except UnreadableSeries:
        return ""
    if repetition is None or echo is None:
        return ""
    scanning = text(header, "ScanningSequence").upper().split("\\")
    if "EP" in scanning:
        return ""
    if inversion:
        return _inversion_recovery(inversion, echo)
    if "GR" in scanning and "SE" not in scanning:
        return _gradient_echo(repetition, echo)
    return _spin_echo(repetition, echo)


def _inversion_recovery(inversion: float, echo: float) -> str:
    if inversion >= 1500 and echo >= 60:
        return "FLAIR"
    if inversion <= 300:
        return "STIR"
    return "T1" if echo <= 30 else ""


def _gradient_echo(repetition: float, echo: float) -> str:
    if echo >= 15:
        return "T2STAR"
    return "T1" if echo <= 10 and repetition <= 50 else ""


def _spin_echo(repetition: float, echo: float) -> str:
    if repetition <= 1000 and echo <= 30:
        return "T1"
    if repetition >= 1800 and echo >= 60:
        return "T2"
    return "PD" if repetition >= 1800 and echo <= 45 else ""


def _after_contrast(header: Dataset) -> bool:
    words = " ".join(_words(header, field) for field in _SEQUENCE_FIELDS[:2])
    # 'pre and post gd' leaves 'and post gd'; 't1 without contrast' leaves 't1'.
    rest, negated = _BEFORE_CONTRAST.subn("", words)
    if _CONTRAST_WORDS.search(rest):
        return True
    return not negated and text(header, "ContrastBolusAgent").upper() not in _NO_AGENT
