"""How a repository's end of a TLS connection is heard, when it comes before ours."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
from support.authority import Authority, Identity

from gatekeeper.atna import line
from gatekeeper.tls import Credentials, say_goodbye

PATIENCE = 60


def say(
    end: socket.socket, identity: Identity, version: ssl.TLSVersion, words: bytes, *, ordered: bool
) -> None:
    """Be a repository that says something and ends, in order or not, without waiting for us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    context.maximum_version = version
    with context.wrap_socket(end, server_side=True) as secured:
        if words:
            secured.sendall(words)
        if ordered:
            with pytest.raises(ssl.SSLWantReadError):
                say_goodbye(secured)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("words", [b"", b"welcome"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_end_that_is_there_before_ours_answers_nothing(
    authority: Authority, version: ssl.TLSVersion, words: bytes, *, ordered: bool
) -> None:
    """In order or not, it came before our end was read; nor is it taken for a failure of TLS."""
    identity = authority.issue("127.0.0.1")
    credentials = Credentials(authority.settings(authority.issue("gatekeeper.example")))
    ours, theirs = socket.socketpair()
    peer = threading.Thread(
        target=say, args=(theirs, identity, version, words), kwargs={"ordered": ordered}
    )
    peer.start()
    with ours, credentials.call_host(ours, "127.0.0.1", strict_end=True) as secured:
        peer.join(PATIENCE)

        assert line.end(secured) is False
