"""DICOM peers that do as a test says: answer so, hang, drop, or speak nonsense."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt

DROP = -1
"""Abort the association instead of answering."""
HANG = -2
"""Answer nothing until the peer is stopped."""

USUAL_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.88.34",
)
"""CT, MR, secondary capture, Comprehensive 3D SR. pynetdicom copies them for each association."""

Answer = Callable[[int, str], int]
"""From the number of C-STORE requests before this one and its SOP Instance UID to a status."""

_HOLD_SECONDS = 60.0


def success(_number: int, _uid: str) -> int:
    """Answer 0000 to everything."""
    return 0x0000


class ScriptedPeer:
    """A storage SCP whose every answer is scripted; a context manager.

    Attributes:
        ae_title: its AE title.
        port: where it listens.
        received: SOP Instance UIDs in the order of their requests.
        data_sets: the data set of each request as it came.
        associations: how many it accepted.
    """

    ae_title = "SCRIPTED"

    def __init__(
        self,
        answer: Answer = success,
        *,
        transfer_syntaxes: Sequence[str] = ALL_TRANSFER_SYNTAXES,
        sop_classes: Sequence[str] = USUAL_CLASSES,
    ) -> None:
        self._answer = answer
        self._released = threading.Event()
        self._lock = threading.Lock()
        self.received: list[str] = []
        self.data_sets: list[bytes] = []
        self.associations = 0
        self._open: list[tuple[Any, socket.socket]] = []
        self._entity = AE(self.ae_title)
        self._entity.maximum_associations = 50
        for uid in sop_classes:
            self._entity.add_supported_context(uid, list(transfer_syntaxes))
        self._entity.add_supported_context("1.2.840.10008.1.1")
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_ESTABLISHED, self._established),
        ]
        self._server: Any = self._entity.make_server(("127.0.0.1", 0), evt_handlers=handlers)
        self.port = int(self._server.socket.getsockname()[1])
        # A short poll, so that shutting down does not take half a second.
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def release(self) -> None:
        """Let requests that hang go on: they are answered with success."""
        self._released.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_arguments: object) -> None:
        self.release()
        for association, _connection in self._open:
            association.abort()
            association.join(10)
        # pynetdicom leaves the socket of an association aborted by a handler open.
        for _association, connection in self._open:
            _hang_up(connection)
        # pynetdicom's own shutdown is for servers that it started itself.
        socketserver.BaseServer.shutdown(self._server)
        self._server.server_close()
        self._thread.join(10)

    def _established(self, event: evt.Event) -> None:
        with self._lock:
            self.associations += 1
            self._open.append((event.assoc, cast(Any, event.assoc.dul.socket).socket))

    def _store(self, event: evt.Event) -> int:
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        with self._lock:
            number = len(self.received)
            self.received.append(uid)
            self.data_sets.append(request.DataSet.getvalue())
        status = self._answer(number, uid)
        if status == HANG:
            self._released.wait(_HOLD_SECONDS)
            return 0x0000
        if status == DROP:
            event.assoc.abort()
            return 0x0000
        return status


Script = Callable[[socket.socket], None]


class RawPeer:
    """A TCP server that plays one script a connection, in a thread each; a context manager."""

    ae_title = "RAW"

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.connections = 0
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connections that are open."""
        for connection in self._open:
            _hang_up(connection)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._play, args=(connection,), daemon=True).start()

    def _play(self, connection: socket.socket) -> None:
        try:
            self._script(connection)
        except (OSError, EOFError):
            return


class Proxy:
    """Passes bytes between one caller at a time and a server, and shows the answers it passes.

    Args:
        port: the server's port.
        before_answer: told the number of C-STORE responses passed so far before each is passed;
            returns False to keep it back and everything after it.
    """

    def __init__(self, port: int, before_answer: Callable[[int], bool]) -> None:
        self._before_answer = before_answer
        self._server_port = port
        self._answers = 0
        self._peer = RawPeer(self._play)
        self.port = self._peer.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *arguments: object) -> None:
        self._peer.__exit__(*arguments)

    def _play(self, caller: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._server_port)) as server:
            onwards = threading.Thread(target=_copy, args=(caller, server), daemon=True)
            onwards.start()
            try:
                while True:
                    kind, whole = read_pdu(server)
                    if kind == 0x04:
                        if not self._before_answer(self._answers):
                            return
                        self._answers += 1
                    caller.sendall(whole)
            finally:
                _hang_up(caller)
                onwards.join(10)


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """Return the type of the next PDU and the PDU whole.

    Raises:
        EOFError: if the connection was closed.
    """
    header = _exactly(connection, 6)
    return header[0], header + _exactly(connection, int.from_bytes(header[2:6], "big"))


def accept_association(connection: socket.socket, *, maximum_length: int = 16384) -> None:
    """Read an A-ASSOCIATE-RQ and accept every context in it."""
    from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import (
        ImplementationClassUIDNotification,
        MaximumLengthNotification,
    )

    request: Any = A_ASSOCIATE_RQ()
    request.decode(read_pdu(connection)[1])
    primitive: Any = request.to_primitive()
    accepted: list[Any] = list(primitive.presentation_context_definition_list)
    for context in accepted:
        context.result = 0
    primitive.presentation_context_definition_list = []
    primitive.presentation_context_definition_results_list = accepted
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum_length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3"
    primitive.user_information = [length, implementation]
    primitive.result = 0
    answer: Any = A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    connection.sendall(answer.encode())


def read_message(connection: socket.socket) -> None:
    """Read a C-STORE request with its data set, or a C-ECHO request, to its end."""
    has_data_set = False
    while True:
        kind, whole = read_pdu(connection)
        assert kind == 0x04, kind
        control = whole[11]
        if control & 0x01:
            has_data_set = b"\x00\x00\x00\x08\x02\x00\x00\x00\x00\x00" in whole
        if control & 0x02 and (not control & 0x01 or not has_data_set):
            return


def wait_for_close(connection: socket.socket) -> None:
    """Read, and forget, until the caller closes."""
    while connection.recv(65536):
        continue


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        _hang_up(target)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
