"""What comes back, or comes late: no loop, no duplicate, no loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.files import dicom_files
from support.gate import Gate
from support.waiting import until
from support.walking import SETTLED_SECONDS, Peer, scanner, settled, storescu

from gatekeeper.demo import sample
from gatekeeper.history import StudyHistory
from storage import instances, jobs
from storage.records import Node


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

    results = study.instances + 2  # heatmaps, their overview, the report

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
