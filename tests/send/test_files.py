"""Sending files by hand: what is found, what is skipped, what is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.dicom_peers import DROP, ScriptedPeer
from support.gate import free_port
from support.objects import STUDY, mr_slice, write_slices

from gatekeeper.errors import TransportError
from gatekeeper.send.files import MEDIA_STORAGE_DIRECTORY, read_studies, send_files
from gatekeeper.settings import SendSettings, Settings
from storage.records import Node


@pytest.fixture
def settings(quick: SendSettings) -> Settings:
    return dataclasses.replace(Settings(), send=quick)


def test_files_and_folders_are_sent_and_other_files_named_as_skipped(
    tmp_path: Path, settings: Settings
) -> None:
    """Folders are walked; a text, a DICOMDIR and a missing file are skipped with reasons."""
    deep = tmp_path / "a" / "b"
    write_slices(deep, 3)
    alone = write_slices(tmp_path / "alone", 1)[0]
    (tmp_path / "a" / "notes.txt").write_text("no DICOM")
    directory = mr_slice(9)
    directory.SOPClassUID = MEDIA_STORAGE_DIRECTORY
    directory.save_as(tmp_path / "a" / "DICOMDIR", enforce_file_format=True)
    told: list[tuple[int, int]] = []

    with ScriptedPeer() as peer:
        sent = send_files(
            [tmp_path / "a", alone, tmp_path / "gone.dcm"],
            Node(peer.ae_title, "127.0.0.1", peer.port),
            settings,
            progress=lambda done, total: told.append((done, total)),
        )

    assert (sent.stored, sent.warned, sent.failed) == (4, 0, ())
    reasons = {Path(item.path).name: item.reason for item in sent.skipped}
    assert set(reasons) == {"notes.txt", "DICOMDIR", "gone.dcm"}
    assert "no DICM prefix" in reasons["notes.txt"]
    assert "DICOMDIR" in reasons["DICOMDIR"]
    assert reasons["gone.dcm"] == "No such file or directory"
    assert told == [(done, 4) for done in range(5)]


def test_refused_and_unanswered_files_are_named_with_their_reasons(
    tmp_path: Path, settings: Settings
) -> None:
    """A refusal does not stop the rest; what a lost peer left unanswered counts as failed."""
    paths = write_slices(tmp_path / "a", 4)
    statuses = [0xB000, 0xA900]

    def answer(number: int, _uid: str) -> int:
        return statuses[number] if number < len(statuses) else DROP

    with ScriptedPeer(answer) as peer:
        sent = send_files([tmp_path / "a"], Node(peer.ae_title, "127.0.0.1", peer.port), settings)

    assert (sent.stored, sent.warned) == (1, 1)
    assert [item.path for item in sent.failed] == [str(path) for path in paths[1:]]
    assert sent.failed[0].reason == "A900 error: data set does not match SOP class"
    assert all("aborted" in item.reason for item in sent.failed[1:])


def test_a_node_that_answers_nothing_is_an_error(tmp_path: Path, settings: Settings) -> None:
    """Nobody there: one error instead of a list of failures."""
    write_slices(tmp_path / "a", 2)

    with pytest.raises(TransportError, match="refused"):
        send_files([tmp_path / "a"], Node("PACS", "127.0.0.1", free_port()), settings)


def test_an_empty_folder_sends_nothing(tmp_path: Path, settings: Settings) -> None:
    """No connection is made for nothing."""
    sent = send_files([tmp_path], Node("PACS", "127.0.0.1", free_port()), settings)

    assert (sent.stored, sent.failed, sent.skipped) == (0, (), ())


def test_studies_are_told_apart(tmp_path: Path) -> None:
    """Files by Study Instance UID; what is no DICOM is left out."""
    paths = write_slices(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("no DICOM")

    assert read_studies(tmp_path) == {STUDY: paths}
