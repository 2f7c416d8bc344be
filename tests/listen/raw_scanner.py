"""A scanner that speaks wire bytes, one call at a time, as badly as a test wants."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

from listen.wire import EXPLICIT, MR, OWN_AE, SCANNER, VERIFICATION, encoded, image
from support.dicom_peers import read_pdu

from gatekeeper.send import command, pdu

Value = tuple[int, int, bytes]
"""Context identifier, message control header, fragment."""

STORING, ECHOING, NEVER_OFFERED = 1, 3, 99
COMMAND, LAST = pdu.COMMAND, pdu.LAST


def p_data(*values: Value) -> bytes:
    """Return one P-DATA-TF PDU with these values."""
    body = b"".join(
        (len(data) + 2).to_bytes(4, "big") + bytes((context, control)) + data
        for context, control, data in values
    )
    return pdu.HEADER.pack(pdu.P_DATA_TF, len(body)) + body


def request(instance: str, *, number: int = 1, sop_class: str = MR) -> bytes:
    """Return the command set of a C-STORE request."""
    return command.store_request(number, sop_class, instance)


def store(instance: str, data: bytes | None = None) -> bytes:
    """Return a whole C-STORE message, command and data set in a PDU each."""
    data = encoded(image(instance)) if data is None else data
    return p_data((STORING, COMMAND | LAST, request(instance))) + p_data((STORING, LAST, data))


def echo() -> bytes:
    """Return a C-ECHO request."""
    return p_data((ECHOING, COMMAND | LAST, command.echo_request(7, VERIFICATION)))


@dataclass
class RawScanner:
    """One connection."""

    connection: socket.socket

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.sendall(piece)

    def associate(self, calling: str = SCANNER) -> None:
        """Ask for MR in Explicit VR and for verification, and read the acceptance."""
        self.send(associate_request(calling))
        kind, _whole = read_pdu(self.connection)
        assert kind == pdu.ASSOCIATE_AC

    def answer(self) -> command.Response:
        """Return the next response."""
        kind, whole = read_pdu(self.connection)
        assert kind == pdu.P_DATA_TF, f"PDU {kind}"
        return command.read_response(b"".join(part for _, _, part in pdu.values(whole[6:])))

    def status(self) -> int | None:
        return self.answer().status

    def release(self) -> None:
        self.send(pdu.release_request())
        assert read_pdu(self.connection)[0] == pdu.RELEASE_RP

    def is_aborted(self) -> bool:
        """Read to the end; return whether an A-ABORT came before it."""
        aborted = False
        try:
            while True:
                aborted |= read_pdu(self.connection)[0] == pdu.ABORT
        except (EOFError, ConnectionError):
            return aborted


def associate_request(calling: str = SCANNER) -> bytes:
    contexts = {STORING: (MR, EXPLICIT), ECHOING: (VERIFICATION, "1.2.840.10008.1.2")}
    return pdu.associate_request(OWN_AE, calling, contexts, 16384)


@contextmanager
def raw_scanner(
    port: int, *, associated: bool = True, tls: ssl.SSLContext | None = None, source: str = ""
) -> Generator[RawScanner]:
    """Open a connection, plain or TLS, from a loopback address."""
    address = (source, 0) if source else None
    with socket.create_connection(("127.0.0.1", port), 20, address) as plain:
        connection = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        scanner = RawScanner(connection)
        if associated:
            scanner.associate()
        try:
            yield scanner
        finally:
            connection.close()


def chunks(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """Return `data` cut into pieces of these sizes, the rest in a last one."""
    pieces: list[bytes] = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]
