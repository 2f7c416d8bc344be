"""Peers that mean no good, and the bounds that hold them."""

from __future__ import annotations

import inspect
import resource
import socket
import struct
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from listen.raw_scanner import COMMAND, LAST, STORING, p_data, raw_scanner, request, store
from listen.wire import (
    IMPLICIT,
    SCANNER,
    VERIFICATION,
    Listening,
    associated,
    encoded,
    image,
    running,
    settings_for,
    sqlite_only,
)
from pynetdicom import acse, dimse
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler
from support.waiting import until

from gatekeeper.listen.connection import LARGEST_PDU, BoundedSocket
from gatekeeper.listen.guard import Caps, Connections
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


def resident_peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def echoes(listening: Listening) -> bool:
    with associated(listening.port, [(VERIFICATION, [IMPLICIT])]) as association:
        return association.is_established and association.send_c_echo().Status == 0x0000


@pytest.mark.parametrize(
    ("where", "hook", "parameters"),
    [
        (RequestHandler, "_create_association", ["self"]),
        (Association, "run_reactor", ["self"]),
        (Association, "_run_reactor", ["self"]),
        (Association, "_serve_request", ["self", "msg", "context_id"]),
        (Association, "kill", ["self"]),
        (AssociationServer, "get_handlers", ["self", "event"]),
        (AssociationServer, "service_actions", ["self"]),
        (AssociationSocket, "recv", ["self", "nr_bytes"]),
        (AssociationSocket, "send", ["self", "bytestream"]),
        (DULServiceProvider, "run_reactor", ["self"]),
        (DULServiceProvider, "send_pdu", ["self", "primitive"]),
        (DULServiceProvider, "kill_dul", ["self"]),
        (DULServiceProvider, "stop_dul", ["self"]),
        (DULServiceProvider, "idle_timer_expired", ["self"]),
        (DULServiceProvider, "_decode_pdu", ["self", "bytestream"]),
        (DULServiceProvider, "_process_recv_primitive", ["self"]),
        (DULServiceProvider, "_read_pdu_data", ["self"]),
        (dimse.DIMSEServiceProvider, "receive_primitive", ["self", "primitive"]),
        (acse.ACSE, "is_release_requested", ["self"]),
        (acse.ACSE, "is_aborted", ["self", "abort_type"]),
    ],
)
def test_the_hooks_into_pynetdicom_are_where_they_were(
    where: type, hook: str, parameters: list[str]
) -> None:
    """Private methods are among them; a release that moves one is seen here."""
    assert list(inspect.signature(getattr(where, hook)).parameters) == parameters


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
def test_oversized_pdu_is_closed_before_it_is_buffered(impatient: Listening) -> None:
    """A header that claims 4 GiB closes the connection; memory stays where it was."""
    before = resident_peak_mib()
    for kind in (0x01, 0x04):
        with connection(impatient) as plain:
            plain.sendall(struct.pack(">BBL", kind, 0, 0xFFFFFFF0))
            assert closed(plain)
    with raw_scanner(impatient.port) as scanner:
        scanner.send(struct.pack(">BBL", 0x04, 0, 0xFFFFFFF0))
        assert scanner.is_aborted()
    assert resident_peak_mib() - before < 50
    # Those that were closed count against the limit of two until their threads have ended.
    until(lambda: echoes(impatient), 10, "echoes again")


@sqlite_only
def test_oversized_pdu_half_sent_by_twelve_at_once_costs_no_memory(impatient: Listening) -> None:
    """Twelve headers of 4 GiB, each with all the bytes that are taken behind it."""
    before = resident_peak_mib()
    with ExitStack() as stack:
        for _ in range(12):
            plain = stack.enter_context(connection(impatient))
            with suppress(OSError):
                # The rest of these finds the connection closed.
                plain.sendall(struct.pack(">BBL", 0x04, 0, 0xFFFFFFFF))
                plain.sendall(bytes(1 << 20))
            assert closed(plain)
        assert resident_peak_mib() - before < 50
        until(lambda: echoes(impatient), 10, "echoes while the peers are still there")


@sqlite_only
def test_endless_message_ends_at_its_byte_budget(tmp_path: Path, database: Database) -> None:
    """Of one object, of one association, and of another request; nothing of it stays."""
    limits = {"maximum_object_mib": 2, "maximum_association_mib": 3, "maximum_request_mib": 1}
    settings = settings_for(tmp_path / "spool", **limits)
    fragment = p_data((STORING, 0, bytes(100_000)))
    action = bytearray(request("1.2.3"))
    action[action.index(b"\x00\x01\x02\x00\x00\x00\x01\x00") + 6] = 0x30
    beginnings = {
        "object": p_data((STORING, COMMAND | LAST, request("1.2.3"))),
        "request": p_data((STORING, COMMAND | LAST, bytes(action))),
    }
    before = resident_peak_mib()
    with running(settings, database) as listening:
        for beginning in beginnings.values():
            with raw_scanner(listening.port) as scanner:
                scanner.send(beginning, p_data((STORING, 0, encoded(image("1.2.3"))[:-64])))
                with suppress(OSError):
                    for _ in range(1000):
                        scanner.send(fragment)
                    pytest.fail("100 MB were taken")
        with raw_scanner(listening.port) as scanner:
            large = encoded(image("1.2.3", PixelData=bytes(1 << 20)))
            scanner.send(store("1.2.3", large), store("1.2.3", large))
            assert [scanner.status(), scanner.status()] == [0x0000, 0x0000]
            with suppress(OSError):
                scanner.send(store("1.2.3", large))
            assert scanner.is_aborted()
        until(lambda: not listening.listener.associations, 20, "all have ended")
        until(lambda: not listening.unfinished(), 20, "nothing of it is left")
    assert resident_peak_mib() - before < 50


