"""A small archive that stands in for the PACS in the demonstration: C-STORE, C-ECHO and C-FIND.

It keeps what it receives as DICOM files, byte for byte, in a spool of its own (paths from digests,
never from UIDs), and its index in memory: a new archive on an old folder starts empty. It is for
demonstrations and tests: any caller may store and query, and nothing is ever deleted.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,  # pyright: ignore[reportAttributeAccessIssue]
    StudyRootQueryRetrieveInformationModelFind,  # pyright: ignore[reportAttributeAccessIssue]
    Verification,  # pyright: ignore[reportAttributeAccessIssue]
)

from gatekeeper.errors import IdentifierError
from gatekeeper.identifiers import Uid
from storage.spool import Digest, Spool

SUCCESS, PENDING = 0x0000, 0xFF00
OUT_OF_RESOURCES, CANNOT_UNDERSTAND, INVALID_QUERY = 0xA700, 0xC000, 0xA900
MAXIMUM_ASSOCIATIONS = 20
_TIMEOUT_SECONDS = 30.0

# Query level: its unique key and the one above it (PS3.4 C.6.2.1).
_LEVEL_KEYS = {
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
_KEPT = (
    "PatientID",
    "PatientName",
    "AccessionNumber",
    "StudyDate",
    "StudyDescription",
    "Modality",
    "SeriesDescription",
    "SeriesNumber",
    "InstanceNumber",
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)
_NO_MATCHING = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "TimezoneOffsetFromUTC"})


@dataclass(frozen=True, slots=True, eq=False)
class ArchivedInstance:
    """One instance in the archive.

    Attributes:
        header: the attributes that queries match and return.
        path: its DICOM file.
    """

    sop_instance_uid: Uid
    sop_class_uid: Uid
    series_instance_uid: Uid
    study_instance_uid: Uid
    modality: str
    digest: Digest
    path: Path
    header: Dataset


class EmbeddedArchive:
    """The archive; a context manager that listens while it is entered.

    Args:
        folder: where files are kept; made when missing.
        ae_title: its AE title.
        host: address to bind.
        port: TCP port; 0 lets the system choose, and `port` tells which.
    """

    def __init__(
        self, folder: Path, ae_title: str = "ARCHIVE", host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.ae_title = ae_title
        self.host = host
        self.port = port
        self._spool = Spool(folder)
        self._instances: dict[Uid, ArchivedInstance] = {}
        self._changed = threading.Condition()
        self._entity: AE | None = None

    def start(self) -> None:
        """Listen, in threads of its own.

        Raises:
            OSError: if the port cannot be bound.
        """
        entity = AE(self.ae_title)
        entity.maximum_associations = MAXIMUM_ASSOCIATIONS
        entity.maximum_pdu_size = 131072
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_SECONDS
        entity.supported_contexts = [
            build_context(cast(str, context.abstract_syntax), [*ALL_TRANSFER_SYNTAXES])
            for context in AllStoragePresentationContexts
        ]
        for abstract_syntax in (
            Verification,
            StudyRootQueryRetrieveInformationModelFind,
            PatientRootQueryRetrieveInformationModelFind,
        ):
            entity.add_supported_context(abstract_syntax)
        server: Any = entity.start_server(
            (self.host, self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._on_store), (evt.EVT_C_FIND, self._on_find)],
        )
        self.port = server.socket.getsockname()[1]
        self._entity = entity

    def stop(self) -> None:
        """Stop listening and close every association."""
        if self._entity is not None:
            self._entity.shutdown()
            self._entity = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def instances(self, study_instance_uid: str | None = None) -> tuple[ArchivedInstance, ...]:
        """Return the instances of a study, or all, in the order of their arrival."""
        with self._changed:
            return self._of(study_instance_uid)

    def path(self, sop_instance_uid: str) -> Path:
        """Return the file of an instance.

        Raises:
            KeyError: if the archive does not have it.
        """
        with self._changed:
            return self._instances[Uid.parse(sop_instance_uid)].path

    def wait_for(
        self,
        study_instance_uid: str,
        predicate: Callable[[Sequence[ArchivedInstance]], bool],
        seconds: float,
    ) -> tuple[ArchivedInstance, ...]:
        """Return a study's instances once `predicate` holds for them.

        Args:
            study_instance_uid: the study.
            predicate: asked now and after each arrival.
            seconds: longest wait.

        Raises:
            TimeoutError: if it does not hold by then.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(self._of(study_instance_uid)), seconds):
                held = len(self._of(study_instance_uid))
                raise TimeoutError(f"not within {seconds:g} s; {held} instances of the study came")
            return self._of(study_instance_uid)

    def _of(self, study_instance_uid: str | None) -> tuple[ArchivedInstance, ...]:
        return tuple(
            instance
            for instance in self._instances.values()
            if study_instance_uid in (None, instance.study_instance_uid)
        )

    def _on_store(self, event: evt.Event) -> int:
        try:
            stored = self._spool.store(event.encoded_dataset())
        except OSError:
            return OUT_OF_RESOURCES
        header = Dataset()
        received = event.dataset
        for keyword in _KEPT:
            if keyword in received:
                header[keyword] = received[keyword]
        try:
            instance = ArchivedInstance(
                Uid.parse(header.get("SOPInstanceUID", "")),
                Uid.parse(header.get("SOPClassUID", "")),
                Uid.parse(header.get("SeriesInstanceUID", "")),
                Uid.parse(header.get("StudyInstanceUID", "")),
                str(header.get("Modality", "")),
                stored.digest,
                stored.path,
                header,
            )
        except IdentifierError:
            return CANNOT_UNDERSTAND
        with self._changed:
            self._instances[instance.sop_instance_uid] = instance
            self._changed.notify_all()
        return SUCCESS

    def _on_find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        level = str(query.get("QueryRetrieveLevel", ""))
        if level not in _LEVEL_KEYS:
            yield INVALID_QUERY, None
            return
        for answer in find(query, level, self.instances()):
            answer.RetrieveAETitle = self.ae_title
            yield PENDING, answer


