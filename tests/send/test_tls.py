"""Sending by TLS: to whom it goes, to whom it does not, and what became of the delivery."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.authority import Authority, Identity
from support.dicom_peers import RawPeer, ScriptedPeer, wait_for_close
from support.gate import free_port
from support.objects import result_of

from gatekeeper.errors import TransportError
from gatekeeper.send.attempt import Desk, deliver
from gatekeeper.send.dimse import DimseTransport, echo
from gatekeeper.send.files import send_files
from gatekeeper.send.sender import credentials_of
from gatekeeper.send.transport import SendObject
from gatekeeper.settings import SendSettings, Settings, TlsSettings
from gatekeeper.tls import Credentials
from storage import deliveries, nodes
from storage.engine import Database
from storage.records import DeliveryState, Node
from storage.spool import Spool

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
NO_CA = "TLS: the peer's certificate leads to no CA of tls.ca"


class TlsPeer(RawPeer):
    """A TLS server that keeps what it saw, before and after it was deciphered.

    Attributes:
        wire: every byte that came.
        clear: what the caller said under TLS.
    """

    ae_title = "STORESCP"

    def __init__(self, identity: Identity, authority: Authority) -> None:
        self._context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file)
        )
        self._context.load_cert_chain(identity.certificate, identity.key)
        self.wire = b""
        self.clear = b""
        super().__init__(self._talk)

    def _talk(self, connection: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        shaken = False
        while data := connection.recv(65536):
            self.wire += data
            incoming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                if not shaken:
                    tls.do_handshake()
                    shaken = True
                self.clear += tls.read()
            connection.sendall(outgoing.read())


@pytest.fixture
def trusting(authority: Authority) -> TlsSettings:
    return authority.settings(authority.issue("gatekeeper.example"))


@pytest.fixture
def transport(quick: SendSettings, trusting: TlsSettings) -> DimseTransport:
    return DimseTransport("GATEKEEPER", quick, Credentials(trusting))


def node_at(port: int, certificate: str = "") -> Node:
    return Node(
        "STORESCP", "127.0.0.1", port, receives_results=True, tls=True, certificate=certificate
    )


def tls_options(identity: Identity, authority: Authority) -> list[str]:
    options = ("+tls", identity.key, identity.certificate, "+cf", authority.file)
    return [str(option) for option in options]


def failure(transport: DimseTransport, objects: list[SendObject], node: Node) -> str:
    with pytest.raises(TransportError) as caught:
        list(transport.send(objects, node))
    return str(caught.value)


def test_dcmtk_receives_by_tls_with_mutual_certificates(
    storescp: Callable[..., Any],
    authority: Authority,
    trusting: TlsSettings,
    transport: DimseTransport,
    objects: list[SendObject],
) -> None:
    """By the name in the certificate, by its fingerprint, and by hand; every object arrives."""
    named = authority.issue("127.0.0.1")
    peer = storescp(*tls_options(named, authority), "+xa")

    answers = list(transport.send(objects, node_at(peer.port)))

    assert [answer.stored for answer in answers] == [True] * 6
    assert len(list(peer.folder.iterdir())) == 6
    settings = dataclasses.replace(Settings(), tls=trusting)
    pinned = dataclasses.replace(
        node_at(peer.port, certificate=named.fingerprint), host="localhost"
    )
    assert echo(pinned, settings).milliseconds > 0
    sent = send_files([item.path for item in objects], pinned, settings)
    assert (sent.stored, sent.failed) == (6, ())


def test_a_peer_that_is_not_the_node_gets_no_byte_of_dicom(
    authority: Authority,
    stranger: Authority,
    transport: DimseTransport,
    objects: list[SendObject],
) -> None:
    """Wrong CA, wrong host, expired, not the pinned one: refused before anything is said."""
    right = authority.issue("127.0.0.1")
    for identity, pinned, reason in (
        (stranger.issue("127.0.0.1"), "", NO_CA),
        (
            authority.issue("127.0.0.2", "localhost"),
            "",
            "TLS: the peer's certificate is not for the node's host",
        ),
        (
            authority.issue("127.0.0.1", not_before=NOW - 9 * DAY, not_after=NOW - DAY),
            "",
            "TLS: the peer's certificate has expired",
        ),
        (
            right,
            "0" * 64,
            "TLS: the peer's certificate is not the one entered for the node",
        ),
    ):
        with TlsPeer(identity, authority) as peer:
            assert failure(transport, objects, node_at(peer.port, pinned)) == reason
            assert peer.connections == 1
        assert peer.wire[:1] == b"\x16"
        assert b"STORESCP" not in peer.wire
        assert peer.clear == b""


def test_a_peer_without_tls_gets_no_plain_text(
    transport: DimseTransport, quick: SendSettings, objects: list[SendObject]
) -> None:
    """A plain peer sees the start of a handshake at most; without credentials, nothing."""
    seen: list[bytes] = []

    def script(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        # An A-ABORT, as an upper layer answers what it does not know.
        connection.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x01")
        wait_for_close(connection)

    with RawPeer(script) as peer:
        node = node_at(peer.port)
        assert failure(transport, objects, node) == "TLS: the peer speaks no TLS"
        assert peer.connections == 1
        bare = DimseTransport("GATEKEEPER", quick)
        assert "none is set up here" in failure(bare, objects, node)
        empty = DimseTransport("GATEKEEPER", quick, Credentials(TlsSettings()))
        assert "tls.ca: needed" in failure(empty, objects, node)
    [first, *rest] = seen
    assert first[:1] == b"\x16"
    assert b"STORESCP" not in first
    assert not any(rest)


def test_a_silent_peer_ends_at_the_handshake_deadline(
    authority: Authority, trusting: TlsSettings, quick: SendSettings, objects: list[SendObject]
) -> None:
    """Accepting a connection and saying nothing costs the deadline, no more."""
    brief = dataclasses.replace(trusting, handshake_seconds=0.3)
    with RawPeer(wait_for_close) as peer:
        transport = DimseTransport("GATEKEEPER", quick, Credentials(brief))
        assert failure(transport, objects, node_at(peer.port)) == "TLS: the handshake timed out"


def test_a_peer_that_refuses_our_certificate_is_named(
    storescp: Callable[..., Any],
    authority: Authority,
    stranger: Authority,
    quick: SendSettings,
    objects: list[SendObject],
) -> None:
    """DCMTK does not know our CA: nothing is stored, and the reason says where to look."""
    peer = storescp(*tls_options(authority.issue("127.0.0.1"), authority))
    foreign = stranger.settings(stranger.issue("gatekeeper.example"), ca=str(authority.file))
    transport = DimseTransport("GATEKEEPER", quick, Credentials(foreign))

    reason = failure(transport, objects, node_at(peer.port))

    # The alert is lost where the peer's reset of the connection overtakes it.
    assert any(text in reason for text in ("TLS: the peer", "reset", "Broken pipe")), reason
    assert list(peer.folder.iterdir()) == []


def test_a_sender_starts_without_its_certificate_for_the_sake_of_plain_nodes(
    authority: Authority, quick: SendSettings, objects: list[SendObject], trusting: TlsSettings
) -> None:
    """The rule broken is logged at the start, and met again by the nodes that need TLS alone."""
    missing = dataclasses.replace(trusting, key="absent.key")
    with structlog.testing.capture_logs() as events:
        transport = DimseTransport("GATEKEEPER", quick, credentials_of(missing))
    assert [(one["event"], one["reason"]) for one in events] == [
        ("tls_not_usable", "tls.key: absent.key: No such file or directory")
    ]
    with ScriptedPeer() as peer:
        plain = dataclasses.replace(node_at(peer.port), tls=False)
        assert all(answer.stored for answer in transport.send(objects, plain))
        assert "absent.key" in failure(transport, objects, node_at(peer.port))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_delivery_waits_until_the_certificate_is_right_and_dies_at_its_last_attempt(
    database: Database,
    tmp_path: Path,
    storescp: Callable[..., Any],
    authority: Authority,
    stranger: Authority,
    transport: DimseTransport,
    quick: SendSettings,
    objects: list[SendObject],
) -> None:
    """As with a node that cannot be reached: retried with its reason, and no other way."""
    settings = dataclasses.replace(quick, maximum_attempts=2, retry_seconds=0.0)
    desk = Desk(database, Spool(tmp_path / "spool"), transport, settings)
    results = [result_of(item, desk.spool.store(item.path.read_bytes()).digest) for item in objects]
    foreign = storescp(*tls_options(stranger.issue("127.0.0.1"), authority))
    with database.begin() as tx:
        nodes.save(tx, node_at(foreign.port))
        queued = deliveries.create(tx, "STORESCP", results)

    def attempt(port: int) -> tuple[DeliveryState, str]:
        with database.begin() as tx:
            claimed = deliveries.claim(tx, "test", 60.0)
        assert claimed is not None
        deliver(desk, claimed, node_at(port), lambda: False)
        with database.read() as tx:
            found = deliveries.get(tx, queued)
        assert found is not None
        return found.state, found.reason

    assert attempt(foreign.port) == (DeliveryState.QUEUED, NO_CA)
    assert attempt(free_port())[0] is DeliveryState.DEAD
    with database.begin() as tx:
        assert deliveries.retry(tx, queued)
    right = storescp(*tls_options(authority.issue("127.0.0.1"), authority), "+xa")
    assert attempt(right.port)[0] is DeliveryState.DELIVERED
    assert list(foreign.folder.iterdir()) == []
