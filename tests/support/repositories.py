"""Audit repositories: rsyslog as a site has it, and one of our own that does as a test says."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from support.authority import Authority, Identity
from support.gate import free_port
from support.waiting import until

STARTING_SECONDS = 30
_TEMPLATE = 'template(name="whole" type="string" string="%rawmsg%\\n")'
_TLS = """
global(
  workDirectory="{folder}" maxMessageSize="128k"
  defaultNetstreamDriver="{driver}"
  defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{certificate}"
  defaultNetstreamDriverKeyFile="{key}"
)
{template}
module(
  load="imtcp"
  streamDriver.name="{driver}" streamDriver.mode="1" streamDriver.authMode="x509/certvalid"
)
input(type="imtcp" address="127.0.0.1" port="{port}")
action(type="omfile" file="{output}" template="whole")
"""
_UDP = """
global(workDirectory="{folder}" maxMessageSize="128k")
{template}
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="{port}")
action(type="omfile" file="{output}" template="whole")
"""


@dataclass
class Repository:
    """A receiver of syslog on a port of 127.0.0.1, and what it wrote down, line by line."""

    port: int
    output: Path

    def lines(self) -> list[str]:
        if not self.output.exists():
            return []
        return self.output.read_text("utf-8").splitlines()


@contextlib.contextmanager
def rsyslog(
    program: str,
    folder: Path,
    identity: Identity | None = None,
    authority: Authority | None = None,
    driver: str = "gtls",
) -> Generator[Repository]:
    """Run rsyslogd on an empty folder, by TLS with an identity, else by UDP."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    output = folder / "messages"
    common = {"folder": folder, "port": port, "output": output, "template": _TEMPLATE}
    if identity is None or authority is None:
        text = _UDP.format(**common)
    else:
        text = _TLS.format(
            driver=driver,
            ca=authority.file,
            certificate=identity.certificate,
            key=identity.key,
            **common,
        )
    settings = folder / "rsyslog.conf"
    settings.write_text(text)
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [program, "-n", "-f", str(settings), "-i", str(folder / "pid")],
            stdout=errors,
            stderr=errors,
            env={**os.environ, "TZ": "UTC"},
        )
        try:
            kind = socket.SOCK_DGRAM if identity is None else socket.SOCK_STREAM
            until(lambda: _is_taken(port, kind), STARTING_SECONDS, "rsyslogd has opened its port")
            yield Repository(port, output)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STARTING_SECONDS)


def _is_taken(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@dataclass
class Peer:
    """A repository of our own: what came, a bytes object for each connection, and how it behaves.

    Attributes:
        behaviour: ``good`` answers our close_notify; ``ragged`` ends without one; ``silent`` reads
            and never ends; ``closing`` ends at once; ``resetting`` leaves unread what came;
            ``slow`` reads a byte at a time.
    """

    port: int
    behaviour: str = "good"
    received: list[bytes] = field(default_factory=list[bytes])
    over: threading.Event = field(default_factory=threading.Event)

    def messages(self) -> list[str]:
        """Return all messages of all connections, by octet counting."""
        found: list[str] = []
        for stream in list(self.received):
            rest = stream
            while rest:
                length, _, behind = rest.partition(b" ")
                found.append(behind[: int(length)].decode("utf-8"))
                rest = behind[int(length) :]
        return found


@contextlib.contextmanager
def scripted(identity: Identity, authority: Authority, behaviour: str = "good") -> Generator[Peer]:
    """Run a repository of our own that wants a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = Peer(server.getsockname()[1], behaviour)
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                one = threading.Thread(target=_serve, args=(peer, context, connection), daemon=True)
                threads.append(one)
                one.start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield peer
        finally:
            peer.over.set()
            server.shutdown(socket.SHUT_RDWR)
            for one in (accepting, *threads):
                one.join(STARTING_SECONDS)


def _serve(peer: Peer, context: ssl.SSLContext, connection: socket.socket) -> None:
    behaviour = peer.behaviour
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.settimeout(STARTING_SECONDS)
        if behaviour == "closing":
            return
        secured = context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
        with contextlib.closing(secured):
            if behaviour == "resetting":
                # Closed with bytes unread, the system resets the connection.
                secured.recv(1)
                return
            taken = bytearray()
            with contextlib.suppress(ssl.SSLZeroReturnError):
                while data := secured.recv(1 if behaviour == "slow" else 65536):
                    taken += data
            peer.received.append(bytes(taken))
            if behaviour == "silent":
                peer.over.wait(STARTING_SECONDS)
            elif behaviour != "ragged":
                secured.unwrap()
