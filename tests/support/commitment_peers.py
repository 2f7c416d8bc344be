"""Peers of storage commitment: a scanner that asks us, an archive that we ask."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@dataclass(frozen=True)
class Heard:
    """One report: its event type, what it says is kept, and why the rest is not."""

    event_type: int
    transaction_uid: str
    kept: tuple[str, ...]
    failures: dict[str, int] = field(default_factory=dict[str, int])


class Server:
    """A pynetdicom server with a short poll; a context manager."""

    def __init__(self, entity: AE, handlers: list[Any]) -> None:
        self._open: list[tuple[Association, socket.socket]] = []
        handlers = [*handlers, (evt.EVT_ESTABLISHED, self._established)]
        self._server: Any = entity.make_server(("127.0.0.1", 0), evt_handlers=handlers)
        self.port = int(self._server.socket.getsockname()[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        for association, connection in self._open:
            association.abort()
            association.join(10)
            # pynetdicom leaves the socket open when the other side aborted.
            connection.close()
        socketserver.BaseServer.shutdown(self._server)
        self._server.server_close()
        self._thread.join(10)

    def _established(self, event: evt.Event) -> None:
        self._open.append((event.assoc, cast(Any, event.assoc.dul.socket).socket))


class Scanner:
    """A scanner that asks for commitment and takes reports, on its port or the same association.

    Args:
        status: answered to reports.
    """

    ae_title = "SCANNER"

    def __init__(self, status: int = 0x0000) -> None:
        self.status = status
        self.heard: list[Heard] = []
        self.heard_here: list[Heard] = []
        self._entity = AE(self.ae_title)
        self._entity.acse_timeout = self._entity.dimse_timeout = 20
        self._entity.network_timeout = 20
        self._entity.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)
        self._server = Server(self._entity, [(evt.EVT_N_EVENT_REPORT, self._report, [self.heard])])
        self.port = self._server.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @contextlib.contextmanager
    def association(self, port: int, *more: str) -> Generator[Association]:
        """Open an association to us for commitment and further SOP classes."""
        contexts = [build_context(uid) for uid in (PUSH_MODEL, *more)]
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._report, [self.heard_here])]
        association = self._entity.associate(
            "127.0.0.1", port, contexts, ae_title="GATEKEEPER", evt_handlers=handlers
        )
        connection = association.dul.socket
        try:
            yield association
        finally:
            if association.is_established:
                association.release()
            if association.is_alive():
                association.join(20)
            if connection is not None and connection.socket is not None:
                connection.socket.close()

    def ask(self, port: int, transaction: str, uids: Sequence[str], sop_class: str = MR) -> int:
        """Ask on an association of its own, and end it."""
        with self.association(port) as association:
            return asked(association, transaction, uids, sop_class)

    def _report(self, event: evt.Event, heard: list[Heard]) -> tuple[int, None]:
        heard.append(_read(event))
        return self.status, None


def asked(
    association: Association, transaction: str, uids: Sequence[str], sop_class: str = MR
) -> int:
    """Send N-ACTION and return the status of the answer."""
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = [_reference(sop_class, uid) for uid in uids]
    status, _ = association.send_n_action(request, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    return int(status.Status)


class Archive:
    """An archive that stores, commits and is queried as a test says; a context manager.

    Attributes:
        kept: SOP Instance UIDs that it has, and their classes.
        asked: Transaction UIDs in the order of the requests.
        lose: SOP Instance UIDs that it reports as failed and forgets.
        here: report on the association of the request.
        silent: report nothing.
        action_status: answered to N-ACTION.
        transaction: reported instead of the request's.
        answers: statuses of the answers to its reports, -1 without one.
        find_status: answered to queries instead of matches.
        hide: SOP Instance UIDs that queries do not find until they are stored again.
    """

    ae_title = "ARCHIVE"

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, str, str]] = {}
        self.stored: list[str] = []
        self.asked: list[str] = []
        self.lose: set[str] = set()
        self.here = True
        self.silent = False
        self.action_status = 0x0000
        self.transaction = ""
        self.answers: list[int] = []
        self.requests: list[Dataset] = []
        self.find_status = 0x0000
        self.hide: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._entity = AE(self.ae_title)
        self._entity.acse_timeout = self._entity.dimse_timeout = 20
        self._entity.network_timeout = 20
        for uid in (PUSH_MODEL, MR, FIND):
            self._entity.add_supported_context(uid)
        self._server = Server(
            self._entity,
            [
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_N_ACTION, self._action),
                (evt.EVT_C_FIND, self._find),
            ],
        )
        self.port = self._server.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(20)
        self._server.close()

    def report_to(self, port: int, request: Dataset, transaction: str = "") -> int | None:
        """Report on a request on a new association, as SCP by role selection."""
        association = self._entity.associate(
            "127.0.0.1",
            port,
            [build_context(PUSH_MODEL)],
            ae_title="GATEKEEPER",
            ext_neg=[build_role(PUSH_MODEL, scp_role=True)],
        )
        assert association.is_established
        connection = association.dul.socket
        status = self._report(association, request, transaction)
        association.release()
        association.join(20)
        if connection is not None and connection.socket is not None:
            connection.socket.close()
        return status

    def may_store(self, port: int) -> bool:
        """Return whether a storage context is accepted from it."""
        association = self._entity.associate(
            "127.0.0.1", port, [build_context(MR), build_context(PUSH_MODEL)], ae_title="GATEKEEPER"
        )
        assert association.is_established
        accepted = {str(one.abstract_syntax) for one in association.accepted_contexts}
        connection = association.dul.socket
        association.release()
        association.join(20)
        if connection is not None and connection.socket is not None:
            connection.socket.close()
        return MR in accepted

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        uid = str(dataset.SOPInstanceUID)
        if uid in self.stored:
            self.hide.discard(uid)
        self.stored.append(uid)
        self.kept[uid] = (
            str(dataset.SOPClassUID),
            str(dataset.StudyInstanceUID),
            str(dataset.SeriesInstanceUID),
        )
        return 0x0000

    def _action(self, event: evt.Event) -> tuple[int, None]:
        request = event.action_information
        self.asked.append(str(request.TransactionUID))
        self.requests.append(request)
        if self.here and not self.silent and not self.action_status:
            thread = threading.Thread(target=self._report_here, args=(event.assoc, request))
            self._threads.append(thread)
            thread.start()
        return self.action_status, None

    def _report_here(self, association: Association, request: Dataset) -> None:
        # The answer to N-ACTION is on its way only when the handler has returned.
        time.sleep(0.05)
        self._report(association, request, self.transaction)

    def _report(self, association: Association, request: Dataset, transaction: str) -> int | None:
        report = Dataset()
        report.TransactionUID = transaction or request.TransactionUID
        kept: list[Dataset] = []
        failed: list[Dataset] = []
        for item in request.ReferencedSOPSequence:
            uid = str(item.ReferencedSOPInstanceUID)
            one = _reference(str(item.ReferencedSOPClassUID), uid)
            if uid in self.lose or uid not in self.kept:
                self.lose.discard(uid)
                self.kept.pop(uid, None)
                one.FailureReason = 0x0112
                failed.append(one)
            else:
                kept.append(one)
        if kept:
            report.ReferencedSOPSequence = kept
        if failed:
            report.FailedSOPSequence = failed
        status, _ = association.send_n_event_report(
            report, 2 if failed else 1, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        answer = getattr(status, "Status", None)
        self.answers.append(-1 if answer is None else int(answer))
        return answer

    def _find(self, event: evt.Event) -> Generator[tuple[int, Dataset | None]]:
        if self.find_status:
            yield self.find_status, None
            return
        query = event.identifier
        assert query.QueryRetrieveLevel == "IMAGE"
        for uid, (sop_class, study, series) in self.kept.items():
            if uid not in self.hide and (study, series) == (
                query.StudyInstanceUID,
                query.SeriesInstanceUID,
            ):
                match = Dataset()
                match.SOPClassUID, match.SOPInstanceUID = sop_class, uid
                match.QueryRetrieveLevel = "IMAGE"
                match.StudyInstanceUID, match.SeriesInstanceUID = study, series
                yield 0xFF00, match


def _read(event: evt.Event) -> Heard:
    report = event.event_information
    kept = report.get("ReferencedSOPSequence") or []
    failed = report.get("FailedSOPSequence") or []
    return Heard(
        int(cast(Any, event.request).EventTypeID),
        str(report.TransactionUID),
        tuple(str(one.ReferencedSOPInstanceUID) for one in kept),
        {str(one.ReferencedSOPInstanceUID): int(one.FailureReason) for one in failed},
    )


def _reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = uid
    return item
