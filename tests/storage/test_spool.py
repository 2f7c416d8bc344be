"""The spool: whole files under their digests, whatever happens."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.spool import Digest, Spool, SpoolLimitError, Stored

STORE = """
import sys
from pathlib import Path
from storage.spool import Spool

spool = Spool(Path(sys.argv[1]))
print("ready", flush=True)
spool.store(b"content")
print("stored", flush=True)
"""

STORE_AND_RECORD = """
import sys
from pathlib import Path
from storage import instances
from storage.engine import Database
from storage.records import Instance
from storage.spool import Spool

spool, database = Spool(Path(sys.argv[1])), Database.connect(sys.argv[2])
with database.read() as tx:
    instances.count(tx)
stored = spool.store(b"content")
made = Instance("1.2", "1.3", "1.4", "1.5", "1.6", "MR", stored.digest, stored.size, "SCANNER")
with database.begin() as tx:
    instances.record(tx, made, None)
print("acknowledged", flush=True)
"""

WRITE_AND_WAIT = """
import sys
from pathlib import Path
from storage.spool import Spool

with Spool(Path(sys.argv[1])).writer() as writer:
    writer.write(b"half")
    print("written", flush=True)
    sys.stdin.read()
"""

WRITE_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from storage.spool import Spool

spool = Spool(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    with spool.writer() as writer:
        writer.write(b"x" * 90)
        try:
            writer.write(b"x" * 90)
        except OSError as error:
            print(error.errno, flush=True)
        writer.commit()
except ValueError:
    print("refused", flush=True)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_what_is_stored_can_be_read_back(spool: Spool) -> None:
    """A stored file lies under its SHA-256, whole."""
    stored = spool.store(b"content")

    assert stored.digest == hashlib.sha256(b"content").hexdigest()
    assert stored == Stored(Digest.of(b"content"), 7, spool.path(stored.digest))
    assert spool.exists(stored.digest)
    with spool.open(stored.digest) as file:
        assert file.read() == b"content"


def test_a_file_written_in_pieces_is_one_file(spool: Spool) -> None:
    """The digest is of all that was written, in order."""
    with spool.writer() as writer:
        for piece in (b"con", b"", b"tent"):
            writer.write(piece)
        assert writer.commit() == spool.store(b"content")


def test_the_same_content_is_kept_once(spool: Spool) -> None:
    """Storing twice is a success and one file."""
    assert spool.store(b"content") == spool.store(b"content")
    assert len(_objects(spool)) == 1


def test_threads_that_store_the_same_content_all_succeed(spool: Spool) -> None:
    """The race for the name has no loser."""
    stored: list[Stored] = []
    threads = [
        threading.Thread(target=lambda: stored.append(spool.store(b"content"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(stored) == 8
    assert len(set(stored)) == len(_objects(spool)) == 1


def test_leaving_without_commit_keeps_nothing(spool: Spool) -> None:
    """An abandoned file leaves neither object nor residue."""
    with spool.writer() as writer:
        writer.write(b"content")

    assert _objects(spool) == _residue(spool) == []


def test_nothing_can_be_written_after_commit(spool: Spool) -> None:
    """What has a digest for a name does not change."""
    with spool.writer() as writer:
        writer.write(b"content")
        stored = writer.commit()
        with pytest.raises(ValueError, match="not any more"):
            writer.write(b"more")
        with pytest.raises(ValueError, match="not any more"):
            writer.commit()

    assert stored.path.read_bytes() == b"content"
    assert _residue(spool) == []


def test_a_file_over_the_limit_is_refused(spool: Spool) -> None:
    """The limit is inclusive, and what exceeds it can no longer be committed."""
    with spool.writer(limit=7) as writer:
        writer.write(b"content")
        writer.commit()
    with spool.writer(limit=7) as writer:
        writer.write(b"content")
        with pytest.raises(SpoolLimitError, match="7 bytes"):
            writer.write(b"!")
        with pytest.raises(ValueError, match="not any more"):
            writer.commit()

    assert len(_objects(spool)) == 1
    assert _residue(spool) == []


def test_files_are_read_only_and_closed_to_others(spool: Spool) -> None:
    """Objects are 0440, their folders open to owner and group only."""
    stored = spool.store(b"content")

    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o440
    for folder in (stored.path.parent, spool.root, spool.root / "incoming"):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o007 == 0


@given(st.text(max_size=80) | st.sampled_from(["../" * 20 + "etc/x", "/etc/x", "a" * 63, "A" * 64]))
def test_only_a_digest_makes_a_path(text: str) -> None:
    """Whatever a peer sent, a path in the spool comes from 64 hexadecimal digits or not at all."""
    if re.fullmatch(r"[0-9a-f]{64}", text):
        assert Digest.parse(text) == text
    else:
        with pytest.raises(ValueError, match="not a digest"):
            Digest.parse(text)


@settings(max_examples=20)
@given(st.binary(max_size=200))
def test_every_path_is_inside_the_spool(data: bytes) -> None:
    """Every digest's path is below the folder of objects."""
    objects = Path("/spool/objects")

    path = Spool.path(_unmade_spool(), Digest.of(data))

    assert path.parent.parent == objects
    assert path.name == Digest.of(data)


