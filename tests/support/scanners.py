"""Scanners that send until they are told that everything is kept, and remember what they were told.

As real ones do, a scanner sends what it got no success for again and again, and forgets an image
only when it was answered 0000. What it was told stands in its journal.
"""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from pydicom.errors import InvalidDicomError
from pynetdicom.dsutils import split_dataset
from work.phantoms import ROOT, encoded, image

from gatekeeper.errors import TransportError
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.transport import SendObject
from gatekeeper.settings import SendSettings
from storage.records import Node
from support.small_bundle import SPACING, body

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
SLICES = 16
"""The fewest that a detector judges."""
_WAIT_SECONDS = 10.0
_END_SECONDS = 60.0
"""Longest time of one storescu, and of the end of whatever is being sent."""
_SETTINGS = SendSettings(
    connect_timeout=_WAIT_SECONDS,
    association_timeout=_WAIT_SECONDS,
    dimse_timeout=_WAIT_SECONDS,
    network_timeout=_WAIT_SECONDS,
    reconnects=0,
)
_SENT = re.compile(r"^I: Sending file: (.+)$")
_SUCCESS = "I: Received Store Response (Success)"


def data_set_digest(path: Path) -> str:
    """Return the SHA-256 of a file's data set without meta information, "" for no DICOM file."""
    try:
        _meta, offset = split_dataset(path)
    except (InvalidDicomError, EOFError, ValueError, struct.error):
        return ""
    return sha256(path.read_bytes()[offset:]).hexdigest()


def write_study(folder: Path, study: str, seed: int, times: int = 1) -> list[Path]:
    """Write the images of a made-up pelvis, and return their files by SOP Instance UID.

    Args:
        folder: a new one.
        study: the Study Instance UID.
        seed: of the pelvis.
        times: how often it stands in each row and column of an image; only one can be judged.
    """
    folder.mkdir(parents=True)
    voxels = np.tile(np.clip(body(seed), 0, None).astype("<u2"), (1, times, times))
    paths: list[Path] = []
    for index in range(SLICES):
        dataset = image(
            index,
            description="t2_tse_tra",
            study=study,
            position=(0.0, 0.0, SPACING * index),
            shape=(voxels.shape[1], voxels.shape[2]),
            BodyPartExamined="PELVIS",
            PixelSpacing=[SPACING, SPACING],
            SliceThickness=SPACING,
            PixelData=voxels[index].tobytes(),
        )
        path = folder / f"{dataset.SOPInstanceUID}.dcm"
        path.write_bytes(encoded(dataset))
        paths.append(path)
    return paths


