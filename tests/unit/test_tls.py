"""Our certificate and key: which files are taken, how they are renewed, what is negotiated."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.authority import Authority, Identity
from support.waiting import until

from gatekeeper import certificates
from gatekeeper.certificates import Presented
from gatekeeper.errors import ConfigurationError, IdentifierError
from gatekeeper.settings import TlsSettings
from gatekeeper.tls import CIPHER_SUITES, Credentials, TlsError, client_context, server_context
from storage.records import Node

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
NODE = Node("PEER", "localhost", 104, tls=True)


def shaken(server: Credentials, client: Credentials, node: Node = NODE) -> tuple[str, str]:
    """Shake hands and return what each side saw: the other's fingerprint, or its error."""
    near, far = socket.socketpair()
    seen: list[str] = []

    def accept() -> None:
        seen.append(_saw(lambda: server.accept(near)))

    thread = threading.Thread(target=accept)
    thread.start()
    called = _saw(lambda: client.call(far, node))
    thread.join(30)
    return seen[0], called


def _saw(shake: Callable[[], ssl.SSLSocket]) -> str:
    try:
        with shake() as secured:
            der = secured.getpeercert(binary_form=True)
            # The other side's word on our certificate comes with its first record (RFC 8446 2).
            secured.settimeout(20)
            secured.sendall(b"x")
            secured.recv(1)
            return certificates.fingerprint(der) if der else "nobody"
    except TlsError as error:
        return str(error)
    except OSError as error:
        return type(error).__name__


def problem(settings: TlsSettings) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Credentials(settings).check(server=True)
    return str(caught.value)


@pytest.fixture
def own(authority: Authority) -> Identity:
    return authority.issue("localhost")


