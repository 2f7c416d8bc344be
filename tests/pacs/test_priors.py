"""Priors from real archives, Orthanc and DCMTK's, by C-GET and by C-MOVE, bit for bit."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from listen.wire import DCMTK_ENVIRONMENT, Listening, running, settings_for
from support.gate import free_port
from support.gate import listening as answering
from support.orthanc import Orthanc
from support.query_archive import study
from support.waiting import until

from gatekeeper import ledger
from gatekeeper.send.errands import Errands, Office
from gatekeeper.send.files import send_files
from gatekeeper.settings import Settings
from storage import instances, nodes, priors, studies
from storage.engine import Database
from storage.records import Instance, Node, PriorState, Retrieve, Role
from storage.spool import Spool

CURRENT = "1.2.826.0.1.3680043.8.498.9"
OLD = "1.2.826.0.1.3680043.8.498.10"
PATIENCE = 60

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize("retrieve", list(Retrieve))
def test_orthanc_gives_a_prior_whole(
    orthanc: Callable[..., Orthanc], tmp_path: Path, database: Database, retrieve: Retrieve
) -> None:
    """Found by its date and modality, fetched, marked as a prior, the books balanced."""
    with running(_settings(tmp_path), database) as listening:
        own: dict[str, Any] = {"gate": ("GATEKEEPER", "127.0.0.1", listening.port)}
        archive = orthanc(modalities=own, DicomAlwaysAllowGet=True, DicomAlwaysAllowMove=True)
        for path in _old_study(tmp_path):
            archive.upload(path)
        kept = _fetched(listening, tmp_path, archive.aet, archive.port, retrieve)
        assert kept == {_data_set(file) for file in archive.objects()}
    assert ledger.balance(database, listening.spool, verify=True).balanced


@pytest.mark.parametrize("retrieve", list(Retrieve))
def test_dcmqrscp_gives_a_prior_whole(
    peer: Callable[[str], str], tmp_path: Path, database: Database, retrieve: Retrieve
) -> None:
    """DCMTK's archive does, which tells neither modalities of a study nor SOP classes."""
    with (
        running(_settings(tmp_path), database) as listening,
        _dcmqrscp(peer("dcmqrscp"), tmp_path / "qr", listening.port) as port,
    ):
        files = _old_study(tmp_path)
        sent = send_files(files, Node("QRSCP", "127.0.0.1", port), listening.settings)
        assert sent.stored == len(files)
        kept = _fetched(listening, tmp_path, "QRSCP", port, retrieve)
        assert kept == {_data_set(file.read_bytes()) for file in files}
    assert ledger.balance(database, listening.spool, verify=True).balanced


@contextlib.contextmanager
def _dcmqrscp(program: str, folder: Path, listener: int) -> Generator[int]:
    """Run DCMTK's archive, which sends to our listener, and return its port."""
    (folder / "store").mkdir(parents=True)
    (folder / "qr.cfg").write_text(
        f"""NetworkTCPPort = 104
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
gate = (GATEKEEPER, 127.0.0.1, {listener})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
QRSCP {folder / "store"} RW (100, 100mb) ANY
AETable END
"""
    )
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--config", str(folder / "qr.cfg"), str(port)],
            env=DCMTK_ENVIRONMENT,
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: answering(port), PATIENCE, (folder / "log").read_text())
        yield port
    finally:
        process.kill()
        process.wait()


def _settings(tmp_path: Path) -> Settings:
    settings = settings_for(tmp_path / "spool")
    return dataclasses.replace(
        settings, priors=dataclasses.replace(settings.priors, retry_seconds=0.1)
    )


def _old_study(tmp_path: Path) -> list[Path]:
    paths: list[Path] = []
    more = {"patient": "P\u00c4 1", "SpecificCharacterSet": "ISO_IR 100"}
    for number, one in enumerate(study(OLD, "20230101", count=3, **more)):
        paths.append(tmp_path / f"old-{number}.dcm")
        one.save_as(paths[-1], enforce_file_format=True)
    return paths


def _fetched(
    listening: Listening, tmp_path: Path, title: str, port: int, retrieve: Retrieve
) -> set[bytes]:
    """Return the data sets of the old study, fetched as a prior of a new one."""
    database, spool = listening.database, listening.spool
    _receive(tmp_path, database, spool)
    node = Node(title, "127.0.0.1", port, roles=(Role.ARCHIVE,), retrieve=retrieve)
    with database.begin() as tx:
        nodes.save(tx, node)
        priors.request(tx, CURRENT, title, "old scans", 1, "")
    errands = Errands(Office(database, spool, listening.settings), "test")
    errands.start()
    try:
        until(lambda: _is_over(database), PATIENCE, "the prior is here or given up")
    finally:
        errands.stop(PATIENCE)
    with database.read() as tx:
        rows = priors.listing(tx, CURRENT)
        assert [row.state for row in rows] == [PriorState.RECEIVED, PriorState.FOUND], rows
        kept = instances.of_study(tx, OLD, include_priors=True)
        assert studies.get(tx, OLD) is None
    assert all(one.prior for one in kept)
    return {_data_set(spool.path(one.digest).read_bytes()) for one in kept}


def _receive(tmp_path: Path, database: Database, spool: Spool) -> None:
    [one] = study(CURRENT, "20240101", count=1, patient="PÄ 1", SpecificCharacterSet="ISO_IR 100")
    one.save_as(tmp_path / "current.dcm", enforce_file_format=True)
    kept = spool.store((tmp_path / "current.dcm").read_bytes())
    uids = one.SOPInstanceUID, one.SOPClassUID, "1.2.840.10008.1.2.1", CURRENT
    row = Instance(*uids, one.SeriesInstanceUID, "MR", kept.digest, kept.size, "MR1")
    with database.begin() as tx:
        instances.record(tx, row, None)


def _is_over(database: Database) -> bool:
    with database.read() as tx:
        return not priors.pending(tx, CURRENT)


def _data_set(file: bytes) -> bytes:
    """Return what follows the file meta information, whose group length says how long it is."""
    return file[144 + int.from_bytes(file[140:144], "little") :]