@dataclass
class Journal:
    """What scanners were told, by all of them at once.

    Attributes:
        acknowledged: SOP Instance UID -> SHA-256 of the data set that was answered 0000.
        studies: every study of which something was sent.
        counts: sends, and each kind of answer.
    """

    acknowledged: dict[str, str] = field(default_factory=dict[str, str])
    studies: set[str] = field(default_factory=set[str])
    counts: Counter[str] = field(default_factory=Counter[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def told(self, path: Path, status: str) -> None:
        """Note the answer about one file: ``0000``, another status, or ``none``."""
        with self.lock:
            self.counts[f"answered {status}"] += 1
            if status == "0000":
                self.acknowledged[path.stem] = data_set_digest(path)


class Scanner(ABC):
    """Sends study after study in a thread of its own until told to stop.

    Args:
        number: makes AE title and UIDs unique.
        port: where the listener is.
        folder: for the files that it has not been told are kept.
        journal: shared with the others.
        seed: of what it does.
        times: of `write_study`.
    """

    def __init__(
        self,
        number: int,
        port: int,
        folder: Path,
        journal: Journal,
        seed: int,
        times: int = 1,
    ) -> None:
        self.ae_title = f"SCANNER{number}"
        self._number = number
        self._port = port
        self._folder = folder
        self._journal = journal
        self._chance = random.Random(f"{seed} {number}")
        self._times = times
        self._stopping = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.ae_title, daemon=True)
        self.left: list[Path] = []
        self.last = "nothing was sent"
        self._error: BaseException | None = None

    @property
    def sending(self) -> bool:
        """Whether it has not come to its end."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further study; what is begun is sent to its end."""
        self._stopping.set()

    def end(self) -> bool:
        """Stop all sending; False when it was not told that everything is kept.

        Raises:
            BaseException: whatever ended its thread.
        """
        self._ending.set()
        self._thread.join(_END_SECONDS)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive() and not self.left

    def _run(self) -> None:
        try:
            for paths in self._studies():
                self._send_until_kept(paths)
        except BaseException as error:  # noqa: BLE001 - raised again by `end`
            self._error = error

    def _studies(self) -> Iterator[list[Path]]:
        """Yield what to send: whole studies, some without a slice that comes after the next."""
        late: list[Path] = []
        number = 0
        while not self._stopping.is_set():
            number += 1
            study = f"{ROOT}.{self._number}.{number}"
            seed = self._chance.randrange(1 << 30)
            paths = write_study(self._folder / study, study, seed, self._times)
            with self._journal.lock:
                self._journal.studies.add(study)
            self._chance.shuffle(paths)
            held = [paths.pop()] if self._chance.random() < 0.2 else []
            if self._chance.random() < 0.2:
                # A repeated image is no new content.
                paths.append(paths[0])
            yield paths
            if late:
                yield late
            late = held
        if late:
            yield late

    def _send_until_kept(self, paths: Sequence[Path]) -> None:
        self.left = list(paths)
        while self.left and not self._ending.is_set():
            kept = self._send(self.left)
            self.left = [path for index, path in enumerate(self.left) if index not in kept]
            if self.left:
                self._ending.wait(self._chance.uniform(0.05, 0.3))
        for path in set(paths) - set(self.left):
            path.unlink()

    @abstractmethod
    def _send(self, paths: Sequence[Path]) -> set[int]:
        """Send files over one association and return the places of those answered 0000."""


class TransportScanner(Scanner):
    """Our own sender as a scanner: it sends files as they are, and tells each answer."""

    def _send(self, paths: Sequence[Path]) -> set[int]:
        transport = DimseTransport(self.ae_title, _SETTINGS)
        listener = Node("GATEKEEPER", "127.0.0.1", self._port)
        objects = [SendObject(MR, path.stem, EXPLICIT, path) for path in paths]
        kept: set[Path] = set()
        try:
            for answer in transport.send(objects, listener):
                status = "none" if answer.status is None else f"{answer.status:04X}"
                self._journal.told(answer.sent.path, status)
                self.last = f"answered {status}"
                if status == "0000":
                    kept.add(answer.sent.path)
        except TransportError as error:
            self.last = str(error)
            with self._journal.lock:
                self._journal.counts["associations refused or lost"] += 1
        return {place for place, path in enumerate(paths) if path in kept}


class StorescuScanner(Scanner):
    """DCMTK's storescu, which tells each answer on its standard output."""

    program = "storescu"

    def _send(self, paths: Sequence[Path]) -> set[int]:
        seconds = str(int(_WAIT_SECONDS))
        ran = subprocess.Popen(
            [self.program, "-v", "-to", seconds, "-td", seconds, "-ta", seconds]
            + ["-aet", self.ae_title, "-aec", "GATEKEEPER", "127.0.0.1", str(self._port)]
            + [str(path) for path in paths],
            env={**os.environ, "TCP_NODELAY": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with ran:
            try:
                told, _ = ran.communicate(timeout=_END_SECONDS)
            except subprocess.TimeoutExpired:
                # What it was told until then counts.
                ran.kill()
                told, _ = ran.communicate()
        kept: set[int] = set()
        sending = -1
        for line in told.splitlines():
            if _SENT.match(line):
                sending += 1
            elif line.startswith(_SUCCESS):
                kept.add(sending)
                self._journal.told(paths[sending], "0000")
        self.last = told.splitlines()[-1] if told else "storescu said nothing"
        if len(kept) < len(paths):
            with self._journal.lock:
                self._journal.counts["storescu broken off"] += 1
        return kept