def test_files_that_do_not_fit_are_refused_by_their_rule(
    authority: Authority, own: Identity, tmp_path: Path
) -> None:
    """Each error names the setting and what is wrong with its file, and prints none of it."""
    good = authority.settings(own)
    other = authority.issue("localhost")
    noise = tmp_path / "noise.pem"
    noise.write_text("no certificate")
    noise.chmod(0o600)

    Credentials(good).check(server=True)
    change = dataclasses.replace
    assert "tls.key: not the key of tls.cert" in problem(change(good, key=str(other.key)))
    assert "tls.key: no PEM private key" in problem(change(good, key=str(noise)))
    assert "tls.key: needed" in problem(change(good, key=""))
    assert "tls.key" in problem(change(good, key=str(tmp_path / "absent")))
    assert "No such file" in problem(change(good, key=str(tmp_path / "absent")))
    assert "tls.certificate: needed" in problem(change(good, certificate=""))
    assert "no PEM certificate" in problem(change(good, certificate=str(noise)))
    assert "tls.ca: needed" in problem(change(good, ca=""))
    assert "tls.ca" in problem(change(good, ca=str(noise)))
    expired = authority.issue("localhost", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    assert "tls.certificate" in problem(authority.settings(expired))
    assert "expired on" in problem(authority.settings(expired))
    early = authority.issue("localhost", not_before=NOW + DAY, not_after=NOW + 9 * DAY)
    assert "not valid before" in problem(authority.settings(early))


def test_a_key_that_others_may_read_is_refused(authority: Authority, own: Identity) -> None:
    """Mode 0644 is an error at the start, before any port opens."""
    own.key.chmod(0o644)
    assert "others may read" in problem(authority.settings(own))
    own.key.chmod(0o600)
    Credentials(authority.settings(own)).check(server=True)


def test_a_key_with_a_passphrase_asks_nobody(authority: Authority, own: Identity) -> None:
    """A service has no terminal to ask at: an error, at once."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(own.key.read_bytes(), None)
    own.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "has a passphrase" in problem(authority.settings(own))


def test_only_the_profile_is_negotiated(authority: Authority, own: Identity) -> None:
    """PS3.15 B.12 both ways: versions, cipher suites, no compression, no renegotiation."""
    settings = authority.settings(own)
    for context in (server_context(settings), client_context(settings, named=True)):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
        old = {one["name"] for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"}
        assert old == set(CIPHER_SUITES)
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.verify_mode is ssl.CERT_REQUIRED
    strict = dataclasses.replace(settings, minimum_version="1.3")
    assert server_context(strict).minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_renewed_certificate_serves_new_handshakes_and_drops_no_connection(
    authority: Authority, own: Identity
) -> None:
    """The files are looked at before each handshake; what is open goes on."""
    credentials = Credentials(authority.settings(own))
    first = own.fingerprint
    assert shaken(credentials, credentials) == (first, first)

    near, far = socket.socketpair()
    opened: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: opened.append(credentials.accept(near)))
    thread.start()
    with credentials.call(far, NODE) as kept:
        thread.join(30)
        own.write(authority.leaf("localhost"))
        second = own.fingerprint
        assert second != first
        assert shaken(credentials, credentials) == (second, second)
        kept.sendall(b"still here")
        with opened[0] as served:
            assert served.recv(16) == b"still here"


def test_files_half_replaced_leave_the_old_certificate_in_force(
    authority: Authority, own: Identity
) -> None:
    """A certificate without its key is reported and not used, until the key has come too."""
    credentials = Credentials(authority.settings(own))
    first = own.fingerprint
    assert shaken(credentials, credentials) == (first, first)
    other = authority.issue("localhost")
    own.certificate.write_bytes(other.certificate.read_bytes())
    assert shaken(credentials, credentials) == (first, first)
    own.key.write_bytes(other.key.read_bytes())
    assert shaken(credentials, credentials) == (other.fingerprint, other.fingerprint)


def test_a_silent_peer_ends_at_the_handshake_deadline(authority: Authority, own: Identity) -> None:
    """Nothing, or a byte now and then: the handshake as a whole has one deadline."""
    credentials = Credentials(authority.settings(own, handshake_seconds=0.5))

    def accept(near: socket.socket, said: list[str]) -> None:
        said.append(_saw(lambda: credentials.accept(near)))

    for drip in (b"", b"\x00"):
        near, far = socket.socketpair()
        said: list[str] = []
        thread = threading.Thread(target=accept, args=(near, said))
        thread.start()
        with far:
            # The start of a record that would be 16 KiB long.
            far.sendall(b"\x16\x03\x01\x40\x00" if drip else b"")

            def ended(said: list[str] = said, far: socket.socket = far, drip: bytes = drip) -> bool:
                with contextlib.suppress(OSError):
                    far.sendall(drip)
                return bool(said)

            until(ended, 20, "the handshake ends")
        thread.join(20)
        assert said == ["TLS: the handshake timed out"]


def test_a_pinned_certificate_is_the_only_one(authority: Authority, stranger: Authority) -> None:
    """The fingerprint stands in for the name and never for the CA."""
    client = Credentials(authority.settings(authority.issue("client")))
    elsewhere = authority.issue("elsewhere.example")
    pinned = dataclasses.replace(NODE, certificate=elsewhere.fingerprint)
    server = Credentials(authority.settings(elsewhere))

    assert shaken(server, client, pinned)[1] == elsewhere.fingerprint
    assert "not for the node's host" in shaken(server, client)[1]
    other = dataclasses.replace(NODE, certificate="0" * 64)
    assert "not the one entered" in shaken(server, client, other)[1]
    foreign = stranger.issue("localhost")
    known = dataclasses.replace(NODE, certificate=foreign.fingerprint)
    server = Credentials(stranger.settings(foreign, ca=str(authority.file)))
    assert "no CA of tls.ca" in shaken(server, client, known)[1]


@pytest.mark.parametrize(
    "text",
    ["{plain}", "{colons}", "SHA256:{plain}", "sha256 Fingerprint={colons}", "sha-256 {plain}"],
)
def test_a_fingerprint_is_read_as_tools_write_it(text: str) -> None:
    """Colons, capitals and OpenSSL's prefix make no difference."""
    plain = "0123456789abcdef" * 4
    colons = ":".join(plain[at : at + 2] for at in range(0, 64, 2)).upper()
    assert certificates.parse_fingerprint(text.format(plain=plain, colons=colons)) == plain
    with pytest.raises(IdentifierError):
        certificates.parse_fingerprint(plain[1:])


def test_a_certificate_names_a_host_exactly() -> None:
    """Case and form of an address make no difference; a wildcard names no machine."""
    presented = Presented("00", frozenset({"MR1.example.org", "2001:DB8::1", "*.example.org"}))
    assert presented.is_for("mr1.example.org.")
    assert presented.is_for("2001:db8:0::1")
    assert not presented.is_for("mr2.example.org")
    assert not Presented().is_for("mr1.example.org")


def test_expiry_counts_whole_days(authority: Authority) -> None:
    """Ours and the CA's, each by its setting; past ones count below zero."""
    own = authority.issue("localhost", not_before=NOW - 9 * DAY, not_after=NOW + 9.5 * DAY)
    settings = authority.settings(own)
    now = NOW.timestamp()
    assert [(one.key, one.days) for one in certificates.in_use(settings, now)][:1] == [
        ("tls.certificate", 9)
    ]
    assert certificates.in_use(settings, now)[1].key == "tls.ca"
    assert certificates.in_use(settings, now + 10 * 86400)[0].days == -1
    assert certificates.in_use(settings, now)[0].certificate.names == ("localhost",)
