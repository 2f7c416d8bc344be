"""The gate between real peers: an archive and a downstream AI, each an Orthanc."""

from __future__ import annotations

import io
from collections.abc import Generator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.files import dicom_files
from support.gate import Gate, free_port, running_gate
from support.motion import moved
from support.pelvis import FALSE_HOLD_RATE, judging_bundle, pelvis, written
from support.waiting import until
from support.walking import SETTLED_SECONDS, scanner

from gatekeeper.ledger import balance
from gatekeeper.send.files import send_files
from gatekeeper.settings import Settings
from storage import audit, deliveries, forwards
from storage.engine import Database
from storage.records import DeliveryState, Forward, ForwardState, Node, Role
from storage.spool import Spool

CLEAN, DEGRADED = "1.2.826.0.1.3680043.8.498.70", "1.2.826.0.1.3680043.8.498.71"


@pytest.fixture
def judging(tmp_path: Path, sqlite_url: str, sqlite_database: Database) -> Generator[Gate]:
    """Run `gatekeeper up` with the small bundle of the pelvis."""
    folder = tmp_path / "bundles"
    folder.mkdir()
    judging_bundle(folder)
    with running_gate(
        tmp_path / "gate",
        sqlite_url,
        sqlite_database,
        GATEKEEPER_MODELS_DIRECTORY=str(folder),
        GATEKEEPER_MODELS_FALSE_HOLD_RATE=FALSE_HOLD_RATE,
        GATEKEEPER_MODELS_WITHOUT_CALIBRATION="reference",
        GATEKEEPER_WORK_DEVICE="cpu",
        GATEKEEPER_WORK_MEMORY_MIB="4096",
    ) as gate:
        yield gate


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Generator[Database]:
    connected = Database.connect(sqlite_url, lock_seconds=30)
    yield connected
    connected.dispose()


def test_clean_studies_reach_both_and_suspect_ones_the_archive_at_once_and_the_other_on_release(
    judging: Gate, orthanc: Any, tmp_path: Path
) -> None:
    """Byte for byte, while a dead downstream delays nothing else, and the books balance."""
    archive, downstream = orthanc(aet="ARCHIVE"), orthanc(aet="AI")
    receivers(judging, archive, downstream)
    judging.add_node(
        Node("DEADAI", "127.0.0.1", free_port(), roles=(Role.DOWNSTREAM,), receives_studies=True)
    )
    clean = written(pelvis(CLEAN, 7), tmp_path / "clean")
    degraded = written(pelvis(DEGRADED, 9, degraded=True), tmp_path / "degraded")

    send(judging, degraded)
    until(lambda: archive.count() == len(degraded), 60, "the archive has the suspect study")
    held = until(lambda: in_state(judging, DEGRADED, "AI", ForwardState.HELD), 90, "it is held")
    assert held.verdict == "SUSPECT"
    assert downstream.count() == 0
    send(judging, clean)
    until(lambda: downstream.count() == len(clean), 90, "the clean study reaches the other")
    until(lambda: archive.count() == len(clean) + len(degraded), 60, "and the archive")
    assert same_bytes(archive, [*clean, *degraded])
    assert same_bytes(downstream, clean)

    released = judging.cli(
        *("study", "release", DEGRADED, "--by", "Dr Who", "--reason", "readable", "--node", "AI")
    )
    assert released.returncode == 0, released.stderr
    until(lambda: downstream.count() == len(clean) + len(degraded), 60, "the released one too")
    assert same_bytes(downstream, [*clean, *degraded])

    until(lambda: all_but_dead_ended(judging), 60, "everything else is delivered")
    with judging.database.read() as tx:
        [waits] = [one for one in deliveries.listing(tx, node="DEADAI") if not one.items_stored]
        actors = [line.actor for line in reversed(audit.listing(tx, DEGRADED))]
        assert audit.verify(tx).broken is None
    assert waits.state in (DeliveryState.QUEUED, DeliveryState.CLAIMED)
    assert actors == ["policy", "policy", "Dr Who"]
    assert in_state(judging, DEGRADED, "DEADAI", ForwardState.HELD)
    books = balance(judging.database, Spool(judging.spool), verify=True)
    assert books.differences == []


def test_a_real_scan_with_motion_is_held_from_downstream_alone(
    tmp_path: Path, sqlite_url: str, sqlite_database: Database, orthanc: Any, shared_data: Path
) -> None:
    """A T1 scan after torchio's motion: the archive has it long before it is judged."""
    if find_spec("torchio") is None:
        pytest.skip("torchio is not installed")
    source = dicom_files(shared_data / "brain_t1_structural_dicom")
    paths = written(moved(source), tmp_path / "moved")
    study = str(dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    archive, downstream = orthanc(aet="ARCHIVE"), orthanc(aet="AI")
    judged = {"GATEKEEPER_MODELS_WITHOUT_CALIBRATION": "reference"}
    with running_gate(tmp_path / "gate", sqlite_url, sqlite_database, **judged) as gate:
        receivers(gate, archive, downstream)
        send(gate, paths)
        until(lambda: archive.count() == len(paths), 60, "the archive has it all")
        held = until(
            lambda: in_state(gate, study, "AI", ForwardState.HELD), SETTLED_SECONDS, "it is held"
        )
        assert held.verdict == "SUSPECT"
        assert downstream.count() == 0

        released = gate.cli("study", "release", study, "--by", "Dr Who", "--reason", "readable")
        assert released.returncode == 0, released.stderr
        until(lambda: downstream.count() == len(paths), 90, "it reaches the other")

        assert same_bytes(downstream, paths[::40])


def receivers(gate: Gate, archive: Any, downstream: Any) -> None:
    """Enter the scanner, the archive and the AI as nodes."""
    scanner(gate)
    for server, role in ((archive, Role.ARCHIVE), (downstream, Role.DOWNSTREAM)):
        gate.add_node(
            Node(server.aet, "127.0.0.1", server.port, roles=(role,), receives_studies=True)
        )


def send(gate: Gate, paths: Sequence[Path]) -> None:
    """Send files as the scanner does, each answered with success."""
    settings = Settings()
    listen = settings.listen
    ours = replace(settings, listen=replace(listen, ae_title="SCANNER"))
    sent = send_files(paths, Node(gate.ae_title, "127.0.0.1", gate.port), ours)
    assert (sent.stored, sent.failed) == (len(paths), ())


def in_state(gate: Gate, study: str, node: str, state: ForwardState) -> Forward | None:
    with gate.database.read() as tx:
        found = forwards.listing(tx, state, study, node)
    return found[0] if found else None


def all_but_dead_ended(gate: Gate) -> bool:
    with gate.database.read() as tx:
        found = deliveries.listing(tx)
    return all(one.state is DeliveryState.DELIVERED for one in found if one.node != "DEADAI")


def same_bytes(server: Any, paths: Sequence[Path]) -> bool:
    """Return whether the server has each file with the very bytes of its data set."""
    kept = {uid_of(content): data_set(content) for content in server.objects()}
    sent = {uid_of(path.read_bytes()): data_set(path.read_bytes()) for path in paths}
    return sent.items() <= kept.items()


def uid_of(content: bytes) -> str:
    found: Dataset = dcmread(io.BytesIO(content), stop_before_pixels=True)
    return str(found.SOPInstanceUID)


def data_set(content: bytes) -> bytes:
    """Return a file's data set, which begins after its meta information (PS3.10 section 7.1)."""
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]
