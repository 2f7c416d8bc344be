"""The study index: what people find a study by, read once, blanked with its files."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import update
from support.objects import mr_slice

from gatekeeper import log as logging
from gatekeeper import periodic, study_index
from gatekeeper.acquired import Acquired, moment_of
from gatekeeper.settings import IndexSettings, Settings
from storage import instances, studies, study_headers
from storage.engine import Database
from storage.records import Instance, StudyHeader
from storage.schema import instance as instance_table
from storage.spool import Spool

MR = "1.2.840.10008.5.1.4.1.1.4"
SR = "1.2.840.10008.5.1.4.1.1.88.22"
EXPLICIT = "1.2.840.10008.1.2.1"
STUDY = "1.2.826.0.1.77"


class Site:
    """A spool with its books, and an indexer."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.spool = Spool(folder / "spool")
        self._numbers = itertools.count(1)

    def receive(self, change: Callable[[Dataset], None] = lambda _: None, **more: Any) -> Instance:
        """Receive an instance of the study, its header changed."""
        number = next(self._numbers)
        dataset = mr_slice(number)
        dataset.StudyInstanceUID = STUDY
        change(dataset)
        written = io.BytesIO()
        dataset.save_as(written, enforce_file_format=True)
        return self.keep(written.getvalue(), number, **more)

    def keep(self, data: bytes, number: int = 0, **more: Any) -> Instance:
        stored = self.spool.store(data)
        given: dict[str, Any] = {
            "sop_instance_uid": f"{STUDY}.9.{number}",
            "sop_class_uid": MR,
            "transfer_syntax_uid": EXPLICIT,
            "study_instance_uid": STUDY,
            "series_instance_uid": f"{STUDY}.8.1",
            "modality": "MR",
            "digest": stored.digest,
            "size": stored.size,
            "source_ae": "CT1",
        }
        one = Instance(**(given | more))
        with self.database.begin() as tx:
            instances.record(tx, one, None)
        return one

    def complete(self, content: str = "a") -> None:
        with self.database.begin() as tx:
            study = studies.get(tx, STUDY)
            assert study is not None
            assert studies.complete(tx, STUDY, content * 64, study.last_received_at)

    def read(self, **limits: Any) -> int:
        settings = dataclasses.replace(IndexSettings(), **limits)
        return study_index.read_due(self.database, self.spool, settings)

    @property
    def header(self) -> StudyHeader:
        with self.database.read() as tx:
            found = study_headers.get(tx, STUDY)
        assert found is not None
        return found

    def remove_files(self) -> None:
        """Remove what retention would, rows first."""
        with self.database.begin() as tx:
            tx.execute(update(instance_table).values(removed_at=1.0))
            study_headers.note(tx, STUDY)


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    return Site(tmp_path, database)


@pytest.fixture
def sqlite_site(tmp_path: Path, sqlite_url: str) -> Iterator[Site]:
    database = Database.connect(sqlite_url, lock_seconds=30)
    yield Site(tmp_path, database)
    database.dispose()


def scanner(dataset: Dataset) -> None:
    dataset.Manufacturer = "SIEMENS"
    dataset.ManufacturerModelName = "Skyra"
    dataset.MagneticFieldStrength = 3
    dataset.StationName = "MRC35023"
    dataset.DeviceSerialNumber = "45023"
    dataset.SoftwareVersions = ["syngo MR E11", "N4"]
    dataset.ProtocolName = "T1 mprage"
    dataset.StudyDescription = "Kopf nativ"
    dataset.BodyPartExamined = "BRAIN"
    dataset.PixelSpacing = [0.9, 0.8]
    dataset.SliceThickness = 1.5
    dataset.RepetitionTime = 2300
    dataset.InstanceCreationDate = "20240102"
    dataset.InstanceCreationTime = "030405.5"
    dataset.TimezoneOffsetFromUTC = "+0100"


