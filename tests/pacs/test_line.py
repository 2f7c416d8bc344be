"""One study, one way: a scanner sends, the PACS gains a heatmap series and a report."""

from __future__ import annotations

import io
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydicom import dcmread
from support.files import dicom_files
from support.gate import Gate
from support.walking import Peer, scanner, settled, storescu

from storage.records import Node

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


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
    """384 slices of a real T1 scan: heatmaps, their overview and one SR come back, conformant."""
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
    assert Counter(result.kind for result in newest.results) == {
        "heatmap": len(files),
        "montage": 1,
        "report": 1,
    }
    objects = archive.objects()
    returned = [dcmread(io.BytesIO(content)) for content in objects]
    assert {str(item.StudyInstanceUID) for item in returned} == {study}
    assert Counter(str(item.SOPClassUID) for item in returned) == {
        SECONDARY_CAPTURE: len(files) + 1,
        COMPREHENSIVE_3D_SR: 1,
    }
    assert len({item.SeriesInstanceUID for item in returned}) == 3
    assert errors_of(dciodvfy, objects, tmp_path) == []
    report = next(item for item in returned if item.Modality == "SR")
    path = tmp_path / "report.dcm"
    report.save_as(path)
    dump = subprocess.run([dsrdump, str(path)], capture_output=True, text=True, check=True)
    assert newest.outcome.verdict in dump.stdout.upper()
    for item in returned:
        if item.Modality != "SR":
            assert item.pixel_array.shape[2] == 3
