"""DICOM TLS to the listener: who is served, who is refused and why, and whom that delays."""

from __future__ import annotations

import dataclasses
import datetime
import select
import socket
import ssl
import subprocess
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import structlog
from listen.wire import (
    IMPLICIT,
    OWN_AE,
    SCANNER,
    VERIFICATION,
    Listening,
    associated,
    dcmtk,
    image_file,
    rejection,
    running,
    settings_for,
    sqlite_only,
)
from support.authority import Authority, Identity
from support.gate import free_port
from support.gate import listening as accepts
from support.waiting import until

from gatekeeper.errors import ConfigurationError
from gatekeeper.listen.server import Listener
from gatekeeper.settings import Settings
from storage import nodes
from storage.engine import Database
from storage.records import Node
from storage.spool import Spool

Peer = Callable[[str], str]
Events = list[Any]

CALLING_AE_NOT_RECOGNISED = (1, 1, 3)
SECURED = Node(SCANNER, "127.0.0.1", 0, may_send=True, tls=True)
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def events() -> Generator[Events]:
    """Give the events that are logged, as they come."""
    with structlog.testing.capture_logs() as found:
        yield found


@pytest.fixture
def scanner(authority: Authority) -> Identity:
    """Return the certificate that names the scanner's host."""
    return authority.issue("127.0.0.1")


def tls_settings(folder: Path, authority: Authority, **tls: Any) -> Settings:
    """Return settings of a listener with a plain and a TLS port."""
    settings = settings_for(folder, tls_port=free_port())
    own = authority.settings(authority.issue("localhost"), **tls)
    return dataclasses.replace(settings, tls=own)


@pytest.fixture
def secured(tmp_path: Path, database: Database, authority: Authority) -> Generator[Listening]:
    """Run a listener whose scanner calls by TLS alone."""
    with running(tls_settings(tmp_path / "spool", authority), database) as found:
        enter(found, SECURED)
        yield found


def enter(listening: Listening, node: Node) -> None:
    with listening.database.begin() as tx:
        nodes.save(tx, node)


def tls_options(identity: Identity, authority: Authority) -> list[object]:
    """Return DCMTK's options: key, certificate and CA."""
    return ["+tls", identity.key, identity.certificate, "+cf", authority.file]


def echo(
    program: str, port: int, identity: Identity, authority: Authority, *, code: int = 0
) -> str:
    names = ("-aet", SCANNER, "-aec", OWN_AE)
    address = ("127.0.0.1", port)
    return dcmtk(program, *tls_options(identity, authority), *names, *address, code=code)


def reasons(events: Events, kind: str) -> list[str]:
    return [event["reason"] for event in list(events) if event["event"] == kind]


def client(authority: Authority, identity: Identity | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


def refused(port: int, context: ssl.SSLContext) -> bool:
    """Return whether the handshake, or the first byte after it, ends the connection."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            return connection.recv(1) == b""
    except OSError:
        return True


def ended(connections: list[socket.socket]) -> list[socket.socket]:
    """Return the silent connections that the other side has closed."""
    return select.select(connections, [], [], 0)[0]


def _succeeds(command: list[object]) -> bool:
    run = subprocess.run([*map(str, command)], capture_output=True, timeout=60, check=False)
    return run.returncode == 0


@sqlite_only
def test_dcmtk_stores_by_tls_with_mutual_certificates(
    secured: Listening, scanner: Identity, authority: Authority, peer: Peer, tmp_path: Path
) -> None:
    """A real sender in DCMTK's own BCP 195 profile; the bytes are kept as ever."""
    sent = image_file(tmp_path / "images", "1.2.3.4.5")
    options = tls_options(scanner, authority)
    names = ("-aet", SCANNER, "-aec", OWN_AE)
    port = secured.listener.tls_port

    dcmtk(peer("storescu"), *options, *names, "127.0.0.1", port, sent)

    assert secured.data_set("1.2.3.4.5")
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        client(authority, scanner).wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        assert connection.version() == "TLSv1.3"
        assert connection.compression() is None


@sqlite_only
def test_silent_clients_delay_nobody(
    secured: Listening, scanner: Identity, authority: Authority, peer: Peer
) -> None:
    """The handshake runs in each connection's own thread: C-ECHO is answered on both ports."""
    enter(secured, dataclasses.replace(SECURED, tls=False))
    port = secured.listener.tls_port
    silent = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(8)]
    silent[0].sendall(b"\x16\x03\x01")
    try:
        echo(peer("echoscu"), port, scanner, authority)
        with associated(secured.port, [(VERIFICATION, [IMPLICIT])]) as association:
            assert association.send_c_echo().Status == 0x0000
    finally:
        for connection in silent:
            connection.close()


