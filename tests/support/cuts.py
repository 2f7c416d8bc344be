"""Power cuts under load: senders send, the disk is caught now and then, and looked at after."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.after_a_cut import Aftermath, look
from support.blast import CALLING_AE
from support.power import cached_disk, mounted
from support.receivers import running
from support.scanners import Journal, Scanner, TransportScanner
from support.waiting import until

_END_SECONDS = 120.0
_TIMES = 8
"""Makes images of some 100 kB, which the disk takes in several writes."""
_RECOVERY_SECONDS = 0.1
"""About what recovery takes; a cut waits for the next flush."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often the power is cut.

    Attributes:
        cuts: how many.
        senders: associations at the same time.
        seconds: longest time between two cuts.
        seed: of the moments, and of what reached the platter; the order of events is the machine's.
    """

    cuts: int
    senders: int
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut: what had been acknowledged, and the disk that it left.

    Attributes:
        acknowledged: SOP Instance UID -> SHA-256 of the data set.
        image: the disk.
        cached: writes that lay in its cache.
    """

    acknowledged: dict[str, str]
    image: Path
    cached: int


def under_load(receiver: str, kind: str, folder: Path, plan: Plan) -> list[tuple[Cut, Aftermath]]:
    """Cut the power of a receiver under load, and return what each cut left.

    The receiver runs on meanwhile, so a cut is one of a load that goes on. Of ours the power is cut
    again and again while it recovers, and what that leaves is looked at, too.

    Args:
        receiver: its name in `support.receivers`.
        kind: of file system, one of `power.MAKING`.
        folder: an empty one.
        plan: how often.
    """
    root = _made(folder / "root")
    chance = random.Random(f"{plan.seed} {receiver} {kind}")
    journal = Journal()
    found: list[tuple[Cut, Aftermath]] = []
    received = _while_it_receives(receiver, kind, folder, plan, journal)
    sent = set(journal.acknowledged.values())
    for cut in received:
        with tempfile.TemporaryDirectory(dir=folder) as again:
            cuts = [cut]
            if receiver.startswith("durable"):
                cuts += _while_it_recovers(receiver, kind, root, Path(again), cut, chance)
            for one in cuts:
                with mounted(one.image, kind, root):
                    left = look(receiver, _home(root, receiver), one.acknowledged, sent)
                found.append((one, left))
        cut.image.unlink()
    return found


def _while_it_receives(
    receiver: str, kind: str, folder: Path, plan: Plan, journal: Journal
) -> list[Cut]:
    """Send, cut now and then, and end when everything sent was acknowledged."""
    chance = random.Random(f"{plan.seed} {receiver} {kind} received")
    root = folder / "root"
    cuts: list[Cut] = []
    with (
        cached_disk(_made(folder / "load"), root, kind) as disk,
        running(receiver, root, None) as up,
    ):
        # An installation is older than the load.
        os.sync()
        scanners = _scanners(plan.senders, up.port, folder / "sent", journal, chance)
        pause = threading.Event()
        for number in range(plan.cuts):
            pause.wait(chance.uniform(0.1, plan.seconds))
            with journal.lock:
                told = dict(journal.acknowledged)
            image = folder / f"cut-{number}"
            cuts.append(Cut(told, image, disk.cut(chance.randrange(1 << 31), image)))
        for scanner in scanners:
            scanner.stop()
        until(lambda: not any(one.sending for one in scanners), _END_SECONDS, "all was sent")
        for scanner in scanners:
            if not scanner.end():
                raise RuntimeError(f"{receiver} on {kind}: {scanner.last}")
    return cuts


def _while_it_recovers(
    receiver: str, kind: str, root: Path, folder: Path, first: Cut, chance: random.Random
) -> list[Cut]:
    """Have it recover from a first cut, and cut again a few times meanwhile."""
    moments = [(chance.uniform(0, _RECOVERY_SECONDS), chance.randrange(1 << 31)) for _ in range(3)]
    cuts: list[Cut] = []

    def run() -> None:
        pause = threading.Event()
        for number, (wait, seed) in enumerate(moments):
            pause.wait(wait)
            image = folder / f"cut-{number}"
            cuts.append(Cut(first.acknowledged, image, disk.cut(seed, image)))

    with cached_disk(folder, root, kind, first.image) as disk:
        cutting = threading.Thread(target=run, daemon=True)
        cutting.start()
        look(receiver, _home(root, receiver), first.acknowledged, set())
        cutting.join(_END_SECONDS)
    return cuts


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _home(root: Path, receiver: str) -> Path:
    [home] = root.glob(f"{receiver}-*")
    return home


def _scanners(
    count: int, port: int, folder: Path, journal: Journal, chance: random.Random
) -> Sequence[Scanner]:
    scanners: list[Scanner] = []
    for number in range(1, count + 1):
        seed = chance.randrange(1 << 30)
        home = folder / str(number)
        scanner = TransportScanner(number, port, home, journal, seed, _TIMES)
        scanner.ae_title = CALLING_AE
        scanner.start()
        scanners.append(scanner)
    return scanners
