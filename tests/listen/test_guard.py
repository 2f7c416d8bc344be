"""Peers that mean no good, and the bounds that hold them."""

from __future__ import annotations

import inspect
import resource
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from listen.wire import (
    IMPLICIT,
    SCANNER,
    VERIFICATION,
    Listening,
    associated,
    running,
    settings_for,
    sqlite_only,
)
from pynetdicom.transport import AssociationSocket, RequestHandler
from support.waiting import until

from gatekeeper.listen.connection import LARGEST_PDU, BoundedSocket
from storage.engine import Database


@pytest.fixture
def impatient(tmp_path: Path, database: Database) -> Generator[Listening]:
    """Run a listener with short time-outs and room for two."""
    settings = settings_for(
        tmp_path / "spool",
        maximum_associations=2,
        maximum_connections=18,
        maximum_connections_per_host=18,
        association_timeout=0.5,
        dimse_timeout=0.5,
        network_timeout=5.0,
    )
    with running(settings, database) as listening:
        yield listening


@contextmanager
def connection(listening: Listening) -> Generator[socket.socket]:
    with socket.create_connection(("127.0.0.1", listening.port), timeout=20) as plain:
        yield plain


def closed(plain: socket.socket) -> bool:
    """Wait for the other side to close; what it says before is not looked at."""
    try:
        while plain.recv(4096):
            pass
    except ConnectionResetError:
        return True
    return True


def echoes(listening: Listening) -> bool:
    with associated(listening.port, [(VERIFICATION, [IMPLICIT])]) as association:
        return association.is_established and association.send_c_echo().Status == 0x0000


def test_the_hooks_into_pynetdicom_are_where_they_were() -> None:
    """One private method is overridden, one public one; a release that moves them is seen here."""
    hook = getattr(RequestHandler, "_create_association")  # noqa: B009 - private, on purpose
    assert list(inspect.signature(hook).parameters) == ["self"]
    assert list(inspect.signature(AssociationSocket.recv).parameters) == ["self", "nr_bytes"]


@sqlite_only
def test_associations_read_through_the_bounds(listening: Listening) -> None:
    """The override is in effect, and answers leave at once."""
    with associated(listening.port, [(VERIFICATION, [IMPLICIT])]) as association:
        [acceptor] = listening.listener.associations
        bounded = acceptor.dul.socket
        assert isinstance(bounded, BoundedSocket)
        assert bounded.socket is not None
        assert bounded.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert association.send_c_echo().Status == 0x0000


@sqlite_only
def test_an_oversized_pdu_is_not_buffered(impatient: Listening) -> None:
    """A header that claims 4 GiB closes the connection; memory stays where it was."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind in (0x01, 0x04):
        with connection(impatient) as plain:
            plain.sendall(struct.pack(">BBL", kind, 0, 0xFFFFFFF0))
            assert closed(plain)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024
    # The two that were closed count against the limit of two until their threads have ended.
    until(lambda: echoes(impatient), 10, "echoes again")


@sqlite_only
def test_a_request_with_all_its_contexts_fits(listening: Listening) -> None:
    """128 contexts, many transfer syntaxes each: the largest request there can be is taken."""
    syntaxes = [f"1.2.840.10008.1.2.4.{number}" for number in range(50, 150)]
    contexts = [(f"1.2.826.0.1.{'9' * 40}.{number}", syntaxes) for number in range(127)]
    with associated(
        listening.port, [*contexts, (VERIFICATION, [IMPLICIT])], calling=SCANNER
    ) as association:
        assert association.is_established
        assert len(association.rejected_contexts) == 127
    assert LARGEST_PDU > 128 * 100 * 70


@sqlite_only
def test_half_a_pdu_is_cut_at_the_deadline(impatient: Listening) -> None:
    """Half a header, or a byte at a time: closed, and nobody else waits for it."""
    with connection(impatient) as half, connection(impatient) as drip:
        half.sendall(b"\x01\x00\x00")
        drip.sendall(struct.pack(">BBL", 0x01, 0, 4096))

        def dripped() -> bool:
            try:
                drip.sendall(b"\x00")
            except OSError:
                return True
            return False

        until(dripped, 10, "the dripping connection is closed")
        assert closed(half)
    until(lambda: echoes(impatient), 10, "echoes again")


@sqlite_only
def test_silent_connections_cost_no_threads_beyond_the_limit(impatient: Listening) -> None:
    """What is beyond the limit is closed at once; the rest at the association time-out."""
    limit = 18
    silent = [socket.create_connection(("127.0.0.1", impatient.port), 20) for _ in range(40)]
    assert len(impatient.listener.associations) <= limit
    try:
        assert all(closed(plain) for plain in silent)
    finally:
        for plain in silent:
            plain.close()
    until(lambda: echoes(impatient), 10, "echoes again")


@sqlite_only
def test_noise_is_no_association(impatient: Listening) -> None:
    """HTTP, TLS and random bytes are closed, without an exception."""
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\xf4\x01", b"\x01" * 200):
        with connection(impatient) as plain:
            plain.sendall(noise)
            assert closed(plain)
    with connection(impatient):
        pass
    until(lambda: echoes(impatient), 10, "echoes again")
