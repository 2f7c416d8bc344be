"""Facts read from headers: which, from which file, within which bounds."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)
from support.mutants import Kind, mutant
from support.originals import corpus
from support.rules import a_rule
from work.phantoms import STUDY, encoded, image, series

from gatekeeper.listen.file_meta import part10_header
from gatekeeper.rules.evaluate import on_receipt
from gatekeeper.rules.facts import StudyFacts
from gatekeeper.rules.fields import OUR_FIELDS
from gatekeeper.rules.read import File, facts_of, study_facts
from gatekeeper.settings import RuleSettings
from storage.records import Instance, Study, StudyState
from storage.spool import Spool

NOON = datetime(2026, 7, 6, 12, 0, 30).astimezone().timestamp()
"""A Monday."""
EVERYTHING = frozenset(
    {
        *(name for name in OUR_FIELDS if name not in ("verdict", "p_value")),
        "PatientName",
        "StudyDate",
        "ImageType",
        "EchoTime",
        "SliceThickness",
        "SharedFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness",
    }
)


def files_of(datasets: Iterable[Dataset], folder: Path) -> list[File]:
    """Write data sets, and return what the listener knows of them."""
    found: list[File] = []
    for number, dataset in enumerate(datasets):
        path = folder / f"{number:04d}-{dataset.SOPInstanceUID}"
        path.write_bytes(encoded(dataset))
        found.append(a_file(path, dataset))
    return found


def a_file(path: Path, dataset: Dataset) -> File:
    return File(
        str(dataset.SeriesInstanceUID),
        str(dataset.SOPInstanceUID),
        str(dataset.SOPClassUID),
        str(dataset.Modality),
        path,
    )


def facts(files: Sequence[File], *names: str, **limits: Any) -> StudyFacts:
    return facts_of(STUDY, "CT1", files, NOON, frozenset(names), RuleSettings(**limits))


def test_no_file_is_opened_when_no_rule_asks_about_headers(tmp_path: Path) -> None:
    """Source, time, counts and modalities are known without."""
    gone = [
        File(f"1.{series}", f"1.{series}.{number}", "1.2", modality, tmp_path / "gone")
        for series, modality in enumerate(["MR", "SR"])
        for number in range(3)
    ]

    found = facts(gone, "source", "time", "instances", "modalities")

    assert found.problems == ()
    assert found.values["source"] == ("CT1",)
    assert found.values["time"] == (time(12, 0, 30),)
    assert found.values["weekday"] == ("monday",)
    assert found.values["instances"] == (Decimal(6),)
    assert found.values["series"] == (Decimal(2),)
    assert found.values["modalities"] == ("MR", "SR")
    assert [one.series_instance_uid for one in found.series] == ["1.0", "1.1"]


def test_attributes_have_the_type_of_their_vr(tmp_path: Path) -> None:
    """Those of the study once, the others for each series."""
    shared = Dataset()
    shared.PixelMeasuresSequence = Items([Dataset()])
    shared.PixelMeasuresSequence[0].SliceThickness = "2.50"
    one = image(
        0,
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Jörg",
        PatientAge="017Y",
        StudyDate="20240131",
        StudyTime="0102",
        ImageType=["DERIVED", "SECONDARY", "MIP"],
        SliceThickness="1.50",
        AcquisitionDateTime="20240131010203.5+0100",
        TriggerTime="",
        RescaleSlope="0.1",
        SharedFunctionalGroupsSequence=Items([shared]),
    )
    one.DiffusionBValue = 1000.5
    one.Exposure = "12"
    nested = "SharedFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness"
    names = [
        *("PatientName", "PatientAge", "StudyDate", "StudyTime", "ImageType", "SliceThickness"),
        *("AcquisitionDateTime", "TriggerTime", "RescaleSlope", "DiffusionBValue", nested),
        *("SharedFunctionalGroupsSequence", "Exposure", "EchoTime"),
    ]

    found = facts(files_of([one], tmp_path), *names)

    assert found.problems == ()
    assert found.values["PatientName"] == ("Müller^Jörg",)
    assert found.values["PatientAge"] == (17 * Decimal("365.2425"),)
    assert found.values["StudyDate"] == (date(2024, 1, 31),)
    assert found.values["StudyTime"] == (time(1, 2),)
    [only] = found.series
    assert only.values["ImageType"] == ("DERIVED", "SECONDARY", "MIP")
    assert only.values["SliceThickness"] == (Decimal("1.5"),)
    assert only.values["AcquisitionDateTime"] == (datetime(2024, 1, 31, 1, 2, 3, 500000),)  # noqa: DTZ001
    assert only.values["TriggerTime"] == ()
    assert only.values["RescaleSlope"] == (Decimal("0.1"),)
    assert only.values["DiffusionBValue"] == (Decimal("1000.5"),)
    assert only.values[nested] == (Decimal("2.5"),)
    assert only.values["SharedFunctionalGroupsSequence"]
    assert only.values["Exposure"] == (Decimal(12),)
    assert only.values["EchoTime"] == ()
    assert "PatientName" not in only.values


def test_an_attribute_of_the_study_has_the_values_of_every_series(tmp_path: Path) -> None:
    """No series is asked first: where they differ, each of them counts."""
    datasets = [
        image(0, number=1, StudyDescription="head"),
        image(0, number=2, StudyDescription="HEAD trauma"),
        image(0, number=3, StudyDescription=""),
    ]

    for order in (datasets, datasets[::-1]):
        found = facts(files_of(order, tmp_path), "StudyDescription")
        assert found.values["StudyDescription"] == ("head", "HEAD trauma")


def test_series_are_known_by_geometry_and_content(tmp_path: Path) -> None:
    """A volume, a localizer, single images, a secondary capture and a report, in any order."""
    capture = image(0, number=4, description="screen", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    report = image(0, number=5, modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")
    sagittal = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    datasets = [
        *series(6, number=1, description="t1_mprage_sag brain", orientation=sagittal,
                step=(1.25, 0.0, 0.0)),
        *series(3, number=2, description="localizer"),
        *series(2, number=3, description="t2 tse pelvis", step=(0.0, 1.0, 2.0)),
        capture,
        report,
    ]  # fmt: skip
    files = files_of(datasets, tmp_path)

    found = facts(files[::-1], *EVERYTHING)

    assert found.problems == ()
    volume, localizer, images, captured, none = (one.values for one in found.series)
    assert volume["series.kind"] == ("volume",)
    assert volume["series.images"] == (Decimal(6),)
    assert volume["series.body_part"] == ("BRAIN",)
    assert volume["series.contrast"] == ("T1",)
    assert volume["series.orientation"] == ("sagittal",)
    assert volume["series.slice_spacing"] == (Decimal("1.25"),)
    assert volume["series.thickness"] == (Decimal(2),)
    assert localizer["series.kind"] == ("localizer",)
    assert images["series.kind"] == ("images",)
    assert images["series.body_part"] == ("PELVIS",)
    assert captured["series.kind"] == ("secondary capture",)
    assert none["series.kind"] == ("no images",)
    assert none["series.images"] == (Decimal(0),)


@pytest.mark.parametrize(
    ("degrees", "orientation"), [(0, "axial"), (30, "axial"), (45, "oblique"), (80, "coronal")]
)
def test_an_orientation_is_named_by_the_axis_it_is_near(
    tmp_path: Path, degrees: float, orientation: str
) -> None:
    """Heads are tilted; from 37 degrees on a slice is oblique."""
    turned = np.radians(degrees)
    down = (0.0, float(np.cos(turned)), float(np.sin(turned)))
    files = files_of([image(0, orientation=(1.0, 0.0, 0.0, *down))], tmp_path)

    found = facts(files, "series.orientation")

    assert found.series[0].values["series.orientation"] == (orientation,)


def test_a_multi_frame_object_is_a_volume_by_its_functional_groups(tmp_path: Path) -> None:
    """Frames count as images, and lie where their groups say."""
    frames = 5
    shared = Dataset()
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.0, 1.0], "3.0"
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence = Items([measures])
    shared.PlaneOrientationSequence = Items([orientation])
    groups: list[Dataset] = []
    for frame in range(frames):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 4.0 * frame]
        group.PlanePositionSequence = Items([position])
        groups.append(group)
    left_out = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
    one = image(
        0,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
        NumberOfFrames=frames,
        SharedFunctionalGroupsSequence=Items([shared]),
        PerFrameFunctionalGroupsSequence=Items(groups),
        **dict.fromkeys(left_out),
    )

    found = facts(files_of([one], tmp_path), *EVERYTHING)

    values = found.series[0].values
    assert found.problems == ()
    assert values["series.kind"] == ("volume",)
    assert values["series.images"] == (Decimal(frames),)
    assert values["series.slice_spacing"] == (Decimal(4),)
    assert values["series.thickness"] == (Decimal(3),)
    assert values["series.orientation"] == ("axial",)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_encoding_of_a_header_is_read(tmp_path: Path, syntax: Any) -> None:
    """PS3.5 A.1, A.3 and A.5."""
    one = image(0, StudyDescription="head")
    one.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        one["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    dcmwrite(buffer, one, enforce_file_format=True)
    path = tmp_path / "one"
    path.write_bytes(buffer.getvalue())

    found = facts([a_file(path, one)], "StudyDescription", "Rows")

    assert found.problems == ()
    assert found.values["StudyDescription"] == ("head",)
    assert found.series[0].values["Rows"] == (Decimal(16),)


def test_the_header_of_a_long_file_is_read_without_its_pixels(tmp_path: Path) -> None:
    """A file larger than the limit is no matter when its header is not."""
    one = image(0)
    one.PixelData = bytes(1 << 20)
    files = files_of([one], tmp_path)

    found = facts(files, "Modality", "SamplesPerPixel", "LossyImageCompression", header_kib=64)

    assert found.problems == ()
    assert found.series[0].values["SamplesPerPixel"] == (Decimal(1),)


def _explicit(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"OB", b"SQ", b"UN"):
        return struct.pack("<HH2sHL", group, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def _bomb() -> bytes:
    data = _explicit(0x0008, 0x0060, b"CS", b"MR") + _explicit(0x0009, 1, b"OB", bytes(64 << 20))
    packed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    syntax = "1.2.840.10008.1.2.1.99"
    return part10_header("1.2", "1.2.3", syntax) + packed.compress(data) + packed.flush()


def _nested() -> bytes:
    start = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return part10_header("1.2", "1.2.3", "1.2.840.10008.1.2.1") + (start + item) * 3000


def _items() -> bytes:
    items = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 100_000
    shared = _explicit(0x5200, 0x9229, b"SQ", items)
    return part10_header("1.2", "1.2.3", "1.2.840.10008.1.2.1") + shared


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no DICOM file"),
        (b"not a DICOM file at all", "no DICOM file"),
        (bytes(1000), "no DICOM file"),
        (_bomb(), "goes over"),
        (_nested(), "nest deeper"),
        (_items(), "over 50,000 items"),
        (encoded(image(0))[:500], "cut off"),
        (encoded(image(0))[:200], "file meta information is cut off"),
        (None, "FileNotFoundError"),
    ],
    ids=["empty", "text", "zeros", "bomb", "nested", "items", "cut", "meta", "gone"],
)
def test_what_cannot_be_read_gives_a_series_without_attributes(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    """Nothing is raised; the study has a sentence about it, without a word of the header."""
    path = tmp_path / "one"
    if content is not None:
        path.write_bytes(content)
    good = files_of([image(0, number=2)], tmp_path)

    found = facts([File("1.1", "1", "1.2.840.10008.5.1.4.1.1.4", "MR", path), *good], *EVERYTHING)

    bad, fine = found.series
    assert bad.values == {}
    assert fine.values["series.body_part"] == ()
    assert found.values["PatientName"] == ("Doe^Jane",)
    assert any(told in problem for problem in found.problems), found.problems
    assert not any("Doe" in problem for problem in found.problems)


def test_as_many_headers_are_read_as_the_settings_allow(tmp_path: Path) -> None:
    """What is over a limit is absent, and the study says which limit."""
    datasets = [one for number in range(1, 4) for one in series(4, number=number)]
    files = files_of(datasets, tmp_path)

    few = facts(files, "Modality", maximum_series=2)
    flat = facts(files, "series.kind", maximum_headers=8)

    assert [bool(one.values) for one in few.series] == [True, True, False]
    assert "rules.maximum_series" in few.problems[0]
    kinds = [one.values["series.kind"] for one in flat.series]
    assert kinds == [("volume",), ("volume",), ("images",)]
    assert "rules.maximum_headers" in flat.problems[0]


def test_without_the_array_library_geometry_is_absent_and_the_study_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that only listens and sends plans studies all the same."""
    monkeypatch.setitem(sys.modules, "numpy", None)

    found = facts(files_of(series(4), tmp_path), "series.kind")

    assert found.series[0].values["series.kind"] == ("images",)
    assert "the extra `worker`" in found.problems[0]


