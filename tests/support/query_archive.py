"""An archive that answers queries and gives studies back: C-FIND, C-GET and C-MOVE, as told."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Self

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from support.commitment_peers import Server

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"

Status = int


def study(
    uid: str,
    date: str = "20200101",
    *,
    count: int = 2,
    patient: str = "P1",
    modality: str = "MR",
    sop_class: str = MR,
    **more: Any,
) -> list[Dataset]:
    """Return the instances of a small study of one series."""
    return [
        _instance(uid, date, number, patient, modality, sop_class, more)
        for number in range(1, count + 1)
    ]


def _instance(
    uid: str,
    date: str,
    number: int,
    patient: str,
    modality: str,
    sop_class: str,
    more: dict[str, Any],
) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = f"{uid}.2.{number}"
    dataset.StudyDate = date
    dataset.StudyTime = "120000"
    dataset.Modality = modality
    dataset.PatientName = "Test^Object"
    dataset.PatientID = patient
    dataset.StudyInstanceUID = uid
    dataset.SeriesInstanceUID = f"{uid}.1"
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.Rows = dataset.Columns = 8
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = number.to_bytes(2, "little") * 64
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


class QueryArchive:
    """A Query/Retrieve SCP over the data sets it was given; a context manager.

    Attributes:
        kept: what it has.
        given: SOP Instance UIDs that retrievals named, in order.
        asked: level and Patient ID of each query.
        answer: status of retrievals that fail at once; 0 to answer.
        withheld: SOP Instance UIDs that are found and not given.
        tells_modalities: whether a study's answer has ModalitiesInStudy.
        destination: port of the listener that C-MOVE sends to.
        edits: attributes that it changes in what it stores.
        drop_after: objects of a retrieval after which it aborts the association, once.
        before_giving: called before the objects of a retrieval go.

    Args:
        kept: see there.
        classes: SOP classes that it takes and gives.
    """

    ae_title = "ARCHIVE"

    def __init__(self, kept: Sequence[Dataset], classes: Sequence[str] = (MR, CT)) -> None:
        self.kept = list(kept)
        self.given: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.answer: Status = 0
        self.withheld: set[str] = set()
        self.tells_modalities = True
        self.destination = 0
        self.edits: dict[str, str] = {}
        self.drop_after = 0
        self.before_giving: Callable[[], None] = lambda: None
        entity = AE(self.ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
        entity.maximum_associations = 50
        for uid in (FIND, GET, MOVE):
            entity.add_supported_context(uid)
        entity.add_supported_context("1.2.840.10008.1.1")
        for uid in classes:
            # As SCP it is stored to, as SCU it gives by C-GET.
            entity.add_supported_context(uid, scu_role=True, scp_role=True)
            entity.add_requested_context(uid, ExplicitVRLittleEndian)
        handlers: list[Any] = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_C_MOVE, self._move),
            (evt.EVT_C_STORE, self._store),
        ]
        self._server = Server(entity, handlers)
        self.port = self._server.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _find(self, event: evt.Event) -> Iterator[tuple[Status, Dataset | None]]:
        query = event.identifier
        level = query.QueryRetrieveLevel
        self.asked.append((level, str(query.get("PatientID", ""))))
        seen: set[str] = set()
        for one in self._matching(query):
            key = {
                "STUDY": one.StudyInstanceUID,
                "SERIES": one.SeriesInstanceUID,
                "IMAGE": one.SOPInstanceUID,
            }[level]
            if key in seen:
                continue
            seen.add(key)
            answer = Dataset()
            for element in query:
                if element.keyword == "ModalitiesInStudy":
                    if self.tells_modalities:
                        answer.ModalitiesInStudy = one.Modality
                elif element.keyword in one:
                    answer[element.tag] = one[element.tag]
            answer.QueryRetrieveLevel = level
            yield 0xFF00, answer

    def _matching(self, query: Dataset) -> list[Dataset]:
        keys = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        wanted = {key: str(query.get(key) or "") for key in keys}
        return [
            one
            for one in self.kept
            if all(not value or str(one[key].value) == value for key, value in wanted.items())
        ]

    def _get(self, event: evt.Event) -> Generator[Any]:
        yield from self._give(event)

    def _move(self, event: evt.Event) -> Generator[Any]:
        if event.move_destination != "GATEKEEPER" or not self.destination:
            yield None, None
            return
        yield "127.0.0.1", self.destination
        yield from self._give(event)

    def _give(self, event: evt.Event) -> Generator[Any]:
        found = [
            one
            for one in self._matching(event.identifier)
            if one.SOPInstanceUID not in self.withheld
        ]
        self.before_giving()
        yield len(found)
        if self.answer:
            yield self.answer, None
            return
        for number, one in enumerate(found, start=1):
            if self.drop_after and number > self.drop_after:
                self.drop_after = 0
                event.assoc.abort()
                return
            self.given.append(str(one.SOPInstanceUID))
            yield 0xFF00, one

    def _store(self, event: evt.Event) -> Status:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        for keyword, value in self.edits.items():
            setattr(dataset, keyword, value)
        self.kept.append(dataset)
        return 0x0000
