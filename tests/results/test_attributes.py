"""Patient and study come over unchanged, the source's errors do not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.data import get_charset_files
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from gatekeeper.results.attributes import analysis_time, patient_and_study, put
from gatekeeper.results.text import plain, settle_character_set

STUDY = "1.2.3"


def source(**values: Any) -> Dataset:
    """Return a header with these attributes, as they come undecoded out of a file."""
    header = Dataset()
    for keyword, value in values.items():
        tag = Tag(keyword)
        if dictionary_VR(tag) in ("SQ", "PN", "US"):
            put(header, keyword, value)
            continue
        text = "\\".join(value) if isinstance(value, list) else str(value)
        data = text.encode("latin-1")
        header[tag] = RawDataElement(tag, dictionary_VR(tag), len(data), data, 0, False, True)
    return header


def round_trip(dataset: Dataset) -> Dataset:
    """Return the data set as a reader gets it."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


@pytest.mark.parametrize(
    ("keyword", "given", "kept"),
    [
        ("PatientAge", "42", None),
        ("PatientAge", "042y", "042Y"),
        ("PatientBirthDate", "1966.01.31", "19660131"),
        ("PatientBirthDate", "19660231", ""),
        ("PatientBirthDate", "1966", ""),
        ("PatientSex", "female", ""),
        ("PatientSex", "f", "F"),
        ("PatientWeight", "75", "75"),
        ("PatientWeight", "75.12345678901234567", "75.1234567890124"),
        ("PatientWeight", "heavy", None),
        ("PregnancyStatus", 4, 4),
        ("PregnancyStatus", 9, None),
        ("StudyTime", "14:15:00", "141500"),
        ("StudyTime", "2515", ""),
        ("StudyTime", "114731.187000", "114731.187000"),
        ("StudyDescription", "x" * 70, "x" * 64),
        ("StudyDescription", ["Head", "Neck"], "Head Neck"),
        ("TimezoneOffsetFromUTC", "+02:00", None),
        ("TimezoneOffsetFromUTC", "-0330", "-0330"),
        ("AccessionNumber", "12345678901234567890", "12345678901234567890"),
        ("PatientID", "p" * 70, "p" * 70),
        ("PatientID", " 007", " 007"),
    ],
)
def test_a_source_error_is_mended_or_left_out(keyword: str, given: Any, kept: Any) -> None:
    """Invalid values are emptied when required, else dropped; identifiers stay to the letter."""
    target = patient_and_study(source(**{keyword: given}), STUDY)
    value = target.get(keyword)

    assert (None if value is None else str(value)) == (None if kept is None else str(kept))


def test_what_every_object_needs_is_there_though_empty() -> None:
    """A source without patient or study attributes gives the required ones, empty."""
    target = patient_and_study(Dataset(), STUDY)

    assert {element.keyword for element in target} == {
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyID",
    }
    assert target.StudyInstanceUID == STUDY


def test_a_sequence_comes_over_without_its_private_and_broken_parts() -> None:
    """Issuer items keep their valid attributes only."""
    item = source(LocalNamespaceEntityID="ISSUER", UniversalEntityIDType="not a code string")
    item.add_new(0x00990010, "LO", "SECRET")
    header = source(IssuerOfAccessionNumberSequence=[item])

    (kept,) = patient_and_study(header, STUDY).IssuerOfAccessionNumberSequence
    assert [element.keyword for element in kept] == ["LocalNamespaceEntityID"]


@pytest.mark.parametrize(
    "path",
    # Those named SQ have their names in sequences.
    [path for path in get_charset_files("*.dcm") if "chrSQ" not in path],
    ids=lambda path: Path(path).stem,
)
def test_a_name_survives_in_its_character_set(path: str) -> None:
    """The bytes of the patient's name in the result are the source's, in every character set."""
    header = dcmread(path)

    copied = round_trip(patient_and_study(header, STUDY))

    assert copied.get("SpecificCharacterSet") == header.get("SpecificCharacterSet")
    assert copied.PatientName == header.PatientName
    assert copied.PatientName.original_string == header.PatientName.original_string


def test_text_outside_the_character_set_makes_the_object_utf_8() -> None:
    """A Japanese name and a German institution both survive, in UTF-8."""
    header = source(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^T=山田^太郎")
    target = patient_and_study(header, STUDY)
    settle_character_set(target, ["Universitätsklinikum"])
    put(target, "InstitutionName", "Universitätsklinikum")

    copied = round_trip(target)

    assert copied.SpecificCharacterSet == "ISO_IR 192"
    assert str(copied.PatientName) == "Yamada^T=山田^太郎"
    assert copied.InstitutionName == "Universitätsklinikum"


def test_a_name_without_its_character_set_keeps_its_bytes() -> None:
    """Where the source states no character set, an archive must read our copy as its own."""
    header = round_trip(source(PatientName=b"M\xfcller^J", PatientID="1"))
    target = patient_and_study(header, STUDY)
    settle_character_set(target, ["Klinik Öhringen"])

    copied = round_trip(target)

    assert "SpecificCharacterSet" not in copied
    assert copied.PatientName.original_string == b"M\xfcller^J"


def test_a_character_set_that_does_not_exist_becomes_utf_8() -> None:
    """A misspelt term is not handed on."""
    header = source(SpecificCharacterSet="ISO-IR-OOPS", PatientName="Doe^J")

    assert patient_and_study(header, STUDY).SpecificCharacterSet == "ISO_IR 192"


def test_our_own_text_is_ascii() -> None:
    """Typographic characters become plain ones, what is left a question mark."""
    assert plain("p ≤ 0.05 – 3 mm³ “x” 山") == 'p <= 0.05 - 3 mm3 "x" ?'


@pytest.mark.parametrize(
    ("offset", "shown"),
    [
        (None, "20250101 000000 +0000"),
        ("+0900", "20250101 090000 +0900"),
        ("-0330", "20241231 203000 -0330"),
    ],
)
def test_times_are_in_the_zone_that_the_source_states(offset: str | None, shown: str) -> None:
    """All times of an object are in one zone: the source's if stated, else UTC."""
    assert f"{analysis_time(offset, 1735689600.0):%Y%m%d %H%M%S %z}" == shown


def test_a_name_made_from_text_is_written_in_the_results_character_set() -> None:
    """Whatever was written before, and in which character set, the name stays the name."""
    source = Dataset()
    source.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    source.PatientName = "Yamada^Tarou=山田^太郎"
    source.save_as(io.BytesIO(), implicit_vr=False, little_endian=True)

    target = patient_and_study(source, "1.2.3")
    target.SpecificCharacterSet = "ISO_IR 192"
    written = io.BytesIO()
    target.save_as(written, implicit_vr=False, little_endian=True)

    read = dcmread(io.BytesIO(written.getvalue()), force=True)
    assert str(read.PatientName) == "Yamada^Tarou=山田^太郎"