def find(query: Dataset, level: str, instances: Iterable[ArchivedInstance]) -> Iterator[Dataset]:
    """Yield the answers to a C-FIND identifier (PS3.4 C.2.2.2), one an entity of `level`.

    Matching is by single value, by wild card, by list of values, and universal. The counts of
    related series and instances are answered where they are asked for.

    Args:
        query: the identifier.
        level: STUDY, SERIES or IMAGE.
        instances: what the archive holds.
    """
    groups: dict[str, list[ArchivedInstance]] = {}
    for instance in instances:
        if _matches(query, instance.header):
            key = str(instance.header.get(_LEVEL_KEYS[level]))
            groups.setdefault(key, []).append(instance)
    for members in groups.values():
        yield _answer(query, level, members)


def _answer(query: Dataset, level: str, members: Sequence[ArchivedInstance]) -> Dataset:
    series = {member.series_instance_uid for member in members}
    counts = {
        "NumberOfStudyRelatedSeries": len(series),
        "NumberOfStudyRelatedInstances": len(members),
        "NumberOfSeriesRelatedInstances": len(members),
    }
    answer = Dataset()
    for element in query:
        if element.keyword in counts:
            setattr(answer, element.keyword, counts[element.keyword])
        elif element.keyword == "ModalitiesInStudy":
            answer.ModalitiesInStudy = sorted({member.modality for member in members})
        elif element.keyword in members[0].header:
            answer[element.keyword] = members[0].header[element.keyword]
    answer.QueryRetrieveLevel = level
    return answer


def _matches(query: Dataset, header: Dataset) -> bool:
    for element in query:
        if element.keyword in _NO_MATCHING or element.keyword not in _KEPT or not element.value:
            continue
        wanted = element.value if isinstance(element.value, MultiValue) else [element.value]
        held = str(header.get(element.keyword, ""))
        if not any(fnmatch.fnmatchcase(held, _pattern(str(value))) for value in wanted):
            return False
    return True


def _pattern(value: str) -> str:
    """Return a DICOM wild card (``*`` and ``?``) as one of `fnmatch`, whose ``[`` is no text."""
    return value.replace("[", "[[]")