@sqlite_only
def test_handshakes_count_as_connections(
    tmp_path: Path, database: Database, scanner: Identity, authority: Authority, peer: Peer
) -> None:
    """What is beyond the limit is closed before it costs a thread; there is room again after."""
    settings = tls_settings(tmp_path / "spool", authority, handshake_seconds=60.0)
    few = dataclasses.replace(settings.listen, maximum_connections=17)
    with running(dataclasses.replace(settings, listen=few), database) as listening:
        port = listening.listener.tls_port
        silent = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(30)]
        beyond = 30 - few.maximum_connections
        try:
            until(lambda: len(ended(silent)) >= beyond, 20, "those beyond the limit are closed")
            assert len(ended(silent)) == beyond
        finally:
            for connection in silent:
                connection.close()
        options = tls_options(scanner, authority)
        call = [peer("echoscu"), *options, "-aet", SCANNER, "-aec", OWN_AE, "127.0.0.1", port]
        until(lambda: _succeeds(call), 20, "C-ECHO is answered")


@sqlite_only
def test_a_handshake_with_the_wrong_certificate_ends_it(
    secured: Listening,
    scanner: Identity,
    authority: Authority,
    stranger: Authority,
    events: Events,
    peer: Peer,
) -> None:
    """Another CA, expired, or none: refused with the reason logged, and the next is served."""
    port = secured.listener.tls_port
    expired = authority.issue("127.0.0.1", not_before=NOW - 9 * DAY, not_after=NOW - DAY)

    for identity, reason in (
        (stranger.issue("127.0.0.1"), "TLS: the peer's certificate leads to no CA of tls.ca"),
        (expired, "TLS: the peer's certificate has expired"),
        (None, "TLS: the peer presented no certificate"),
    ):
        assert refused(port, client(authority, identity))
        until(lambda reason=reason: reason in reasons(events, "connection_refused"), 20, reason)
    echo(peer("echoscu"), port, expired, authority, code=1)
    echo(peer("echoscu"), port, scanner, authority)


