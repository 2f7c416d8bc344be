"""What the child may use, set by itself on itself, and what it has used.

Linux only: the limits are those of setrlimit(2), prctl(2) and proc(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_MIB = 1 << 20
_RESET_PEAK = b"5"


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    Args:
        parent: process id of the parent; when it is gone already, this process ends at once.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(0)


def allow_no_core() -> None:
    """Leave no core file: it would hold patient data."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def allow_memory(mib: int) -> None:
    """Make allocations beyond `mib` MiB of address space fail.

    Not for a process that uses CUDA, which reserves far more address space than it fills; there
    the parent's watch on resident memory is the only limit.
    """
    resource.setrlimit(resource.RLIMIT_AS, (mib * _MIB, mib * _MIB))


def allow_processor(seconds: float) -> None:
    """Have SIGXCPU end this process after so much more processor time of all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(usage.ru_utime + usage.ru_stime + seconds)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def forget_peak() -> None:
    """Start the peak of resident memory anew, where the kernel allows it (proc(5) clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(_RESET_PEAK)


def peak_mib() -> int:
    """Return the largest resident memory since `forget_peak`, in MiB."""
    return _status_mib(Path("/proc/self/status"), "VmHWM")


def anonymous_mib(process: int) -> int:
    """Return another process's resident memory that no file backs, in MiB; 0 when it is gone."""
    return _status_mib(Path(f"/proc/{process}/status"), "RssAnon")


def _status_mib(path: Path, field: str) -> int:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) // 1024
    return 0
