"""The demonstration's archive: keeps what it is sent, answers echo and queries."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,  # pyright: ignore[reportAttributeAccessIssue]
)
from support.objects import STUDY, mr_slice, send_objects, write_slices

from gatekeeper.demo.archive import ArchivedInstance, EmbeddedArchive, find
from gatekeeper.identifiers import Digest, Uid
from gatekeeper.send.dimse import DimseTransport, echo
from gatekeeper.settings import Settings
from storage.records import Node


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[EmbeddedArchive]:
    with EmbeddedArchive(tmp_path / "archive") as running:
        yield running


def send(archive: EmbeddedArchive, folder: Path, count: int) -> list[Path]:
    paths = write_slices(folder, count)
    node = Node(archive.ae_title, archive.host, archive.port)
    transport = DimseTransport("SCANNER", Settings().send)
    assert all(answer.status == 0 for answer in transport.send(send_objects(paths), node))
    return paths


def test_what_is_sent_is_kept_byte_for_byte_under_its_digest(
    archive: EmbeddedArchive, tmp_path: Path
) -> None:
    """Files hold the data sets as sent, and no path holds a UID."""
    paths = send(archive, tmp_path / "in", 3)

    held = archive.wait_for(STUDY, lambda instances: len(instances) == 3, 10)

    for instance, path in zip(held, paths, strict=True):
        sent = path.read_bytes()
        kept = instance.path.read_bytes()
        assert kept.endswith(sent[sent.index(b"\x08\x00\x16\x00UI") :])
        assert Digest.of(kept) == instance.path.name == instance.digest
        assert archive.path(instance.sop_instance_uid) == instance.path
        assert STUDY not in str(instance.path)


def test_the_same_instance_twice_is_held_once(archive: EmbeddedArchive, tmp_path: Path) -> None:
    """A resend changes no count."""
    for _ in range(2):
        send(archive, tmp_path / "in", 2)

    assert len(archive.instances()) == 2
    assert archive.instances("1.2.3") == ()


def test_waiting_ends_at_its_deadline(archive: EmbeddedArchive) -> None:
    """What never comes is an error that says how much came."""
    with pytest.raises(TimeoutError, match="0 instances"):
        archive.wait_for(STUDY, bool, 0.1)


def test_an_object_without_a_study_is_refused(archive: EmbeddedArchive, tmp_path: Path) -> None:
    """C000, and nothing in the index."""
    path = tmp_path / "odd.dcm"
    dataset = mr_slice(1)
    del dataset.StudyInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    node = Node(archive.ae_title, archive.host, archive.port)

    answers = list(DimseTransport("X", Settings().send).send(send_objects([path]), node))

    assert [answer.status for answer in answers] == [0xC000]
    assert archive.instances() == ()


def test_it_answers_echo_and_takes_the_results_classes(archive: EmbeddedArchive) -> None:
    """All that `gatekeeper node echo` asks is accepted."""
    answer = echo(Node(archive.ae_title, archive.host, archive.port), Settings())

    assert all(context.accepted for context in answer.contexts)


def test_queries_count_studies_series_and_images(archive: EmbeddedArchive, tmp_path: Path) -> None:
    """C-FIND at the three levels, through pynetdicom."""
    send(archive, tmp_path / "in", 4)
    client = AE("SCANNER")
    client.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association: Any = client.associate(archive.host, archive.port, ae_title=archive.ae_title)
    assert association.is_established

    def ask(level: str, **keys: Any) -> list[Dataset]:
        query = Dataset()
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        answers = association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
        return [identifier for _, identifier in answers if identifier is not None]

    try:
        studies = ask("STUDY", StudyInstanceUID=STUDY, NumberOfStudyRelatedInstances=None)
        series = ask("SERIES", StudyInstanceUID=STUDY, NumberOfSeriesRelatedInstances=None)
        images = ask("IMAGE", StudyInstanceUID=STUDY, SOPInstanceUID=None)
        none = ask("STUDY", StudyInstanceUID="1.2.3")
    finally:
        association.release()

    assert [int(study.NumberOfStudyRelatedInstances) for study in studies] == [4]
    assert [int(one.NumberOfSeriesRelatedInstances) for one in series] == [4]
    assert len({image.SOPInstanceUID for image in images}) == 4
    assert none == []


def test_findscu_is_answered(
    archive: EmbeddedArchive, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    """DCMTK's query tool finds the study by its patient."""
    program = peer("findscu")
    send(archive, tmp_path / "in", 1)

    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=TEST", "-k", "StudyInstanceUID"]

    ran = subprocess.run(
        [program, "-S", "-aec", archive.ae_title, archive.host, str(archive.port), *keys],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert STUDY in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("keyword", "value", "matches"),
    [
        ("PatientID", "TEST", True),
        ("PatientID", "T*", True),
        ("PatientID", "T??T", True),
        ("PatientID", "[T]EST", False),
        ("PatientID", "test", False),
        ("PatientID", None, True),
        ("SOPInstanceUID", ["1.2.3", f"{STUDY}.2.1"], True),
        ("SOPInstanceUID", ["1.2.3", "1.2.4"], False),
        ("Manufacturer", "anything", True),
    ],
)
def test_matching(keyword: str, value: object, matches: bool) -> None:
    """Single values, wild cards, lists, and universal matching; unknown keys match all."""
    header = mr_slice(1)
    uid = Uid.parse(header.SOPInstanceUID)
    instance = ArchivedInstance(uid, uid, uid, uid, "MR", Digest.of(b""), Path("x"), header)
    query = Dataset()
    setattr(query, keyword, value)

    assert bool(list(find(query, "IMAGE", [instance]))) == matches


def test_two_archives_are_told_apart_by_their_ports(tmp_path: Path) -> None:
    """The system chooses a free port for each; a stopped archive can be stopped again."""
    with EmbeddedArchive(tmp_path / "a") as one, EmbeddedArchive(tmp_path / "b") as two:
        assert one.port != two.port
        assert dataclasses.is_dataclass(ArchivedInstance)
    one.stop()
