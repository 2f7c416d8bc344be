"""A file system on a disk with a volatile cache, and what a power cut leaves of it.

Linux, as root, with FUSE and loop devices.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.volatile_disk import NAME
from support.waiting import until

MAKING = {
    "ext4": ["mkfs.ext4", "-q", "-E", "nodiscard"],
    "ext4-without-journal": ["mkfs.ext4", "-q", "-E", "nodiscard", "-O", "^has_journal"],
    "xfs": ["mkfs.xfs", "-q", "-K"],
}
"""What makes each kind of file system."""
_CHECKING = {"ext4-without-journal": ["e2fsck", "-fy"]}
"""What has to be run after a cut, where mounting alone does not mend it."""
_SECONDS = 120.0
_SIZE = str(4096 << 20)
_TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class CachedDisk:
    """A file system on a disk whose power can be cut.

    Attributes:
        root: where it is mounted.
    """

    root: Path
    _server: subprocess.Popen[str]

    def cut(self, seed: int, into: Path) -> int:
        """Write to `into` what a power cut would leave now, and return how much was in the cache.

        The disk runs on: who uses it does not notice.
        """
        given, answer = self._server.stdin, self._server.stdout
        if given is None or answer is None:
            raise RuntimeError("the disk takes no orders")
        given.write(f"{seed} {into}\n")
        given.flush()
        return int(answer.readline())


def missing() -> str | None:
    """Return why no power can be cut here, in one sentence, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "file systems can be mounted by root on Linux alone"
    if not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        return "there is no /dev/fuse or no /dev/loop-control"
    if importlib.util.find_spec("mfusepy") is None or ctypes.util.find_library("fuse3") is None:
        return "mfusepy or libfuse is not installed"
    with tempfile.TemporaryDirectory() as root:
        mount = ["mount", "-t", "tmpfs", "tmpfs", root]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return "no file system may be mounted here"
        subprocess.run(["umount", root], check=True)
    return None


@contextmanager
def cached_disk(
    folder: Path, root: Path, kind: str, content: Path | None = None
) -> Generator[CachedDisk]:
    """Give a file system of this kind on a disk with a volatile cache.

    Args:
        folder: an empty one, for what is on the disk.
        root: where it is mounted.
        kind: one of `MAKING`.
        content: what is on the disk, as left by a cut; None for a fresh file system.
    """
    states, offered = folder / "states", folder / "offered"
    for one in (states, offered):
        one.mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(_serving(states, offered, content))
        if content is None:
            _run([*MAKING[kind], str(offered / NAME)])
        stack.enter_context(mounted(offered / NAME, kind, root))
        yield CachedDisk(root, server)


@contextmanager
def mounted(image: Path, kind: str, root: Path) -> Generator[None]:
    """Mount what lies in `image` at `root`, mended after a power cut as a machine does at start.

    Raises:
        subprocess.CalledProcessError: if it cannot be mounted.
    """
    device = _run(["losetup", "--find", "--show", str(image)]).strip()
    try:
        if kind in _CHECKING:
            # Ends with 1 when it has mended something.
            _run([*_CHECKING[kind], device], accepted=(0, 1))
        _run(["mount", device, str(root)])
        try:
            yield
        finally:
            _run(["umount", str(root)])
    finally:
        _run(["losetup", "--detach", device])


@contextmanager
def _serving(states: Path, offered: Path, content: Path | None) -> Generator[subprocess.Popen[str]]:
    given = [] if content is None else [str(content)]
    server = subprocess.Popen(
        [sys.executable, "-m", "support.volatile_disk", str(states), _SIZE, str(offered), *given],
        env={**os.environ, "PYTHONPATH": f"{_TESTS}:{_TESTS.parent}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        until((offered / NAME).exists, _SECONDS, "the disk is there")
        yield server
    finally:
        _run(["umount", "--lazy", str(offered)])
        server.communicate(timeout=_SECONDS)


def _run(command: list[str], accepted: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode not in accepted:
        raise subprocess.CalledProcessError(
            done.returncode, command, done.stdout, done.stderr or done.stdout
        )
    return done.stdout
