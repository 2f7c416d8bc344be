"""Every kind of real input ends in a stated outcome, and none is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import data_store
import pydicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.files import dicom_files
from support.gate import Gate
from support.walking import Peer, scanner, settled

from gatekeeper.history import StudyHistory
from storage import instances
from storage.records import Node
from storage.spool import Spool

REAL_SETS = (
    "chest_ct_covid_ct_md_dicom",
    "chest_ct_lidc0001_dicom",
    "pelvis_mr_prostatex_dicom",
)


def test_every_real_input_ends_in_a_stated_outcome_and_none_is_lost(
    gate: Gate, orthanc: Any, peer: Peer, shared_data: Path, tmp_path: Path
) -> None:
    """JPEG Lossless and JPEG 2000 CT, a series with a missing slice, SR objects: all answered."""
    program = peer("dcmsend")
    archive = orthanc()
    scanner(gate)
    gate.add_node(Node(archive.aet, "127.0.0.1", archive.port, receives_results=True))
    files = [path for name in REAL_SETS for path in dicom_files(shared_data / name)]
    files += structured_reports()
    sent = [dcmread(path, stop_before_pixels=True) for path in files]

    options = ("-aet", "SCANNER", "-aec", gate.ae_title, "--decompress-never", "--no-uid-checks")
    subprocess.run(
        [program, *options, "127.0.0.1", str(gate.port), *map(str, files)],
        env={**os.environ, "TCP_NODELAY": "1"},
        check=True,
        capture_output=True,
        timeout=170,
    )
    outcomes = {
        study: settled(gate, study) for study in {str(item.StudyInstanceUID) for item in sent}
    }

    assert_all_kept(gate, sent)
    for history in outcomes.values():
        newest = history.jobs[0]
        assert newest.outcome is not None, newest.job.reason
        assert newest.outcome.verdict in {"UNREADABLE", "UNCALIBRATED"}
        assert newest.outcome.reason
    missing = next(
        str(item.StudyInstanceUID)
        for item, path in zip(sent, files, strict=True)
        if "MISSING_SLICE" in path.as_posix()
    )
    assert any(
        "6.00 mm apart where 3.00 mm is regular" in one for one in reasons(outcomes[missing])
    )


def structured_reports() -> list[Path]:
    """Return the SR objects that the pydicom packages carry."""
    folders = [Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data"]
    found = [
        path
        for folder in folders
        for path in dicom_files(folder)
        # By name: some of the packages' files break the standard and cannot be asked.
        if "report" in path.name or "SR" in path.name.split(".")[0].split("-")
    ]
    assert len(found) >= 3
    return found


def assert_all_kept(gate: Gate, sent: Sequence[Dataset]) -> None:
    """Every instance sent is a row, and its file is in the spool under its digest."""
    with gate.database.read() as tx:
        for item in sent:
            rows = instances.find(tx, str(item.SOPInstanceUID))
            assert rows, item.SOPInstanceUID
            for row in rows:
                path = Spool(gate.spool).path(row.digest)
                assert path.is_file()


def reasons(history: StudyHistory) -> list[str]:
    """Return the stated reasons of a study's series."""
    outcome = history.jobs[0].outcome
    assert outcome is not None
    return [str(item.get("reason")) for item in outcome.evidence.get("series", [])]