def test_a_complete_study_is_found_by_what_its_headers_say(site: Site) -> None:
    """Patient, study, device and each series, from one image of each series."""
    for _ in range(3):
        site.receive(scanner)
    site.receive(series_instance_uid=f"{STUDY}.8.2", modality="SR", sop_class_uid=SR)
    assert site.read() == 0
    site.complete()

    assert site.read() == 1
    assert site.read() == 0

    found = site.header
    assert (found.patient_name, found.patient_id) == ("Test^Object", "TEST")
    assert (found.accession_number, found.study_date, found.study_time) == (
        "A1",
        "20240101",
        "120000",
    )
    assert (found.modalities, found.instances, found.series_count) == (("MR", "SR"), 4, 2)
    assert (found.device, found.station_name) == ("SIEMENS SKYRA 3T", "MRC35023")
    assert found.software_versions == "syngo MR E11\\N4"
    assert (found.problem, found.content_digest) == ("", "a" * 64)
    first = Acquired.of_json(found.series[0])
    assert (first.protocol, first.slices, first.serial) == ("T1_MPRAGE", 3, "45023")
    assert first.numbers["pixel_spacing_row"] == 0.9
    assert first.numbers["repetition_time"] == 2300
    assert first.made_by == "InstanceCreationDate"
    assert first.made_at == moment_of("20240102020405.500000+0000", None)


def test_a_study_that_changed_is_read_again_and_any_number_may_read_it(site: Site) -> None:
    """New content has its row replaced; what was noted while it was read stays due."""
    site.receive()
    site.complete()
    site.read()

    def renamed(dataset: Dataset) -> None:
        dataset.PatientName = "Neu^Name"

    site.receive(renamed, series_instance_uid=f"{STUDY}.8.0")
    site.receive(renamed, series_instance_uid=f"{STUDY}.8.0")
    site.complete("b")
    with site.database.read() as tx:
        [(uid, since)] = study_headers.due(tx, 10)
    with site.database.begin() as tx:
        study_headers.note(tx, uid)
        assert not study_headers.take(tx, uid, since)

    assert site.read() == 1
    assert (site.header.patient_name, site.header.content_digest) == ("Neu^Name", "b" * 64)


