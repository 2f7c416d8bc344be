"""The child process: stays for many jobs, dies alone, and never speaks out of turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.waiting import until
from work.phantoms import STUDY, encoded, series, stored

from gatekeeper.errors import ChildFailed
from gatekeeper.work import process
from gatekeeper.work.messages import ANSWER, Answer, Request
from gatekeeper.work.process import Child, ChildLimits, ChildStopped
from models.registry import Registry
from storage.failpoint import VARIABLE

MEMORY_MIB = 1536


@pytest.fixture
def child() -> Iterator[Child]:
    """Give a child that is gone after the test."""
    made = Child(ChildLimits(MEMORY_MIB, "cpu", 1))
    yield made
    made.stop()


class Desk:
    """Writes requests and asks a child."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child = child
        self.folder = folder
        self.asked = 0

    def ask(self, *, wall: float = 60.0, cpu: float = 60.0, **changes: Any) -> Answer:
        """Ask about a CT of four slices, which has no profile and needs no model."""
        reply = self.reply(wall=wall, cpu=cpu, **changes)
        assert "answer" in reply
        return Answer.read(self.scratch / ANSWER)

    def reply(self, *, wall: float = 60.0, cpu: float = 60.0, **changes: Any) -> dict[str, Any]:
        self.asked += 1
        self.scratch = self.folder / f"job-{self.asked}"
        self.scratch.mkdir()
        images = changes.pop("images", None) or series(4, modality="CT", description="")
        request = Request(
            job=self.asked,
            attempt=1,
            study_instance_uid=changes.pop("study", STUDY),
            content_digest="a" * 64,
            model_digest=changes.pop("models", Registry().digest),
            revision=1,
            created_at=1_700_000_000.0,
            files=tuple(stored(encoded(item), self.scratch) for item in images),
            scratch=str(self.scratch),
            bundles=(),
            device="cpu",
            threads=1,
            maximum_voxels=10_000_000,
            maximum_series=8,
            cpu_seconds=cpu,
            false_hold_rate=0.05,
            ae_title="GATEKEEPER",
            institution="",
            series_number=9100,
        )
        path = self.scratch / "request.json"
        replace(request, **changes).write(path)
        return self.child.ask(path, cpu, wall, threading.Event())


@pytest.fixture
def desk(child: Child, tmp_path: Path) -> Desk:
    """Give a desk at which the child answers."""
    return Desk(child, tmp_path)


def test_one_child_answers_many_jobs(desk: Desk) -> None:
    """The process stays, so that models stay loaded."""
    first = desk.ask()
    pid = desk.child.pid
    second = desk.ask()

    assert (
        first.reason == second.reason == "Not assessed: no profile for CT (body part not stated)."
    )
    assert desk.child.pid == pid
    assert [result.kind for result in first.results] == ["statement"]
    assert (desk.scratch / second.results[0].name).read_bytes()[128:132] == b"DICM"
    assert first.peak_mib > 10
    assert {"read", "geometry", "report"} <= first.stages.keys()


def test_the_same_job_gives_the_same_bytes_twice(desk: Desk) -> None:
    """A second run of one job repeats every result to the byte."""
    first = desk.ask()
    content = (desk.scratch / first.results[0].name).read_bytes()
    second = desk.ask()

    assert (desk.scratch / second.results[0].name).read_bytes() == content


def test_what_a_library_prints_corrupts_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Megabytes on standard error and a forged answer on standard output reach nobody."""
    monkeypatch.setenv(VARIABLE, "child.read=chatter")

    assert desk.ask().reason.startswith("Not assessed")
    captured = capfd.readouterr()
    assert "Doe" not in captured.out + captured.err


FAILURES = [
    ("child.read=segfault", {}, r"crashed with SIGSEGV in _segfault \(failpoint\.py:\d+\)"),
    ("child.read=leave", {}, r"ended with exit code 7 and no answer"),
    ("child.read=raise", {}, r"raised RuntimeError in _raise \(failpoint\.py:\d+\)"),
    ("child.read=exhaust", {}, rf"reached the memory limit of {MEMORY_MIB} MiB"),
    ("child.read=burn", {"cpu": 1.0}, r"killed at the limit of 1 s of processor time"),
    ("child.read=hang", {"wall": 1.0}, r"killed at the limit of 1 s of elapsed time"),
]


@pytest.mark.parametrize(("point", "limits", "reason"), FAILURES)
def test_a_child_that_fails_is_replaced_for_the_next_job(
    point: str, limits: dict[str, float], reason: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to fail has its reason, no patient data in it, and harms no later job."""
    monkeypatch.setenv(VARIABLE, f"{point}@1.2.3")

    with pytest.raises(ChildFailed, match=reason) as caught:
        desk.reply(study="1.2.3", **limits)
    assert "Doe" not in str(caught.value)
    assert desk.child.pid is None

    assert desk.ask().reason.startswith("Not assessed")


