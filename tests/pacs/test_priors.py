"""Priors from a real archive: Orthanc, by C-GET and by C-MOVE, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from listen.wire import running, settings_for
from support.orthanc import Orthanc
from support.query_archive import study
from support.waiting import until

from gatekeeper import ledger
from gatekeeper.send.errands import Errands, Office
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
    settings = settings_for(tmp_path / "spool")
    settings = dataclasses.replace(
        settings, priors=dataclasses.replace(settings.priors, retry_seconds=0.1)
    )
    spool = Spool(Path(settings.spool.directory))
    with running(settings, database) as listening:
        own: dict[str, Any] = {"gate": ("GATEKEEPER", "127.0.0.1", listening.port)}
        archive = orthanc(modalities=own, DicomAlwaysAllowGet=True, DicomAlwaysAllowMove=True)
        for number, one in enumerate(
            study(OLD, "20230101", count=3, patient="PÄ 1", SpecificCharacterSet="ISO_IR 100")
        ):
            path = tmp_path / f"old-{number}.dcm"
            one.save_as(path, enforce_file_format=True)
            archive.upload(path)
        _receive(tmp_path, database, spool)
        node = Node(
            archive.aet, "127.0.0.1", archive.port, roles=(Role.ARCHIVE,), retrieve=retrieve
        )
        with database.begin() as tx:
            nodes.save(tx, node)
            priors.request(tx, CURRENT, archive.aet, "old scans", 1, "")
        errands = Errands(Office(database, spool, settings), "test")
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
        assert len(kept) == 3
        assert all(one.prior for one in kept)
        theirs = {_data_set(file) for file in archive.objects()}
        assert {_data_set(spool.path(one.digest).read_bytes()) for one in kept} == theirs
    assert ledger.balance(database, spool, verify=True).balanced


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
