"""Failpoints: off by default, and exact about where, when and for whom they act."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage import failpoint

PROGRAM = """
from storage import failpoint
for number in range(3):
    failpoint.reached("here")
    print(number, flush=True)
"""


def test_failpoints_are_off_unless_the_environment_names_them() -> None:
    """A production process passes every point, at the cost of one look at an empty table."""
    assert failpoint.VARIABLE not in os.environ
    for _ in range(3):
        failpoint.reached("child.detect", "1.2.3")


def test_a_point_acts_at_its_place_and_for_its_study_alone() -> None:
    """Another place, or another study, is passed."""
    with failpoint.armed("child.detect=raise@1.2.3"):
        failpoint.reached("child.read", "1.2.3")
        failpoint.reached("child.detect", "1.2.4")
        with pytest.raises(RuntimeError):
            failpoint.reached("child.detect", "1.2.3")
    failpoint.reached("child.detect", "1.2.3")


@pytest.mark.parametrize(("action", "code"), [("eio", errno.EIO), ("enospc", errno.ENOSPC)])
def test_a_failing_disk_fails_once(action: str, code: int) -> None:
    """What raises an OSError does so the first time, as the kernel reports a lost page once."""
    with failpoint.armed(f"spool.written={action}"):
        with pytest.raises(OSError, match=os.strerror(code)) as raised:
            failpoint.reached("spool.written")
        failpoint.reached("spool.written")

    assert raised.value.errno == code


def test_a_point_may_act_while_a_file_exists(tmp_path: Path) -> None:
    """So a running process is made to fail and to recover from outside."""
    switch = tmp_path / "full"
    with failpoint.armed(f"spool.written=enospc@{switch}"):
        failpoint.reached("spool.written")
        switch.touch()
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                failpoint.reached("spool.written")
        switch.unlink()
        failpoint.reached("spool.written")


def test_a_process_kills_itself_the_third_time() -> None:
    """The environment is read at the start; the count is the process's own."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": ":".join(sys.path), failpoint.VARIABLE: "there=leave,here=kill@3"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == -signal.SIGKILL
    assert ran.stdout.split() == ["0", "1"]


@pytest.mark.parametrize("value", ["here", "=kill", "here=", "here=nonsense", "a=kill,b"])
def test_a_value_that_names_nothing_is_refused(value: str) -> None:
    """A mistyped failpoint must not make a test pass."""
    with pytest.raises(ValueError, match="NAME=ACTION"), failpoint.armed(value):
        pass
