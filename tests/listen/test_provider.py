"""The reader under pynetdicom's negotiation, against a scanner that speaks wire bytes."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listen.raw_scanner import (
    COMMAND,
    ECHOING,
    LAST,
    NEVER_OFFERED,
    STORING,
    Value,
    associate_request,
    chunks,
    echo,
    p_data,
    raw_scanner,
    request,
    store,
)
from listen.wire import (
    MR,
    Listening,
    associated,
    encoded,
    image,
    running,
    settings_for,
    sqlite_only,
    together,
)
from support.dicom_peers import read_pdu
from support.waiting import until

from gatekeeper.listen.guard import GuardedServer
from gatekeeper.send import pdu
from gatekeeper.tls import TlsError
from storage.engine import Database

pytestmark = sqlite_only


def test_the_state_that_the_reader_uses_is_where_it_was(listening: Listening) -> None:
    """Attributes, and what they hold while an association is established."""
    with raw_scanner(listening.port) as scanner:
        scanner.send(echo())
        assert scanner.status() == 0x0000
        [association] = listening.listener.associations
        state: Any = association
        provider: Any = association.dul
        assert state._server is not None
        assert state._reactor_checkpoint.is_set()
        assert (state._kill, provider._kill_thread) == (False, False)
        assert state._dul_ready.is_set()
        assert provider.state_machine.current_state == "Sta6"
        assert provider.artim_timer.remaining
        assert provider._idle_timer.remaining > 0
        assert provider._recv_pdu.empty()
        scanner.release()


def test_the_first_object_may_come_with_the_acceptance_hardly_sent(listening: Listening) -> None:
    """A peer may be faster than our own thread: request, object, and release all at once."""
    for number in range(10):
        with raw_scanner(listening.port, associated=False) as scanner:
            scanner.send(associate_request())
            assert read_pdu(scanner.connection)[0] == pdu.ASSOCIATE_AC
            scanner.send(store(f"1.2.3.{number}") + pdu.release_request())
            assert scanner.status() == 0x0000
            assert read_pdu(scanner.connection)[0] == pdu.RELEASE_RP
    assert listening.count() == 10


def test_objects_and_other_requests_take_turns(listening: Listening) -> None:
    """C-ECHO goes through pynetdicom, C-STORE does not, on one association."""
    with raw_scanner(listening.port) as scanner:
        for number in range(3):
            scanner.send(store(f"1.2.3.{number}"))
            assert scanner.status() == 0x0000
            scanner.send(echo())
            assert scanner.status() == 0x0000
        scanner.release()
    assert listening.count() == 3


def test_any_fragments_are_kept_as_one_object(listening: Listening) -> None:
    """However a sender cuts command and data set into values, PDUs and TCP segments."""
    numbers = iter(range(10**6))
    with raw_scanner(listening.port) as scanner:

        @settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
        @given(st.data())
        def check(draw: st.DataObject) -> None:
            sizes = st.lists(st.integers(0, 200), max_size=4)
            instance = f"1.2.3.{next(numbers)}"
            data = encoded(image(instance))
            values: list[Value] = []
            for kind, content in ((COMMAND, request(instance)), (0, data)):
                parts = chunks(content, draw.draw(sizes))
                values += [(STORING, kind, part) for part in parts[:-1]]
                values.append((STORING, kind | LAST, parts[-1]))
            stream = b""
            while values:
                count = draw.draw(st.integers(1, len(values)))
                stream += p_data(*values[:count])
                values = values[count:]
            scanner.send(*chunks(stream, draw.draw(st.lists(st.integers(1, 300), max_size=4))))
            assert scanner.status() == 0x0000
            assert listening.data_set(instance) == data

        check()
        scanner.release()


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(p_data((STORING, LAST, b"data")), id="data set without command"),
        pytest.param(p_data((NEVER_OFFERED, COMMAND | LAST, request("1.2"))), id="context"),
        pytest.param(
            p_data((STORING, COMMAND | LAST, request("1.2")), (ECHOING, LAST, b"x")), id="mixed"
        ),
        pytest.param(p_data((STORING, COMMAND | LAST, b"\xff" * 30)), id="command of noise"),
        pytest.param(p_data((STORING, COMMAND | LAST, request("1.2")[:-4])), id="command cut"),
        pytest.param(associate_request(), id="association request again"),
        pytest.param(pdu.HEADER.pack(pdu.P_DATA_TF, 0xFFFFFFFF), id="PDU of 4 GiB"),
        pytest.param(pdu.HEADER.pack(0x42, 10), id="PDU of no type"),
        pytest.param(pdu.release_reply(), id="release reply unasked"),
        pytest.param(echo() * 200, id="requests without waiting"),
    ],
)
def test_nonsense_is_answered_with_an_abort(listening: Listening, nonsense: bytes) -> None:
    """A-ABORT, the connection closed, nothing kept; the object before it stays."""
    with raw_scanner(listening.port) as scanner:
        scanner.send(store("1.2.3.1"))
        assert scanner.status() == 0x0000
        scanner.send(nonsense)
        assert scanner.is_aborted()
    until(lambda: not listening.listener.associations, 20, "the association has ended")
    assert listening.count() == 1
    until(lambda: not listening.unfinished(), 20, "nothing of it is left")


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_an_object_that_is_broken_off_leaves_nothing(listening: Listening, ending: str) -> None:
    """The connection closed, or aborted by the peer, in the middle of a data set."""
    whole = store("1.2.3.1", encoded(image("1.2.3.1", PixelData=bytes(100_000))))
    with raw_scanner(listening.port) as scanner:
        scanner.send(store("1.2.3.2"))
        assert scanner.status() == 0x0000
        # A whole PDU is needed before an A-ABORT can be one.
        begun = p_data((STORING, COMMAND | LAST, request("1.2.3.1"))) + p_data(
            (STORING, 0, encoded(image("1.2.3.1", PixelData=bytes(100_000)))[:-10])
        )
        scanner.send(whole[:-10] if ending == "close" else begun + pdu.abort())
    until(lambda: not listening.listener.associations, 20, "the association has ended")
    assert listening.count() == 1
    until(lambda: not listening.unfinished(), 20, "nothing of it is left")


def test_what_is_refused_at_its_command_is_read_to_its_end(
    tmp_path: Path, database: Database
) -> None:
    """Low disk: nothing is written, the status comes after the data; the association goes on."""
    settings = settings_for(tmp_path / "spool")
    full = dataclasses.replace(settings.spool, low_water_mib=1 << 40)
    with running(dataclasses.replace(settings, spool=full), database) as listening:
        data = encoded(image("1.2.3.1", PixelData=bytes(1 << 20)))
        with raw_scanner(listening.port) as scanner:
            for _ in range(2):
                scanner.send(p_data((STORING, COMMAND | LAST, request("1.2.3.1"))))
                for part in chunks(data, [100_000] * 10):
                    scanner.send(p_data((STORING, 0, part)))
                scanner.send(p_data((STORING, LAST, b"")))
                assert scanner.status() == 0xA700
            until(lambda: not listening.unfinished(), 20, "nothing of it is left")
            scanner.send(echo())
            assert scanner.status() == 0x0000
            scanner.release()


def test_a_class_that_is_not_stored_here_is_refused_and_the_association_goes_on(
    listening: Listening,
) -> None:
    """0x0122, also for Verification, which is negotiated but stores nothing."""
    with raw_scanner(listening.port) as scanner:
        for sop_class in ("1.2.3.4.5", "1.2.840.10008.1.1", ""):
            asked = request("1.2.3", sop_class=sop_class)
            scanner.send(p_data((STORING, COMMAND | LAST, asked), (STORING, LAST, b"data")))
            assert scanner.status() == 0x0122
        scanner.send(store("1.2.3.1"))
        assert scanner.status() == 0x0000
        scanner.release()


def test_stopping_ends_an_association_that_is_silent_or_in_the_middle(
    tmp_path: Path, database: Database
) -> None:
    """Threads that wait for bytes are woken; nobody waits for a time-out."""
    settings = settings_for(tmp_path / "spool", network_timeout=600.0, dimse_timeout=600.0)
    with (
        running(settings, database) as listening,
        raw_scanner(listening.port) as silent,
        raw_scanner(listening.port) as middle,
    ):
        middle.send(store("1.2.3.1")[:-20])
        until(lambda: len(listening.listener.associations) == 2, 20, "both are open")
        ended = threading.Event()

        def stop() -> None:
            listening.listener.stop(0.0)
            ended.set()

        together(stop, lambda: silent.is_aborted() or pytest.fail("not aborted"), middle.is_aborted)
        assert ended.is_set()
        assert not listening.listener.associations


def test_an_idle_association_is_aborted_after_the_network_timeout(
    tmp_path: Path, database: Database
) -> None:
    """Half-open sockets end: silence is silence, whether or not the peer is still there."""
    with (
        running(settings_for(tmp_path / "spool", network_timeout=0.5), database) as listening,
        raw_scanner(listening.port) as scanner,
    ):
        assert scanner.is_aborted()
        until(lambda: not listening.listener.associations, 20, "the association has ended")


def test_a_request_of_our_own_can_be_made_while_an_association_is_open(
    listening: Listening,
) -> None:
    """The association's thread leaves the answer to who asked: C-ECHO towards the peer."""
    with raw_scanner(listening.port) as scanner:
        scanner.send(echo())
        assert scanner.status() == 0x0000
        [association] = listening.listener.associations
        contexts: list[Any] = list(association.accepted_contexts)
        for context in contexts:
            # As if the role had been negotiated.
            context._as_scu = True
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(association.send_c_echo().Status)

        def reply() -> None:
            kind, whole = read_pdu(scanner.connection)
            assert kind == pdu.P_DATA_TF
            assert whole[10] == ECHOING
            response = (
                b"\x00\x00\x02\x00\x12\x00\x00\x001.2.840.10008.1.1\x00"
                b"\x00\x00\x00\x01\x02\x00\x00\x00\x30\x80"
                b"\x00\x00\x20\x01\x02\x00\x00\x00\x01\x00"
                b"\x00\x00\x00\x08\x02\x00\x00\x00\x01\x01"
                b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"
            )
            length = b"\x00\x00\x00\x00\x04\x00\x00\x00" + len(response).to_bytes(4, "little")
            scanner.send(p_data((ECHOING, COMMAND | LAST, length + response)))

        together(ask, reply)
        assert statuses == [0x0000]
        scanner.send(store("1.2.3.1"))
        assert scanner.status() == 0x0000
        scanner.release()


