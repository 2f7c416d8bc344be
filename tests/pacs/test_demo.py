"""The demonstration, as a newcomer runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from gatekeeper.demo import sample

LONGEST_SECONDS = 170


def demo(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run `gatekeeper demo` in `folder` and return its demo.json."""
    run = subprocess.run(
        [sys.executable, "-m", "gatekeeper", "demo", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads((folder / "demo-out" / "demo.json").read_text())


def test_the_fault_and_nothing_else_parts_the_two_verdicts(tmp_path: Path) -> None:
    """The template passes, the same template with motion is held, and all is there to look at."""
    pytest.importorskip("nilearn")
    answers = {answer["name"]: answer for answer in demo(tmp_path)["studies"]}
    assert answers["as-it-is"]["verdict"] == "CLEAR"
    assert answers["with-fault"]["verdict"] == "SUSPECT"
    assert answers["with-fault"]["score"] > answers["as-it-is"]["score"]
    for name, answer in answers.items():
        folder = tmp_path / "demo-out" / name
        for picture in ("montage.png", "contact-sheet.png"):
            assert (folder / picture).read_bytes().startswith(b"\x89PNG")
        assert answer["verdict"] in (folder / "report.html").read_text()
        objects = [dcmread(path, stop_before_pixels=True) for path in folder.glob("*.dcm")]
        assert {str(item.SOPInstanceUID) for item in objects} == set(
            answer["result_sop_instance_uids"]
        )
        assert {str(item.StudyInstanceUID) for item in objects} == {answer["study_instance_uid"]}
        assert answer["stage_milliseconds"]["last_instance_to_delivered"] > 0


def test_a_study_of_ones_own_goes_to_a_pacs_of_ones_own(
    tmp_path: Path, orthanc: Callable[..., Any]
) -> None:
    """`--study` and `--pacs`: the results of the user's scan are in the user's archive."""
    pytest.importorskip("nilearn")
    archive = orthanc()
    study = sample.write_study(
        sample.template(), tmp_path / "own", title="own", statement="unchanged", every=12
    )
    pacs = f"{archive.aet}@127.0.0.1:{archive.port}"
    answer = demo(
        tmp_path, "--study", str(study.folder), "--pacs", pacs, "--objects", "report,key-objects"
    )["studies"][0]
    assert answer["study_instance_uid"] == study.study_instance_uid
    assert archive.count() == len(answer["result_sop_instance_uids"]) == 2
    assert Counter(path.suffix for path in (tmp_path / "demo-out" / "study").iterdir())[
        ".dcm"
    ] == len(answer["result_sop_instance_uids"])
