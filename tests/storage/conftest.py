"""What the storage tests share: records to store, other processes, and waiting for a condition."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import instances, jobs
from storage.engine import Database
from storage.records import Instance, Outcome, Result
from storage.spool import Digest

_STUDY_NUMBERS = itertools.count(1)


@pytest.fixture
def study_uid() -> str:
    """Return a Study Instance UID that no other test uses."""
    return f"1.2.826.0.1.{next(_STUDY_NUMBERS)}"


@pytest.fixture
def an_instance(study_uid: str) -> Callable[..., Instance]:
    """Return a maker of instances of `study_uid`: number, content, and any field by name."""

    def make(number: int = 1, content: str = "", **fields: Any) -> Instance:
        study = fields.pop("study_instance_uid", study_uid)
        given: dict[str, Any] = {
            "sop_instance_uid": f"{study_uid}.9.{number}",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "study_instance_uid": study,
            "series_instance_uid": f"{study_uid}.8.{number % 3}",
            "modality": "MR",
            "digest": Digest.of(f"{study} {number} {content}".encode()),
            "size": 1000 + number,
            "source_ae": "SCANNER",
        }
        return Instance(**(given | fields))

    return make


@pytest.fixture
def a_job(database: Database, an_instance: Callable[..., Instance]) -> Callable[..., int]:
    """Return a maker of queued jobs, numbered by their content."""

    def make(number: int = 1) -> int:
        instance = an_instance(number)
        with database.begin() as tx:
            instances.record(tx, instance, None)
            made = jobs.enqueue(
                tx,
                instance.study_instance_uid,
                Digest.of(f"content {number}".encode()),
                Digest.of(b"models"),
                1,
            )
        assert made is not None
        return made

    return make


@pytest.fixture
def an_outcome() -> Outcome:
    """Return what a job may find."""
    return Outcome(
        job_id=0,
        verdict="SUSPECT",
        reason="The map departs from the reference.",
        score=3.5,
        p_value=0.01,
        evidence={"series": [{"p": 0.01, "text": "Größe"}]},
        stages={"read": 12.5},
    )


@pytest.fixture
def a_result(study_uid: str) -> Callable[..., Result]:
    """Return a maker of result objects, numbered by their UID."""

    def make(number: int = 1, content: str = "") -> Result:
        return Result(
            sop_instance_uid=f"2.25.{study_uid.replace('.', '')}.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            series_instance_uid=f"2.25.{number}",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            kind="report",
            digest=Digest.of(f"result {number} {content}".encode()),
            size=100,
        )

    return make


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Return a function that asks until the answer is true, for at most 10 seconds."""

    def ask(question: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 10
        while not (answer := question()):
            assert time.monotonic() < deadline, "the condition did not come true in 10 s"
            time.sleep(0.002)
        return answer

    return ask


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a starter of Python processes: a script, its arguments, and words put before."""
    started: list[subprocess.Popen[str]] = []
    numbers = itertools.count()

    def start(script: str, *arguments: str, before: list[str] | None = None) -> Any:
        path = tmp_path / f"script{next(numbers)}.py"
        path.write_text(script)
        process = subprocess.Popen(
            [*(before or []), sys.executable, "-W", "error", path, *arguments],
            cwd=Path(__file__).parents[2],
            env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