@pytest.fixture
def certificate(tmp_path: Path, peer: Any) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS contexts of a server with a certificate, and of a client that knows it."""
    key, chain = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [peer("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", chain]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    return server, ssl.create_default_context(cafile=str(chain))


def test_tls_underneath_looks_the_same(
    tmp_path: Path,
    database: Database,
    certificate: tuple[ssl.SSLContext, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Objects over many records, pending bytes, C-ECHO, release; a silent peer disturbs nobody."""
    ours, theirs = certificate

    def secure(connection: socket.socket) -> socket.socket:
        return ours.wrap_socket(connection, server_side=True)

    monkeypatch.setattr(GuardedServer, "secure", staticmethod(secure))
    with (
        running(settings_for(tmp_path / "spool"), database) as listening,
        raw_scanner(listening.port, associated=False),
        raw_scanner(listening.port, tls=theirs) as scanner,
    ):
        data = encoded(image("1.2.3.1", PixelData=bytes(range(256)) * 1000))
        scanner.send(store("1.2.3.1", data), echo(), store("1.2.3.2"))
        assert {scanner.status() for _ in range(3)} == {0x0000}
        assert listening.data_set("1.2.3.1") == data
        scanner.release()
    assert listening.count() == 2


def test_a_connection_that_tls_refuses_is_closed(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed, logged, and its place is free again; so it is after any error of the connection."""
    reasons = [TlsError("refused"), ConnectionResetError()]

    def secure(_connection: socket.socket) -> socket.socket:
        raise reasons.pop()

    settings = settings_for(tmp_path / "spool", maximum_connections_per_host=1)
    with running(settings, database) as listening:
        with monkeypatch.context() as patch:
            patch.setattr(GuardedServer, "secure", staticmethod(secure))
            for _ in range(len(reasons)):
                with raw_scanner(listening.port, associated=False) as scanner:
                    assert not scanner.is_aborted()
                until(lambda: not listening.listener.associations, 20, "the association has ended")
        with associated(listening.port, [(MR, ["1.2.840.10008.1.2"])]) as association:
            assert association.is_established