def test_a_file_of_a_spool_of_before_stays_where_it_is(spool: Spool, tmp_path: Path) -> None:
    """One folder deeper: it is found, taken for the same content, and removed."""
    digest = Digest.of(b"content")
    before = spool.root / "objects" / digest[:2] / digest[2:4] / digest
    before.parent.mkdir(parents=True)
    before.write_bytes(b"content")
    spool = Spool(spool.root)
    other = tmp_path / "other"
    other.write_bytes(b"contents")

    assert spool.exists(digest)
    assert spool.store(b"content").path == spool.path(digest) == before
    assert _objects(spool) == [before]
    with pytest.raises(OSError, match="damaged"):
        spool.name(str(other), digest, 8)
    assert spool.remove(digest)
    assert not spool.remove(digest)
    assert spool.store(b"content").path.parent == spool.root / "objects" / digest[:2]


def test_a_path_needs_a_digest(spool: Spool) -> None:
    """Asking for the path of anything else is refused."""
    with pytest.raises(ValueError, match="not a digest"):
        spool.path("../../etc/passwd")


def test_a_damaged_object_is_not_success(spool: Spool) -> None:
    """A resend does not report success on a file that has lost bytes."""
    stored = spool.store(b"content")
    stored.path.chmod(0o640)
    stored.path.write_bytes(b"cont")

    with pytest.raises(OSError, match="damaged"):
        spool.store(b"content")


def test_sweep_removes_old_residue_only(spool: Spool) -> None:
    """A file in progress stays, what nobody has touched for long goes, objects stay."""
    stored = spool.store(b"content")
    old = spool.root / "incoming" / "old.part"
    old.write_bytes(b"half")
    os.utime(old, (1, 1))
    with spool.writer() as writer:
        writer.write(b"live")

        assert spool.sweep(3600) == 1

        assert not old.exists()
        assert spool.exists(writer.commit().digest)
    assert spool.exists(stored.digest)


def test_a_swept_writer_cannot_commit(spool: Spool) -> None:
    """A writer whose file was swept promises nothing."""
    with spool.writer() as writer:
        writer.write(b"content")
        spool.sweep(-60)
        with pytest.raises(FileNotFoundError):
            writer.commit()

    assert _objects(spool) == []


