"""How a header's free words become the few that profiles are matched by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from work.phantoms import image

from gatekeeper.work.protocol import Protocol, protocol, skip_reason

WORDS = [
    ("anat-T1w", "T1"),
    ("MPRAGE", "T1"),
    ("t1_mprage_sag_p2_iso", "T1"),
    ("Ax 3D SPGR", "T1"),
    ("Sag FSPGR BRAVO", "T1"),
    ("T1TFE", "T1"),
    ("T1 FLAIR ax", "T1"),
    ("t1_mprage post GD", "T1C"),
    ("T1 +C", "T1C"),
    ("pre and post gad T1", "T1C"),
    ("T1 pre contrast", "T1"),
    ("T1 without contrast", "T1"),
    ("T1 post-op", "T1"),
    ("t2_tse_tra", "T2"),
    ("t2_tra", "T2"),
    ("T2 FLAIR", "FLAIR"),
    ("t2_tirm_tra_dark-fluid", "FLAIR"),
    ("FLAIR 3D GD", "FLAIRC"),
    ("tirm cor", "STIR"),
    ("T2* GRE", "T2STAR"),
    ("t2_fl2d_tra_hemo", "T2STAR"),
    ("SWI_Images", "SWI"),
    ("ep2d_diff_tra_DYNDISTCALC_BVAL", "DWI"),
    ("dti 64 dir", "DWI"),
    ("tra b1000", "DWI"),
    ("ep2d_diff_ADC", "ADC"),
    ("TOF 3D multi-slab", "ANGIO"),
    ("ep2d_bold rest", "BOLD"),
    ("DSC perfusion", "PERFUSION"),
    ("PD fs sag", "PD"),
    ("CISS 3D", "SSFP"),
    ("T1 map", "MAP"),
    ("T12 level", ""),
    ("something else", ""),
]


@pytest.mark.parametrize(("words", "sequence"), WORDS)
def test_series_words_name_the_contrast(words: str, sequence: str) -> None:
    """The words that scanners and sites write are read as the contrast they mean."""
    assert protocol(image(0, description=words)).sequence == sequence


@pytest.mark.parametrize(
    ("times", "sequence"),
    [
        ({"ScanningSequence": "SE", "RepetitionTime": 500, "EchoTime": 12}, "T1"),
        ({"ScanningSequence": "SE", "RepetitionTime": 4000, "EchoTime": 100}, "T2"),
        ({"ScanningSequence": "SE", "RepetitionTime": 2500, "EchoTime": 20}, "PD"),
        ({"ScanningSequence": "GR", "RepetitionTime": 8, "EchoTime": 3}, "T1"),
        ({"ScanningSequence": "GR", "RepetitionTime": 600, "EchoTime": 20}, "T2STAR"),
        (
            {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000, "EchoTime": 120,
             "InversionTime": 2500},
            "FLAIR",
        ),
        (
            {"ScanningSequence": ["GR", "IR"], "RepetitionTime": 2300, "EchoTime": 3,
             "InversionTime": 900},
            "T1",
        ),
        (
            {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 4000, "EchoTime": 40,
             "InversionTime": 150},
            "STIR",
        ),
        ({"ScanningSequence": "EP", "RepetitionTime": 3000, "EchoTime": 70}, ""),
        ({"RepetitionTime": 3000}, ""),
    ],
)  # fmt: skip
def test_times_name_the_contrast_where_words_do_not(times: dict[str, Any], sequence: str) -> None:
    """Without a telling word, TR, TE and TI decide, or nothing does."""
    assert protocol(image(0, description="series 3", **times)).sequence == sequence


def test_words_outweigh_times() -> None:
    """A T2-weighted description is not overruled by times of a T1."""
    header = image(0, description="t2_tra", RepetitionTime=500, EchoTime=10)

    assert protocol(header).sequence == "T2"


def test_acquisition_contrast_of_enhanced_objects_is_read() -> None:
    """Where words are silent, the coded Acquisition Contrast speaks."""
    header = image(0, description="", AcquisitionContrast="FLUID_ATTENUATED")

    assert protocol(header).sequence == "FLAIR"


def test_a_contrast_agent_makes_another_contrast() -> None:
    """A T1 after contrast agent is not judged by a profile of T1 without."""
    assert protocol(image(0, ContrastBolusAgent="Gadovist")).sequence == "T1C"
    assert protocol(image(0, ContrastBolusAgent="NONE")).sequence == "T1"
    before = image(0, description="t1 pre", ContrastBolusAgent="Gadovist")
    assert protocol(before).sequence == "T1"


@pytest.mark.parametrize(
    ("fields", "body_part"),
    [
        ({"BodyPartExamined": "BRAIN"}, "BRAIN"),
        ({"BodyPartExamined": "HEAD"}, "BRAIN"),
        ({"BodyPartExamined": "PROSTATE"}, "PELVIS"),
        ({"BodyPartExamined": "THORAX"}, "CHEST"),
        ({"BodyPartExamined": "LUNG"}, "CHEST"),
        ({"BodyPartExamined": "LSPINE"}, "SPINE"),
        ({"ProtocolName": "DM_Thor_SIN__DM"}, "CHEST"),
        ({"StudyDescription": "MR prostaat kanker detectie"}, "PELVIS"),
        ({"StudyDescription": "MRT Schädel nativ"}, "BRAIN"),
        ({"StudyDescription": "CT chest abdomen pelvis"}, ""),
        ({"BodyPartExamined": "HEADNECK", "ProtocolName": "brain"}, "BRAIN"),
        ({"BodyPartExamined": "KNEE", "StudyDescription": "brain"}, "KNEE"),
        ({"StudyDescription": "Hanke_Stadler^0024_transrep"}, ""),
        ({}, ""),
    ],
)
def test_the_body_part_is_the_first_that_one_field_names_alone(
    fields: dict[str, Any], body_part: str
) -> None:
    """BodyPartExamined first, then words; a field that names several parts decides nothing."""
    header = image(0, description="t1", SpecificCharacterSet="ISO_IR 192", **fields)

    assert protocol(header).body_part == body_part


def test_the_anatomic_region_of_enhanced_objects_is_read() -> None:
    """Frame Anatomy in the shared functional groups names the body part."""
    region, anatomy, shared = Dataset(), Dataset(), Dataset()
    region.CodeMeaning = "Brain"
    anatomy.AnatomicRegionSequence = [region]
    shared.FrameAnatomySequence = [anatomy]

    assert protocol(image(0, SharedFunctionalGroupsSequence=[shared])).body_part == "BRAIN"


def test_a_protocol_reads_as_a_phrase() -> None:
    """Reasons name modality, body part and contrast, and say what is not stated."""
    assert str(Protocol("MR", "PELVIS", "T2")) == "MR PELVIS T2"
    assert str(Protocol("CT", "CHEST")) == "CT CHEST"
    assert str(Protocol("MR")) == "MR (body part not stated) (contrast not known)"


def test_contrast_is_for_mr_alone() -> None:
    """A CT whose protocol says T1 has no MR contrast."""
    assert protocol(image(0, modality="CT", description="T1 plan")) == Protocol("CT")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer"),
        ({"SeriesDescription": "3-plane Localizer"}, "a localizer"),
        ({"SeriesDescription": "AAHead_Scout_64ch"}, "a localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "a screen capture"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "a projection"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "a secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}, "a secondary capture"),
        ({"SamplesPerPixel": 3}, "a colour picture"),
        (
            {"Manufacturer": "Gatekeeper", "ManufacturerModelName": "Gatekeeper"},
            "one of our own results",
        ),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, None),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]}, None),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, None),
        ({"Manufacturer": "Gatekeeper"}, None),
    ],
)
def test_pictures_of_data_are_not_assessed(fields: dict[str, Any], reason: str | None) -> None:
    """Localizers, captures and renderings are named; a derived image alone is still an image."""
    assert skip_reason(image(0, **fields)) == reason


def test_a_converted_7t_scan_is_a_t1_of_no_stated_body_part(shared_data: Path) -> None:
    """A real series with ImageType DERIVED\\SECONDARY and neither TR, TE nor body part is a T1."""
    header = dcmread(
        shared_data / "brain_t1_structural_dicom/dicoms/N2D_0001.dcm", stop_before_pixels=True
    )

    assert protocol(header) == Protocol("MR", "", "T1")
    assert skip_reason(header) is None


@given(st.text(max_size=64), st.text(max_size=64))
def test_nothing_of_the_free_text_is_passed_on(series: str, study: str) -> None:
    """Whatever is typed, the protocol is made of the tables' words."""
    header = Dataset()
    header.Modality = "MR"
    header.SeriesDescription = series.replace("\\", "")
    header.StudyDescription = study.replace("\\", "")
    found = protocol(header)

    assert found.body_part.isupper() or not found.body_part
    assert found.body_part.isalpha() or not found.body_part
    assert found.sequence.isalnum() or not found.sequence
    assert len(found.body_part) < 12
    assert len(found.sequence) < 12
