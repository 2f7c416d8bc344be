"""Fixtures of the sender's tests: objects to send, and DCMTK's storage SCP."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.gate import free_port, listening
from support.objects import send_objects, write_slices
from support.waiting import until

from gatekeeper.send.transport import SendObject
from gatekeeper.settings import SendSettings


@dataclass(frozen=True)
class StoreScp:
    """A running storescp and the folder that it writes to."""

    port: int
    folder: Path
    ae_title: str = "STORESCP"


@pytest.fixture
def storescp(peer: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., StoreScp]]:
    """Return a function that starts storescp, bit preserving, with further options."""
    program = peer("storescp")
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> StoreScp:
            folder = tmp_path / f"storescp-{free_port()}"
            return stack.enter_context(_running(program, folder, options))

        yield start


@contextlib.contextmanager
def _running(program: str, folder: Path, options: tuple[str, ...]) -> Generator[StoreScp]:
    folder.mkdir()
    port = free_port()
    process = subprocess.Popen(
        [program, "+B", "-od", str(folder), *options, str(port)],
        env={**os.environ, "TCP_NODELAY": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: listening(port), 20, "storescp is up")
        yield StoreScp(port, folder)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def objects(tmp_path: Path) -> list[SendObject]:
    """Return six MR instances to send."""
    return send_objects(write_slices(tmp_path / "objects", 6))


@pytest.fixture
def quick() -> SendSettings:
    """Return settings that lose no time between attempts, and give a busy machine some."""
    return SendSettings(
        poll_seconds=0.05,
        connect_timeout=5.0,
        association_timeout=10.0,
        dimse_timeout=10.0,
        network_timeout=10.0,
        retry_seconds=0.05,
        retry_maximum_seconds=0.2,
        stop_seconds=10.0,
    )


@pytest.fixture
def impatient(quick: SendSettings) -> SendSettings:
    """Return settings whose time-outs are short, for peers that never answer."""
    return dataclasses.replace(
        quick, association_timeout=0.5, dimse_timeout=0.5, network_timeout=0.5, reconnects=0
    )
