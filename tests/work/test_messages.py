"""What the child says is believed only when it is a valid answer."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.errors import ChildFailed
from gatekeeper.results.earlier import EarlierReport
from gatekeeper.rules.verdict import Verdict
from gatekeeper.work.messages import LARGEST_ANSWER, Answer, ReceivedFile, Request, ResultFile

RESULT = {
    "sop_instance_uid": "2.25.1",
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.34",
    "series_instance_uid": "2.25.2",
    "transfer_syntax_uid": "1.2.840.10008.1.2.1",
    "kind": "report",
    "name": "report-00000.dcm",
}
ANSWER: dict[str, Any] = {
    "verdict": "SUSPECT",
    "reason": "Held.",
    "score": 1.5,
    "p_value": 0.01,
    "evidence": {"series": []},
    "stages": {"read": 12.5},
    "results": [RESULT],
    "peak_mib": 512,
}


def test_an_answer_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Verdict, numbers and results survive the way from child to worker."""
    answer = Answer(
        Verdict.SUSPECT, "Held.", 1.5, 0.01, {"series": []}, {"read": 12.5},
        (ResultFile(**RESULT),), 512,
    )  # fmt: skip
    answer.write(tmp_path / "answer.json")

    assert Answer.read(tmp_path / "answer.json") == answer


def test_a_request_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Files and limits survive the way from worker to child."""
    file = ReceivedFile("1.2", "1.3", "1.4", "1.5", "a" * 64, "/spool/a")
    request = Request(
        1, 2, "1.9", "b" * 64, "c" * 64, 1, 1e9, (file,), "/scratch", ("/bundles",), "cpu", 1,
        10, 8, 60.0, 0.05, "GATEKEEPER", "", 9100,
        earlier=(EarlierReport(1, "report", "1.6", "1.7", "1.8"),),
    )  # fmt: skip
    request.write(tmp_path / "request.json")

    assert Request.read(tmp_path / "request.json") == request


def test_nan_is_never_written(tmp_path: Path) -> None:
    """An answer with a number that is none is a defect of the child."""
    answer = Answer(Verdict.CLEAR, "", math.nan, 0.5, {}, {}, (), 1)

    with pytest.raises(ValueError, match="not JSON compliant"):
        answer.write(tmp_path / "answer.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "FINE"},
        {"reason": None},
        {"score": "high"},
        {"p_value": math.inf},
        {"evidence": []},
        {"stages": {"read": "long"}},
        {"results": [{**RESULT, "name": "../../etc/passwd"}]},
        {"results": [{**RESULT, "name": ""}]},
        {"results": [{**RESULT, "kind": "virus"}]},
        {"results": [{**RESULT, "sop_instance_uid": "../x"}]},
        {"results": [{**RESULT, "extra": "x"}]},
        {"results": [{"name": "x"}]},
        {"results": 7},
        {"peak_mib": "much"},
    ],
)
def test_an_answer_that_is_none_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    """Each field is checked before the worker acts on any."""
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(ANSWER | changes))

    with pytest.raises(ChildFailed, match="the answer is not valid"):
        Answer.read(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"', "{}", "\udcff"])
def test_noise_is_no_answer(content: str, tmp_path: Path) -> None:
    """A file that is not the JSON of an answer is refused."""
    path = tmp_path / "answer.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))

    with pytest.raises(ChildFailed, match="the answer is not valid"):
        Answer.read(path)


def test_an_endless_answer_is_not_read(tmp_path: Path) -> None:
    """The size is looked at first."""
    path = tmp_path / "answer.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_ANSWER + 1)

    with pytest.raises(ChildFailed, match="too large"):
        Answer.read(path)


def loaded(modules: str, names: str) -> str:
    """Return which of these packages a fresh interpreter has after importing the modules."""
    program = f"import sys, {modules}\nprint(sorted(set({names.split()}) & sys.modules.keys()))"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_worker_imports_no_models() -> None:
    """Torch and the DICOM libraries live in the child alone."""
    assert loaded("gatekeeper.work.worker", "torch highdicom monai pydicom scipy") == "[]"


def test_the_child_imports_no_database_and_no_network() -> None:
    """What meets foreign bytes can reach neither, and starts sooner."""
    modules = (
        "gatekeeper.work.child, gatekeeper.work.assess, gatekeeper.work.compose, "
        "gatekeeper.work.summary, gatekeeper.results.catalogue, models.registry"
    )
    assert loaded(modules, "sqlalchemy pynetdicom httpx") == "[]"
