"""The worker's limited child, asked about hostile files: one study each, one outcome each."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from gatekeeper.errors import ChildFailed
from gatekeeper.listen.file_meta import part10_header
from gatekeeper.work.messages import ANSWER, Answer, ReceivedFile, Request
from gatekeeper.work.process import Child, ChildLimits
from models.registry import Registry
from storage.spool import Digest
from support.mutants import ESCAPE, Mutant
from support.originals import Original
from support.tally import PATIENT, Tally

CPU_SECONDS, WALL_SECONDS = 60.0, 120.0
_CONTAINED = re.compile(r"killed at|killed by the system|reached the memory limit")
"""How a child may end on a bomb, alone and with its reason."""


class Reading:
    """A worker's child that is asked about mutants, one study each."""

    def __init__(self, folder: Path, memory_mib: int) -> None:
        self.tally = Tally()
        self._folder = folder
        self._memory_mib = memory_mib
        self._child = Child(ChildLimits(memory_mib, "cpu", 1))
        self._models = Registry().digest
        self._never = threading.Event()

    def read(self, mutant: Mutant, files: Sequence[ReceivedFile]) -> str:
        """Have a study assessed and return the outcome."""
        scratch = self._folder / f"scratch-{mutant.number}"
        scratch.mkdir(parents=True)
        path = scratch / "request.json"
        self._request(mutant, files, scratch).write(path)
        began = time.monotonic()
        mib = 0
        try:
            self._child.ask(path, CPU_SECONDS, WALL_SECONDS, self._never)
            answer = Answer.read(scratch / ANSWER)
            outcome, reason, mib = f"{answer.verdict}", answer.reason, answer.peak_mib
            if not reason.endswith("."):
                self.tally.blame(mutant, "an outcome without a reason")
        except ChildFailed as error:
            reason = str(error)
            outcome = f"child: {re.sub(r'[0-9]+', 'N', reason)}"
            if not _CONTAINED.match(reason):
                self.tally.blame(mutant, reason)
        seconds = time.monotonic() - began
        self.tally.add(mutant, outcome, seconds, mib)
        if mib > self._memory_mib:
            self.tally.blame(mutant, f"the child held {mib} MiB")
        if seconds > WALL_SECONDS + 15:
            self.tally.blame(mutant, f"took {seconds:.0f} s")
        if PATIENT.search(reason.encode()):
            self.tally.blame(mutant, "a patient's text in the reason")
        shutil.rmtree(scratch)
        return outcome

    def record(self, original: Original) -> ReceivedFile:
        """Return the record of an object that no listener was asked about."""
        content = file_of(original, original.sop_class_uid)
        digest = Digest.of(content)
        path = self._folder / digest
        path.write_bytes(content)
        return ReceivedFile(
            original.sop_instance_uid,
            original.sop_class_uid,
            "1.2.3",
            original.transfer_syntax_uid,
            digest,
            str(path),
        )

    def close(self) -> None:
        """End the child and look for files that it wrote where it should not."""
        self._child.stop()
        places = (Path("/"), Path("/tmp"), self._folder, Path.cwd())  # noqa: S108
        self.tally.broken += [
            f"outside the scratch folder: {path}"
            for place in places
            for path in place.glob(f"*{ESCAPE}*")
        ]

    def _request(self, mutant: Mutant, files: Sequence[ReceivedFile], scratch: Path) -> Request:
        return Request(
            job=mutant.number,
            attempt=1,
            study_instance_uid="1.2.3",
            content_digest="a" * 64,
            model_digest=self._models,
            revision=1,
            created_at=1_700_000_000.0,
            files=tuple(files),
            scratch=str(scratch),
            bundles=(),
            device="cpu",
            threads=1,
            maximum_voxels=10_000_000,
            maximum_series=8,
            cpu_seconds=CPU_SECONDS,
            false_hold_rate=0.05,
            ae_title="GATEKEEPER",
            institution="",
            series_number=9100,
        )


def file_of(original: Original, sop_class_uid: str) -> bytes:
    """Return the file that the listener makes of an object."""
    meta = part10_header(sop_class_uid, original.sop_instance_uid, original.transfer_syntax_uid)
    # Fragments are of even length (PS3.8 E.2): the sender pads what is odd.
    return meta + original.data + bytes(len(original.data) % 2)