@sqlite_only
def test_a_large_object_does_not_grow_the_process(listening: Listening) -> None:
    """It goes to the spool as it comes: 64 MB cost a few."""
    beginning = encoded(image("1.2.3"))[:-72]
    header = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 64_000_000)
    with raw_scanner(listening.port) as scanner:
        scanner.send(store("1.2.4"))
        assert scanner.status() == 0x0000
        before = resident_peak_mib()
        scanner.send(p_data((STORING, COMMAND | LAST, request("1.2.3"))))
        scanner.send(p_data((STORING, 0, beginning[:-4] + header)))
        fragment = p_data((STORING, 0, bytes(100_000)))
        for _ in range(640):
            scanner.send(fragment)
        scanner.send(p_data((STORING, LAST, b"")))
        assert scanner.status() == 0x0000
        assert resident_peak_mib() - before < 16
        scanner.release()
    [kept] = listening.kept("1.2.3")
    assert kept.size > 64_000_000


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
def test_slow_loris_is_cut_at_the_pdu_deadline_while_others_echo(impatient: Listening) -> None:
    """Half a request, half a header, half an object, a byte at a time: cut, and nobody waits."""
    request_header = struct.pack(">BBL", 0x01, 0, 4096)
    with (
        connection(impatient) as half,
        connection(impatient) as drip,
        raw_scanner(impatient.port) as object_half,
        raw_scanner(impatient.port) as object_drip,
    ):
        half.sendall(b"\x01\x00\x00")
        drip.sendall(request_header)
        object_half.send(store("1.2.3")[:-30])
        object_drip.send(store("1.2.3")[:-200])
        gone: set[socket.socket] = set()

        def dripped() -> bool:
            for plain in {drip, object_drip.connection} - gone:
                try:
                    plain.sendall(b"\x00")
                except OSError:
                    gone.add(plain)
            return len(gone) == 2

        until(dripped, 20, "the dripping connections are closed")
        assert closed(half)
        assert object_half.is_aborted()
    until(lambda: echoes(impatient), 10, "echoes again")


@sqlite_only
def test_slow_loris_does_not_delay_an_echo(tmp_path: Path, database: Database) -> None:
    """While others hang in the middle of everything, C-ECHO is answered as ever."""
    with running(settings_for(tmp_path / "spool"), database) as listening, ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(connection(listening)).sendall(b"\x01\x00\x00")
            stack.enter_context(raw_scanner(listening.port)).send(store("1.2.3")[:-30])
        begun = time.monotonic()
        assert echoes(listening)
        # One second is promised; the machine of a test may be busy.
        assert time.monotonic() - begun < 10


@sqlite_only
def test_slow_loris_in_whole_pdus_is_cut_at_the_message_deadline(
    tmp_path: Path, database: Database
) -> None:
    """A byte in each PDU keeps every PDU deadline and comes to no end."""
    settings = settings_for(tmp_path / "spool", object_seconds=0.5)
    with (
        running(settings, database) as listening,
        raw_scanner(listening.port) as scanner,
    ):
        scanner.send(p_data((STORING, COMMAND | LAST, request("1.2.3"))))

        def dripped() -> bool:
            try:
                scanner.send(p_data((STORING, 0, b"\x00")))
            except OSError:
                return True
            return False

        until(dripped, 20, "the connection is closed")
        until(lambda: not listening.listener.associations, 20, "the association has ended")
        assert listening.count() == 0


@sqlite_only
def test_connection_flood_costs_no_threads_beyond_the_cap(impatient: Listening) -> None:
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
def test_connection_flood_of_one_host_leaves_room_for_others(
    tmp_path: Path, database: Database
) -> None:
    """Silent connections count neither against another address nor as associations."""
    settings = settings_for(
        tmp_path / "spool",
        maximum_connections=12,
        maximum_connections_per_host=8,
        maximum_associations=1,
    )
    with running(settings, database) as listening, ExitStack() as stack:
        for _ in range(30):
            flood = raw_scanner(listening.port, associated=False, source="127.0.0.2")
            stack.enter_context(flood)
        assert echoes(listening)
        assert len(listening.listener.associations) <= 9


def test_connections_are_counted_by_host_and_in_total() -> None:
    """A place is free again when its connection ends, and none is counted twice."""
    connections = Connections(Caps(total=3, per_host=2))
    assert [connections.admit("a") for _ in range(3)] == [True, True, False]
    assert [connections.admit("b") for _ in range(2)] == [True, False]
    connections.leave("a")
    assert connections.admit("b")
    assert not connections.admit("a")
    for host in ("a", "b", "b"):
        connections.leave(host)
    assert [connections.admit("a") for _ in range(3)] == [True, True, False]


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