def test_resident_memory_is_watched_from_outside(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where address space is not limited, as with CUDA, the parent kills at the limit."""
    monkeypatch.setenv(VARIABLE, "child.read=exhaust")
    unlimited = Child(ChildLimits(8192, "cpu", 1))
    desk.child = unlimited
    try:
        unlimited.start(threading.Event())
        monkeypatch.setattr(unlimited, "_limits", ChildLimits(400, "cpu", 1))
        with pytest.raises(ChildFailed, match="killed at the memory limit of 400 MiB"):
            desk.reply()
    finally:
        unlimited.stop()


WORN = """
from gatekeeper.work.answering import say, take_pipes
requests, answers = take_pipes()
say(answers, {"ready": 1})
for line in requests:
    say(answers, {"answer": 1, "worn": True})
"""


def test_a_child_whose_accelerator_failed_answers_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer counts, the log says that it came from the processor, the next job has another."""
    (tmp_path / "worn.py").write_text(WORN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worn = Child(ChildLimits(MEMORY_MIB, "cpu", 1), "worn")
    structlog.reset_defaults()  # Whatever an earlier test has silenced.
    with structlog.testing.capture_logs() as events:
        for _ in range(2):
            reply = worn.ask(tmp_path / "request.json", 60, 60, threading.Event())
            assert reply["answer"] == 1
            assert worn.pid is None
    assert [one["event"] for one in events] == ["accelerator_failed"] * 2


def test_a_cancelled_job_ends_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that lost its lease stops the work, and says that it did."""
    monkeypatch.setenv(VARIABLE, "child.read=hang")
    cancelled = threading.Event()
    cancelled.set()
    request = desk.folder / "request.json"
    request.write_text("{}")

    with pytest.raises(ChildStopped):
        desk.child.ask(request, 60, 60, cancelled)
    assert desk.child.pid is None


def test_a_request_for_other_models_is_not_answered(desk: Desk) -> None:
    """A job that names other models gets the digest of those in use, and no verdict."""
    assert desk.reply(models="f" * 64) == {"models": Registry().digest}


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """When the worker is killed the kernel kills the child, in whatever it does."""
    program = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from gatekeeper.work.process import Child, ChildLimits\n"
        "child = Child(ChildLimits(1024, 'cpu', 1))\n"
        "child.start(threading.Event())\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        os.kill(worker.pid, signal.SIGKILL)
    until(lambda: not _alive(pid), 10, "the child to die with its parent")


def test_the_childs_words_are_kept_in_bounds() -> None:
    """Of endless standard error only the end is kept, and only code locations come out of it."""
    read_end, write_end = os.pipe()
    tail = process.Tail()
    tail.drain(os.fdopen(read_end, "rb", buffering=0))
    with os.fdopen(write_end, "wb") as pipe:
        for _ in range(50):
            pipe.write(b"PatientName: Doe^Jane\n" * 1000)
        pipe.write(b'Fatal Python error: Segmentation fault\n  File "/opt/x.py", line 7 in run\n')
    found = tail.location()

    assert found == " in run (x.py:7)"
    assert len(tail.kept) <= process.LARGEST_TAIL


def test_a_child_leaves_no_core_file_and_knows_its_limits(child: Child) -> None:
    """Core files would hold patient data; address space and processor time are bounded."""
    child.start(threading.Event())
    limits = Path(f"/proc/{child.pid}/limits").read_text(encoding="ascii").splitlines()
    soft = {line[:25].strip(): line[26:].split()[0] for line in limits[1:]}

    assert soft["Max core file size"] == "0"
    assert soft["Max address space"] == str(MEMORY_MIB << 20)
    assert os.getsid(child.pid or 0) == child.pid


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