def test_free_space_is_that_of_the_file_system(spool: Spool) -> None:
    """Free space is what a user other than root may still write, in MiB."""
    facts = os.statvfs(spool.root)

    assert abs(spool.free_mib() - facts.f_bavail * facts.f_frsize // 2**20) < 1024


def test_a_killed_writer_leaves_residue_and_no_object(spool: Spool, other_process: Start) -> None:
    """After kill -9 there is nothing under a digest, and sweep removes the rest."""
    process = other_process(WRITE_AND_WAIT, str(spool.root))
    assert _line(process) == "written"
    process.send_signal(signal.SIGKILL)
    process.wait(10)

    assert _objects(spool) == []
    assert len(_residue(spool)) == 1
    assert spool.sweep(-1) == 1
    assert _residue(spool) == []


def test_a_failed_write_keeps_nothing_and_cannot_be_committed(
    spool: Spool, other_process: Start
) -> None:
    """When the file system takes no more, no partial file gets a name."""
    process = other_process(WRITE_TOO_MUCH, str(spool.root))

    out, error = process.communicate(timeout=20)

    assert (out.split(), error) == (["27", "refused"], "")
    assert _objects(spool) == _residue(spool) == []


def test_a_write_of_which_the_system_takes_a_part_goes_on_with_the_rest(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte is lost or written twice, across the parts too."""
    whole = os.writev

    def part(descriptor: int, parts: tuple[bytes, ...]) -> int:
        return whole(descriptor, [b"".join(parts)[:7]])

    monkeypatch.setattr(os, "writev", part)
    with spool.writer() as writer:
        writer.write(b"header", b"", b"data set")
        stored = writer.commit()
    assert stored.path.read_bytes() == b"headerdata set"
    assert (stored.digest, stored.size) == (Digest.of(b"headerdata set"), 14)


def test_a_file_is_synchronised_before_it_is_named_and_its_folders_after(
    tmp_path: Path, other_process: Start, peer: Callable[[str], str]
) -> None:
    """The system calls of one commit come in the only order that survives a power cut."""
    root, trace = tmp_path / "spool", tmp_path / "trace"
    names = "trace=fsync,fdatasync,link,mkdir,unlink"
    before = [peer("strace"), "-f", "-y", "-o", str(trace), "-e", names]
    out, _ = other_process(STORE, str(root), before=before).communicate(timeout=20)
    assert "stored" in out

    digest = Digest.of(b"content")
    folder = digest[:2]
    calls = _calls(trace, root)
    assert calls[calls.index("fdatasync PART") :] == [
        "fdatasync PART",
        f"mkdir objects/{folder}",
        "fsync objects",
        f"link PART objects/{folder}/{digest}",
        f"fsync objects/{folder}",
        "unlink PART",
    ]


def test_nothing_is_acknowledged_before_file_folder_and_commit_are_on_the_disk(
    tmp_path: Path,
    other_process: Start,
    peer: Callable[[str], str],
    sqlite_url: str,
) -> None:
    """From file to acknowledgement: fsync, link, fsync of the folder, fsync of the commit."""
    root, trace = tmp_path / "spool", tmp_path / "trace"
    names = "trace=fsync,fdatasync,link,write,pwrite64"
    before = [peer("strace"), "-f", "-y", "-o", str(trace), "-e", names]
    process = other_process(STORE_AND_RECORD, str(root), sqlite_url, before=before)
    out, error = process.communicate(timeout=20)
    assert "acknowledged" in out, error

    lines = trace.read_text().splitlines()
    steps = [
        r"fdatasync\(\d+<.*\.part>\)",
        r"link\(.*\.part",
        r"fsync\(\d+<.*/objects/..>\)",
        r"write\(1<.*acknowledged",
    ]
    found = [next(i for i, line in enumerate(lines) if re.search(step, line)) for step in steps]
    assert found == sorted(found)
    log = [line for line in lines[found[2] : found[3]] if "-wal>" in line]
    assert any("pwrite64(" in line for line in log)
    assert "sync(" in log[-1]


@pytest.mark.parametrize(("call", "failing"), [("fdatasync", 1), ("fsync", 1), ("fsync", 2)])
def test_a_failed_synchronisation_is_never_success(
    tmp_path: Path, other_process: Start, peer: Callable[[str], str], call: str, failing: int
) -> None:
    """Whichever of a commit's reports EIO, the commit raises and does not try it again."""
    root, trace = tmp_path / "spool", tmp_path / "trace"
    Spool(root)
    # The first two fsyncs of the process are those of `Spool(root)`.
    number = failing + 2 if call == "fsync" else failing
    fault = f"inject={call}:error=EIO:when={number}"
    names = "trace=fsync,fdatasync,link"
    before = [peer("strace"), "-f", "-y", "-o", str(trace), "-e", names, "-e", fault]
    out, error = other_process(STORE, str(root), before=before).communicate(timeout=20)

    assert out.split() == ["ready"]
    assert "OSError: [Errno 5]" in error
    calls = _calls(trace, root)
    synchronised = [one for one in calls if one.startswith(call)]
    # One of the first two fsyncs is outside the spool.
    assert len(synchronised) == failing + (call == "fsync")
    assert _residue(Spool(root)) == []


def _unmade_spool() -> Spool:
    spool = object.__new__(Spool)
    spool._objects = Path("/spool/objects")  # pyright: ignore[reportPrivateUsage]
    return spool


def _objects(spool: Spool) -> list[Path]:
    return [path for path in (spool.root / "objects").rglob("*") if path.is_file()]


def _residue(spool: Spool) -> list[Path]:
    return list((spool.root / "incoming").iterdir())


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _calls(trace: Path, root: Path) -> list[str]:
    """Return the traced system calls that name the spool: the call and its paths below the root."""
    found: list[str] = []
    for line in trace.read_text().splitlines():
        call = re.match(r"\d+ +(\w+)\(", line)
        paths = re.findall(rf"{re.escape(str(root))}/?([^\">]*)", line)
        if call and paths:
            short = ["PART" if path.endswith(".part") else path for path in paths]
            found.append(" ".join([call[1], *short]))
    return found