@sqlite_only
def test_plain_text_and_old_versions_are_refused_on_the_tls_port(
    secured: Listening, scanner: Identity, authority: Authority, events: Events, peer: Peer
) -> None:
    """No association without TLS 1.2; the reason is logged, and the next is served."""
    port = secured.listener.tls_port

    with associated(port, [(VERIFICATION, [IMPLICIT])]) as association:
        assert not association.is_established
    spoken = "TLS: the peer speaks no TLS"
    until(lambda: spoken in reasons(events, "connection_refused"), 20, spoken)
    old = client(authority, scanner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    assert refused(port, old)
    allowed = "TLS: the peer speaks no version of TLS that is allowed"
    until(lambda: allowed in reasons(events, "connection_refused"), 20, allowed)
    echo(peer("echoscu"), port, scanner, authority)


@sqlite_only
def test_a_node_that_needs_tls_is_refused_in_plain_text(
    secured: Listening, scanner: Identity, authority: Authority, events: Events, peer: Peer
) -> None:
    """The right AE title at the right address is not enough; TLS on the plain port is noise."""
    with associated(secured.port, [(VERIFICATION, [IMPLICIT])]) as association:
        assert rejection(association) == CALLING_AE_NOT_RECOGNISED
    assert reasons(events, "association_refused") == ["the node is to call by TLS alone"]
    echo(peer("echoscu"), secured.port, scanner, authority, code=1)
    assert accepts(secured.port)
    enter(secured, dataclasses.replace(SECURED, tls=False))
    with associated(secured.port, [(VERIFICATION, [IMPLICIT])]) as association:
        assert association.send_c_echo().Status == 0x0000


@sqlite_only
def test_the_certificate_must_be_the_nodes(
    secured: Listening, scanner: Identity, authority: Authority, events: Events, peer: Peer
) -> None:
    """A certificate of our CA for another host, with the right AE title and address, is refused."""
    port = secured.listener.tls_port
    other = authority.issue("127.0.0.2")

    echo(peer("echoscu"), port, other, authority, code=1)
    assert reasons(events, "association_refused") == ["the certificate is not the node's"]
    [refusal] = [event for event in events if event["event"] == "association_refused"]
    assert refusal["certificate"] == other.fingerprint

    enter(secured, dataclasses.replace(SECURED, certificate=other.fingerprint))
    echo(peer("echoscu"), port, other, authority)
    echo(peer("echoscu"), port, scanner, authority, code=1)


@sqlite_only
def test_a_renewed_certificate_is_presented_at_once(
    tmp_path: Path, database: Database, scanner: Identity, authority: Authority
) -> None:
    """Rotation needs no restart."""
    own = authority.issue("localhost")
    settings = settings_for(tmp_path / "spool", tls_port=free_port())
    settings = dataclasses.replace(settings, tls=authority.settings(own))
    with running(settings, database) as listening:
        port = listening.listener.tls_port

        def presented() -> bytes:
            with (
                socket.create_connection(("127.0.0.1", port), 20) as plain,
                client(authority, scanner).wrap_socket(
                    plain, server_hostname="localhost"
                ) as connection,
            ):
                found = connection.getpeercert(binary_form=True)
                assert found
                return found

        first = presented()
        own.write(authority.leaf("localhost"))
        assert presented() != first


@sqlite_only
def test_certificates_may_be_left_to_the_nodes(
    tmp_path: Path, database: Database, authority: Authority, peer: Peer
) -> None:
    """Where callers need none, one that is pinned does still."""
    settings = tls_settings(tmp_path / "spool", authority, require_certificate=False)
    with running(settings, database) as listening:
        anonymous = ("+tla", "-ic", "-aet", SCANNER, "-aec", OWN_AE)
        address = ("127.0.0.1", listening.listener.tls_port)
        enter(listening, SECURED)
        dcmtk(peer("echoscu"), *anonymous, *address)
        enter(listening, dataclasses.replace(SECURED, certificate="0" * 64))
        dcmtk(peer("echoscu"), *anonymous, *address, code=1)


@sqlite_only
def test_the_plain_port_can_be_left_closed(
    tmp_path: Path, database: Database, scanner: Identity, authority: Authority, peer: Peer
) -> None:
    """TLS alone, or nothing at all, which is an error."""
    settings = tls_settings(tmp_path / "spool", authority)
    alone = dataclasses.replace(settings.listen, plain=False)
    with running(dataclasses.replace(settings, listen=alone), database) as listening:
        assert listening.port == listening.listener.tls_port
        echo(peer("echoscu"), listening.port, scanner, authority)
    none = dataclasses.replace(alone, tls_port=0)
    spool = Spool(Path(settings.spool.directory))
    with pytest.raises(ConfigurationError, match=r"listen\.plain"):
        Listener(dataclasses.replace(settings, listen=none), database, spool).start()


@sqlite_only
def test_no_port_opens_with_a_key_that_does_not_fit(
    tmp_path: Path, database: Database, authority: Authority
) -> None:
    """The error names the setting; nothing is served by half."""
    settings = tls_settings(tmp_path / "spool", authority)
    other = authority.issue("localhost")
    wrong = dataclasses.replace(settings.tls, key=str(other.key))
    listener = Listener(
        dataclasses.replace(settings, tls=wrong), database, Spool(tmp_path / "spool")
    )
    with pytest.raises(ConfigurationError, match=r"tls\.key: not the key"):
        listener.start()
    assert not accepts(settings.listen.tls_port)
