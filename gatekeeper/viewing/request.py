"""What the child is asked to draw: the files of one series, and our own results on it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
"""File that lists what was drawn; written last."""
TOTAL = "total"
"""File that says how many slices there will be, for who waits."""
FORMAT = 1
"""Raised with every change of what is drawn, so that older pictures are not taken for it."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One instance of the series, as `gatekeeper.work.messages.ReceivedFile`, which needs numpy."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    digest: str
    path: str


@dataclass(frozen=True, slots=True)
class ResultFile:
    """One of our own results: a parametric map, or a heatmap of one slice."""

    kind: str
    digest: str
    path: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one drawing.

    Attributes:
        slices: most slices that are drawn; the rest is left out, and that is said.
        voxels: most voxels in all of them.
        cpu_seconds: processor time.
    """

    slices: int
    voxels: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """One series to draw.

    Attributes:
        study_instance_uid, series_instance_uid: which.
        files: its files as received.
        results: our own on the study; those that are not on this series are passed over.
        finding: the series' part of the job's evidence: its grid, the map's colour bar and the
            regions; empty when no detector answered on it.
        bounds: limits.
    """

    study_instance_uid: str
    series_instance_uid: str
    files: tuple[SourceFile, ...]
    results: tuple[ResultFile, ...]
    finding: dict[str, Any] = field(default_factory=dict[str, Any])
    bounds: Bounds = Bounds(2000, 600_000_000, 120.0)

    @property
    def key(self) -> str:
        """Digest of all that the pictures depend on."""
        parts = [
            FORMAT,
            self.study_instance_uid,
            self.series_instance_uid,
            sorted((one.sop_instance_uid, one.digest) for one in self.files),
            sorted(one.digest for one in self.results),
            self.finding,
            dataclasses.asdict(self.bounds),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def write(self, path: Path, folder: Path) -> None:
        """Write it to a file, for the pictures to be put into `folder`."""
        stored = dataclasses.asdict(self) | {"folder": str(folder)}
        path.write_text(json.dumps(stored), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> tuple[ViewRequest, Path]:
        """Return what was written, and the folder for the pictures."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        folder = Path(stored.pop("folder"))
        stored["files"] = tuple(SourceFile(**one) for one in stored["files"])
        stored["results"] = tuple(ResultFile(**one) for one in stored["results"])
        stored["bounds"] = Bounds(**stored["bounds"])
        return cls(**stored), folder
