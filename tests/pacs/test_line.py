"""One study, one way: a scanner sends, the PACS gains a heatmap series and a report."""

from __future__ import annotations

import io
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import data_store
import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.files import dicom_files
from support.gate import Gate
from support.waiting import until

from gatekeeper.demo import sample
from gatekeeper.history import StudyHistory
from storage import instances, jobs
from storage.records import Node

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
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


def errors_of(program: str, objects: Iterable[bytes], folder: Path) -> list[str]:
    """Return the errors that dciodvfy finds in the objects."""
    found: list[str] = []
    for number, content in enumerate(objects):
        path = folder / f"{number}.dcm"
        path.write_bytes(content)
        run = subprocess.run(
            [program, str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        found += [line for line in (run.stdout + run.stderr).splitlines() if "Error" in line]
        path.unlink()
    return found


def test_a_scan_from_storescu_gains_heatmaps_and_a_report_in_orthanc(
    gate: Gate, orthanc: Any, peer: Peer, shared_data: Path, tmp_path: Path
) -> None:
    """384 slices of a real T1 scan: one SC series and one SR come back, conformant and readable."""
    program, dciodvfy, dsrdump = peer("storescu"), peer("dciodvfy"), peer("dsrdump")
    archive = orthanc()
    scanner(gate)
    gate.add_node(Node(archive.aet, "127.0.0.1", archive.port, receives_results=True))
    source = shared_data / "brain_t1_structural_dicom"
    files = dicom_files(source)
    study = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)

    storescu(program, gate, source)
    history = settled(gate, study)

    newest = history.jobs[0]
    assert newest.outcome is not None, newest.job.reason
    assert newest.outcome.verdict in {"CLEAR", "SUSPECT"}
    assert {result.kind: 0 for result in newest.results} == {"heatmap": 0, "report": 0}
    objects = archive.objects()
    returned = [dcmread(io.BytesIO(content)) for content in objects]
    assert {str(item.StudyInstanceUID) for item in returned} == {study}
    assert Counter(str(item.SOPClassUID) for item in returned) == {
        SECONDARY_CAPTURE: len(files),
        COMPREHENSIVE_3D_SR: 1,
    }
    assert len({item.SeriesInstanceUID for item in returned}) == 2
    assert errors_of(dciodvfy, objects, tmp_path) == []
    report = next(item for item in returned if item.Modality == "SR")
    path = tmp_path / "report.dcm"
    report.save_as(path)
    dump = subprocess.run([dsrdump, str(path)], capture_output=True, text=True, check=True)
    assert newest.outcome.verdict in dump.stdout.upper()
    for item in returned:
        if item.Modality != "SR":
            assert item.pixel_array.shape[2] == 3


def test_orthanc_routes_a_study_here_and_gets_the_results_back_without_a_loop(
    gate: Gate, orthanc: Any, tmp_path: Path
) -> None:
    """Orthanc forwards everything it stores; our results come back to us and go no further."""
    pytest.importorskip("nibabel")
    archive = orthanc(
        modalities={"gate": [gate.ae_title, "127.0.0.1", gate.port]},
        lua="function OnStoredInstance(id) SendToModality(id, 'gate') end",
    )
    gate.add_node(
        Node(archive.aet, "127.0.0.1", archive.port, may_send=True, receives_results=True)
    )
    study = sample.write_study(
        sample.template(), tmp_path / "sample", title="loop", statement="unchanged", every=8
    )

    for path in dicom_files(study.folder):
        archive.upload(path)
    settled(gate, study.study_instance_uid)

    results = study.instances + 1

    def returned() -> bool:
        with gate.database.read() as tx:
            own = [
                item
                for item in instances.of_study(tx, study.study_instance_uid, include_own=True)
                if item.own_result
            ]
        return len(own) == results

    until(returned, SETTLED_SECONDS, "all results sent back to us were stored")
    # Long enough for a second job to have been made, were the results counted as new content.
    with gate.database.read() as tx:
        before = jobs.listing(tx, study=study.study_instance_uid)
    assert len(before) == 1
    probe = sample.write_study(
        sample.template(), tmp_path / "probe", title="probe", statement="unchanged", every=16
    )
    for path in dicom_files(probe.folder):
        archive.upload(path)
    answer = settled(gate, probe.study_instance_uid).jobs[0].results
    with gate.database.read() as tx:
        assert len(jobs.listing(tx, study=study.study_instance_uid)) == 1
    assert archive.count() == study.instances + results + probe.instances + len(answer)


def test_a_late_instance_makes_a_revision_with_results_of_its_own(
    gate: Gate, orthanc: Any, peer: Peer, tmp_path: Path
) -> None:
    """A slice that comes after the verdict is not lost: the study is judged again, whole."""
    pytest.importorskip("nibabel")
    program = peer("storescu")
    archive = orthanc()
    scanner(gate)
    gate.add_node(Node(archive.aet, "127.0.0.1", archive.port, receives_results=True))
    study = sample.write_study(
        sample.template(), tmp_path / "sample", title="late", statement="unchanged", every=8
    )
    late = tmp_path / "late"
    late.mkdir()
    last = dicom_files(study.folder)[-1]
    last.rename(late / last.name)

    storescu(program, gate, study.folder)
    first = settled(gate, study.study_instance_uid)
    storescu(program, gate, late)

    def revised() -> StudyHistory | None:
        history = gate.settled(study.study_instance_uid)
        return history if history is not None and len(history.jobs) == 2 else None

    second = until(revised, SETTLED_SECONDS, "the second revision settled")
    assert [step.job.revision for step in second.jobs] == [2, 1]
    ours = {item.sop_instance_uid for item in first.jobs[0].results}
    assert ours.isdisjoint(item.sop_instance_uid for item in second.jobs[0].results)


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
                path = gate.spool / "objects" / row.digest[:2] / row.digest[2:4] / row.digest
                assert path.is_file()


def reasons(history: StudyHistory) -> list[str]:
    """Return the stated reasons of a study's series."""
    outcome = history.jobs[0].outcome
    assert outcome is not None
    return [str(item.get("reason")) for item in outcome.evidence.get("series", [])]
