"""Sending studies to a running Gatekeeper and waiting for what becomes of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from gatekeeper.history import StudyHistory
from storage.records import Node
from support.files import dicom_files
from support.gate import Gate
from support.waiting import until

SETTLED_SECONDS = 170

Peer = Callable[[str], str]


def scanner(gate: Gate) -> None:
    """Make the calling AE that the tests' senders use known."""
    gate.add_node(Node("SCANNER", "127.0.0.1", 0, may_send=True))


def storescu(program: str, gate: Gate, folder: Path) -> None:
    """Send a folder with DCMTK, which ends with an error unless every file is stored."""
    subprocess.run(
        [program, "-aet", "SCANNER", "-aec", gate.ae_title, "127.0.0.1", str(gate.port)]
        + [str(path) for path in dicom_files(folder)],
        env={**os.environ, "TCP_NODELAY": "1"},
        check=True,
        capture_output=True,
        timeout=170,
    )


def settled(gate: Gate, study: str) -> StudyHistory:
    """Wait until the study's newest job and its deliveries ended."""
    return until(lambda: gate.settled(study), SETTLED_SECONDS, f"study {study} settled")