def test_names_are_read_in_their_character_set(sqlite_site: Site) -> None:
    """Japanese in three groups by ISO 2022, and Latin 1, come out as they are written."""

    def japanese(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        dataset.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"

    sqlite_site.receive(japanese)
    sqlite_site.complete()
    sqlite_site.read()
    assert sqlite_site.header.patient_name == "Yamada^Tarou=山田^太郎=やまだ^たろう"

    def latin(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName = "Müller^Jürgen"

    sqlite_site.receive(latin, series_instance_uid=f"{STUDY}.8.0")
    sqlite_site.receive(latin, series_instance_uid=f"{STUDY}.8.0")
    sqlite_site.complete("b")
    sqlite_site.read()
    assert sqlite_site.header.patient_name == "Müller^Jürgen"


def test_a_header_that_cannot_be_read_leaves_a_row_that_says_so(site: Site) -> None:
    """It is tried once for each content, and the log names no patient."""
    stream = io.StringIO()
    logging.configure(stream=stream)
    site.keep(b"no DICOM at all, of DOE^JOHN")
    site.complete()

    assert site.read() == 1
    assert site.read() == 0

    assert "it is no DICOM file" in site.header.problem
    assert (site.header.patient_name, site.header.modalities) == ("", ("MR",))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["study_not_read_whole"]
    assert "DOE" not in stream.getvalue()


def test_a_file_that_is_not_there_leaves_a_row_too(sqlite_site: Site) -> None:
    """A spool that lost it is not asked for ever."""
    one = sqlite_site.receive()
    sqlite_site.spool.path(one.digest).unlink()
    sqlite_site.complete()

    assert sqlite_site.read() == 1
    assert sqlite_site.read() == 0
    assert sqlite_site.header.problem == "a file cannot be read (FileNotFoundError)"


def test_hostile_values_are_bounded_and_printable(site: Site) -> None:
    """Length, line breaks, NUL and what is no date do not reach the database as they are."""

    def hostile(dataset: Dataset) -> None:
        dataset.PatientID = "x" * 5000
        dataset.StudyDescription = "a\0b\x1b[31mc"
        dataset.StudyDate = "yesterday"
        dataset.DeviceSerialNumber = "\0"

    with pytest.warns(UserWarning):
        site.receive(hostile)
    site.complete()
    site.read()

    assert site.header.patient_id == "x" * 64
    assert site.header.study_description.isprintable()
    assert site.header.study_date == ""


def test_of_many_series_only_so_many_are_read(sqlite_site: Site) -> None:
    """Those with the most images, and the row says that there are more."""
    for number in range(3):
        sqlite_site.receive(scanner, series_instance_uid=f"{STUDY}.8.{number}")
    sqlite_site.complete()
    sqlite_site.read(maximum_series=2)

    assert len(sqlite_site.header.series) == 2
    assert "3 series, of which 2 are read" in sqlite_site.header.problem


def test_with_its_files_a_study_loses_its_patient(site: Site) -> None:
    """How it was acquired stays, for drift; sent again, it is read again."""
    one = site.receive(scanner)
    site.complete()
    site.read()
    site.remove_files()
    site.read()

    found = site.header
    assert found.problem == study_index.REMOVED
    assert (found.patient_name, found.patient_id, found.accession_number) == ("", "", "")
    assert (found.study_date, found.study_description) == ("", "")
    assert (found.device, len(found.series)) == ("SIEMENS SKYRA 3T", 1)

    with site.database.begin() as tx:
        instances.take_back(tx, one.sop_instance_uid, one.digest)
    assert site.read() == 1
    assert (site.header.patient_name, site.header.problem) == ("Test^Object", "")


def test_a_site_may_keep_the_names_of_removed_studies(sqlite_site: Site) -> None:
    """`index.after_removal = keep`."""
    sqlite_site.receive(scanner)
    sqlite_site.complete()
    sqlite_site.read(after_removal="keep")
    sqlite_site.remove_files()
    sqlite_site.read(after_removal="keep")

    assert sqlite_site.header.patient_name == "Test^Object"
    assert sqlite_site.header.problem == study_index.REMOVED


def test_values_that_all_frames_share_are_read_of_multi_frame_images(sqlite_site: Site) -> None:
    """Enhanced MR keeps them in functional groups."""

    def enhanced(dataset: Dataset) -> None:
        measures, timing, echo, shared = (Dataset() for _ in range(4))
        measures.PixelSpacing = [0.5, 0.5]
        timing.RepetitionTime = 4000.0
        echo.EffectiveEchoTime = 90.0
        shared.PixelMeasuresSequence = [measures]
        shared.MRTimingAndRelatedParametersSequence = [timing]
        shared.MREchoSequence = [echo]
        dataset.SharedFunctionalGroupsSequence = [shared]
        dataset.NumberOfFrames = 20

    sqlite_site.receive(enhanced)
    sqlite_site.complete()
    sqlite_site.read()

    found = Acquired.of_json(sqlite_site.header.series[0])
    assert found.slices == 20
    assert found.numbers["pixel_spacing_row"] == 0.5
    assert (found.numbers["repetition_time"], found.numbers["echo_time"]) == (4000.0, 90.0)


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ("20240102030405", 1704164645.0),
        ("20240102030405.25", 1704164645.25),
        ("20240102030405+0100", 1704161045.0),
        ("2024.01.0203:04:05", 1704164645.0),
        ("20240102030460", 1704164699.0),
        ("20241302030405", None),
        ("2024", None),
        ("", None),
    ],
)
def test_times_of_a_header_are_moments(stated: str, seconds: float | None) -> None:
    """DA with TM, DT, fractions, offsets, leap seconds and ACR-NEMA; anything else is none."""
    assert moment_of(stated, UTC) == seconds


def test_the_tick_reads(site: Site) -> None:
    """`gatekeeper tick` has it among its ticks."""
    site.receive()
    site.complete()
    context = periodic.Context(Settings(), site.database, site.spool)

    assert periodic.TICKS["index"](context) == 1
