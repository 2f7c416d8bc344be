"""Sending files by hand: what lies under the given paths, to one node, now, without a queue."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from gatekeeper.errors import IdentifierError, TransportError
from gatekeeper.identifiers import Uid
from gatekeeper.send.part10 import NotPart10, read_header
from gatekeeper.send.transport import SendObject
from gatekeeper.send.transports import NodeTransport
from gatekeeper.settings import Settings
from gatekeeper.tls import Credentials
from storage.records import Node

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

Progress = Callable[[int, int], None]
"""Told how many objects are answered, and how many there are."""


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that the node did not store, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class SentFiles:
    """What came of sending files.

    Attributes:
        stored: objects that the node stored, those with a warning among them.
        warned: those stored with a warning.
        failed: objects that it did not store.
        skipped: files that are no DICOM objects, or could not be read.
    """

    stored: int
    warned: int
    failed: tuple[FailedFile, ...]
    skipped: tuple[FailedFile, ...]


def send_files(
    paths: Sequence[Path], node: Node, settings: Settings, progress: Progress | None = None
) -> SentFiles:
    """Send the DICOM files among `paths` and in the folders among them, however deep.

    Raises:
        TransportError: if the node answered about no file at all.
    """
    objects, skipped = read_objects(paths)
    transport = NodeTransport(settings, Credentials(settings.tls))
    waiting = dict.fromkeys(objects)
    failed: list[FailedFile] = []
    stored = warned = 0
    report = progress or _silent
    report(0, len(objects))
    try:
        for answer in transport.send(objects, node):
            del waiting[answer.sent]
            if answer.stored:
                stored += 1
                warned += bool(answer.status)
            else:
                failed.append(FailedFile(str(answer.sent.path), answer.reason))
            report(len(objects) - len(waiting), len(objects))
    except TransportError as error:
        if not stored and not failed:
            raise
        failed += [FailedFile(str(item.path), str(error)) for item in waiting]
    return SentFiles(stored, warned, tuple(failed), tuple(skipped))


def read_objects(paths: Sequence[Path]) -> tuple[list[SendObject], list[FailedFile]]:
    """Return the DICOM files under `paths`, in order of their names, and what was left out."""
    objects: dict[SendObject, None] = {}
    skipped: list[FailedFile] = []
    for path in _files(paths):
        try:
            with path.open("rb", buffering=0) as file:
                header = read_header(file, path.stat().st_size)
        except NotPart10 as error:
            skipped.append(FailedFile(str(path), str(error)))
            continue
        except OSError as error:
            skipped.append(FailedFile(str(path), error.strerror or type(error).__name__))
            continue
        if header.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            skipped.append(FailedFile(str(path), "a DICOMDIR, which is no object to send"))
            continue
        item = SendObject(
            header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid, path
        )
        objects[item] = None
    return list(objects), skipped


def read_studies(folder: Path) -> dict[Uid, list[Path]]:
    """Return the DICOM files in `folder`, however deep, by Study Instance UID.

    Files without a valid one are left out.
    """
    studies: dict[Uid, list[Path]] = {}
    for item in read_objects([folder])[0]:
        try:
            header = dcmread(item.path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
            study = Uid.parse(str(header.get("StudyInstanceUID", "")))
        except (IdentifierError, InvalidDicomError, OSError, ValueError, LookupError):
            continue
        studies.setdefault(study, []).append(item.path)
    return studies


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (Path(folder, name) for name in sorted(names))
        else:
            yield path


def _silent(_answered: int, _total: int) -> None:
    return