def test_the_facts_of_a_stored_study_come_from_its_rows_and_the_spool(tmp_path: Path) -> None:
    """Those of its own instances alone."""
    spool = Spool(tmp_path)
    content: list[Instance] = []
    for one in series(4):
        kept = spool.store(encoded(one))
        content.append(
            Instance(
                str(one.SOPInstanceUID),
                str(one.SOPClassUID),
                "1.2.840.10008.1.2.1",
                STUDY,
                str(one.SeriesInstanceUID),
                "MR",
                kept.digest,
                kept.size,
                "CT1",
            )
        )
    study = Study(STUDY, "CT1", StudyState.COMPLETE, 1, "d", 4, 1, NOON, NOON)

    found = study_facts(study, content, spool, NOON, frozenset({"series.kind", "PatientID"}))

    assert found.study_instance_uid == STUDY
    assert found.values["source"] == ("CT1",)
    assert found.values["PatientID"] == ("TEST",)
    assert found.series[0].values["series.kind"] == ("volume",)


def test_no_damaged_header_makes_reading_or_evaluation_raise(tmp_path: Path) -> None:
    """Mutants of every kind are read, and rules asked about them."""
    rules = [
        a_rule(name[:64], f"{name} present", {"any": [f"{name} absent"]})
        for name in sorted(EVERYTHING - {"detector", "device_calibrated"})
    ]
    path = tmp_path / "mutant"

    for number in range(12):
        damaged = mutant(20, number, corpus(), Kind.DEFLATE_BOMB if number % 6 == 0 else None)
        one = damaged.original
        uids = ("1.2.840.10008.5.1.4.1.1.4", "1.2.3", one.transfer_syntax_uid)
        path.write_bytes(part10_header(*uids) + one.data)
        files = [File("1.1", "1.2.3", uids[0], "MR", path)] * 3

        found = facts(files, *EVERYTHING)

        plan = on_receipt(rules, found, trace=True)
        assert len(plan.matches) == len(rules)
