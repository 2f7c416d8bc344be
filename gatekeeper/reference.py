"""Reference: a folder of DICOM files as scans to train, calibrate and evaluate on.

The files are read with the readers that the worker uses. Their pixels may come from anywhere, so
they are decoded in another process under limits of memory and time, a few series at once; when it
crashes, those that it left undone are tried one by one, so that a file that crashes a decoder costs
its series and nothing else. What is left out is told with its reason.

No identity leaves this module: a subject is a keyed hash of PatientID, a scan's name is one of its
SeriesInstanceUID, and slice identifiers are dropped. The key is the site's own and stays in its
folder of bundles, so that a patient has one name in all runs and none that others can look up.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pydicom import dcmread

from gatekeeper import pseudonym
from gatekeeper.errors import UnreadableSeries
from gatekeeper.identifiers import Digest
from gatekeeper.work import limits
from gatekeeper.work.messages import ReceivedFile
from gatekeeper.work.protocol import Protocol
from gatekeeper.work.source import BoundedReader, quiet
from gatekeeper.work.values import MALFORMED, text
from models.errors import ModelError
from models.registry import Profile

if TYPE_CHECKING:
    from models.scan import Scan

REQUEST, REPLY = "request.json", "reply.json"
SERIES_AT_ONCE = 8
_PREAMBLE = 128
_TAGS = (
    "SOPInstanceUID",
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
)

LeftOut = Callable[[str], None]
"""Called with the reason, without patient data, whenever a file, series or volume is left out."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process that decodes may use.

    Attributes:
        memory_mib: address space.
        cpu_seconds: processor time of one series.
        wall_seconds: elapsed time of one process.
        maximum_voxels: in one volume.
    """

    memory_mib: int = 8192
    cpu_seconds: float = 900.0
    wall_seconds: float = 600.0
    maximum_voxels: int = 600_000_000


@dataclass(frozen=True, slots=True)
class _Series:
    """One series of the folder: its files and its names that tell nothing."""

    uid: str
    subject: str
    name: str
    files: tuple[ReceivedFile, ...]


def subject_name(key: bytes, patient_id: str, issuer: str = "") -> str:
    """Return the name under which `dicom_scans` gives a patient's scans."""
    return pseudonym.patient(key, patient_id, issuer)[:16]


def holds_dicom(folder: Path) -> bool:
    """Return whether a folder, or one in it, holds a DICOM file (PS3.10 7.1)."""
    return any(_is_dicom(path) for path in folder.rglob("*"))


def dicom_scans(
    folder: Path,
    split: str,
    profile: Profile | None,
    key: bytes,
    allowed: Limits,
    left_out: LeftOut,
) -> Iterator[Scan]:
    """Yield the scans of one split of a folder of DICOM files, by their names.

    Everything in it stands for normal. The split is `models.sources.split.split_of` of the hashed
    subject.

    Args:
        folder: searched at every depth.
        split: ``train``, ``calibration``, ``dev`` or ``all``.
        profile: what scans are wanted; None for all.
        key: from `gatekeeper.pseudonym.subject_key`.
        allowed: limits of the process that decodes.
        left_out: told what is left out and why.

    Raises:
        ModelError: if the split is not one.
    """
    from models.sources.split import SPLITS, on_side

    if split not in SPLITS:
        raise ModelError(f"DICOM folders offer the splits {', '.join(SPLITS)}, not {split!r}")
    wanted = [one for one in _series(folder, key, left_out) if on_side(one.subject, split)]
    for start in range(0, len(wanted), SERIES_AT_ONCE):
        several = wanted[start : start + SERIES_AT_ONCE]
        undone = yield from _decoded(several, profile, allowed, left_out)
        for series in undone:
            alone = [series] if len(several) > 1 else []
            if not alone or (yield from _decoded(alone, profile, allowed, left_out)):
                left_out("a series that a decoder crashed on, or that took too much memory or time")


def _series(folder: Path, key: bytes, left_out: LeftOut) -> list[_Series]:
    groups: dict[str, list[ReceivedFile]] = defaultdict(list)
    subjects: dict[str, str] = {}
    seen: set[str] = set()
    for path in sorted(folder.rglob("*")):
        if not _is_dicom(path):
            continue
        try:
            file, patient = _listed(path)
        except (*MALFORMED, OSError):
            left_out("a file that cannot be read as DICOM")
            continue
        if not file.series_instance_uid or not file.sop_instance_uid:
            left_out("a file without identifiers")
        elif file.digest in seen:
            left_out("a file that is there twice")
        else:
            seen.add(file.digest)
            groups[file.series_instance_uid].append(file)
            subjects.setdefault(file.series_instance_uid, _hashed(key, patient))
    found = [
        _Series(uid, subjects[uid], f"{subjects[uid]}-{series_mark(key, uid)}", tuple(files))
        for uid, files in groups.items()
    ]
    return sorted(found, key=lambda series: series.name)


def _is_dicom(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False


def _listed(path: Path) -> tuple[ReceivedFile, str]:
    """Return a file as a listener would have recorded it, and whose it is."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        with quiet():
            header = dcmread(
                cast(BinaryIO, BoundedReader(file)),
                stop_before_pixels=True,
                specific_tags=list(_TAGS),
            )
            sop, kind, study, series, patient, issuer = (text(header, name) for name in _TAGS)
            syntax = text(cast(Any, header.file_meta), "TransferSyntaxUID")
    whose = f"{issuer}\0{patient}" if patient else f"study\0{study}"
    return ReceivedFile(sop, kind, series, syntax, Digest.parse(digest), str(path)), whose


def _hashed(key: bytes, text: str) -> str:
    return pseudonym.hashed(key, text)[:16]


def series_mark(key: bytes, series_uid: str) -> str:
    """Return what a scan's name holds after its subject: a keyed hash of SeriesInstanceUID."""
    return _hashed(key, series_uid)[:8]


def _decoded(
    several: Sequence[_Series], profile: Profile | None, allowed: Limits, left_out: LeftOut
) -> Generator[Scan, None, list[_Series]]:
    """Yield the volumes of a few series, decoded in another process; return the series undone."""
    with tempfile.TemporaryDirectory(prefix="gatekeeper-reference-") as folder:
        scratch = Path(folder)
        _decode(several, profile, allowed, scratch)
        undone: list[_Series] = []
        for number, series in enumerate(several):
            path = scratch / str(number) / REPLY
            if path.is_file():
                reply = cast("dict[str, list[Any]]", json.loads(path.read_text(encoding="utf-8")))
                for reason in reply["left_out"]:
                    left_out(reason)
                yield from _scans(series, reply["volumes"], path.parent)
            else:
                undone.append(series)
    return undone


def _scans(series: _Series, volumes: Sequence[Mapping[str, Any]], folder: Path) -> Generator[Scan]:
    import numpy as np

    from models.scan import Scan
    from models.volume import Volume

    for number, one in enumerate(volumes):
        array = np.load(folder / one["file"], allow_pickle=False)
        volume = Volume(
            array=array,
            affine=np.array(one["affine"], dtype=np.float64),
            modality=one["modality"],
            body_part=one["body_part"],
            sequence=one["sequence"],
            device=one["device"],
            protocol=one["protocol"],
        )
        yield Scan(
            name=series.name if number == 0 else f"{series.name}-{number}",
            subject=series.subject,
            volume=volume,
            normal=np.ones(len(array), dtype=np.bool_),
            lesion=np.zeros(array.shape, dtype=np.bool_),
            site=volume.device,
        )


def _decode(
    several: Sequence[_Series], profile: Profile | None, allowed: Limits, scratch: Path
) -> None:
    """Have another process read the series into ``scratch/<number>``, a reply beside each."""
    request = {
        "series": [
            {"uid": one.uid, "files": [asdict(file) for file in one.files]} for one in several
        ],
        "profile": None if profile is None else asdict(profile),
        "limits": asdict(allowed),
    }
    (scratch / REQUEST).write_text(json.dumps(request), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "gatekeeper.reference", str(os.getpid()), str(scratch)]
    # What it prints may hold patient data; which replies are there says how it ended.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=allowed.wall_seconds,
            check=False,
            env=os.environ | {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"},
        )


def main(parent: int, scratch: Path) -> None:
    """Decode the series of the request in `scratch`; the body of the limited process."""
    request = json.loads((scratch / REQUEST).read_text(encoding="utf-8"))
    allowed = Limits(**request["limits"])
    limits.die_with_parent(parent)
    limits.allow_no_core()
    limits.allow_memory(allowed.memory_mib)
    profile = None if request["profile"] is None else Profile(**request["profile"])
    for number, series in enumerate(request["series"]):
        limits.allow_processor(allowed.cpu_seconds)
        files = [ReceivedFile(**file) for file in series["files"]]
        folder = scratch / str(number)
        folder.mkdir()
        reply = _read(str(series["uid"]), files, profile, allowed, folder)
        # The name comes last: a reply is whole or not there.
        (folder / "partial.json").write_text(json.dumps(reply), encoding="utf-8")
        (folder / "partial.json").rename(folder / REPLY)


def _left_out(reason: str) -> dict[str, list[Any]]:
    return {"volumes": [], "left_out": [reason]}


def _read(
    uid: str,
    files: Sequence[ReceivedFile],
    profile: Profile | None,
    allowed: Limits,
    scratch: Path,
) -> dict[str, list[Any]]:
    import numpy as np

    from gatekeeper.work.series import candidates, read_series
    from gatekeeper.work.upright import upright

    series = read_series(uid, files, scratch)
    if series.problem is not None:
        return _left_out(f"a series that cannot be read: {series.problem}")
    if series.skipped is not None:
        return _left_out(f"a series that is {series.skipped}")
    reply: dict[str, list[Any]] = {"volumes": [], "left_out": []}
    try:
        wanted = [one for one in series.protocols if _fits(profile, one)]
        if not wanted:
            return _left_out(f"a series of another profile: {series.protocols[0]}")
        for number, candidate in enumerate(candidates(series)):
            if not _fits(profile, candidate.protocol):
                reply["left_out"].append(f"a volume of another profile: {candidate.protocol}")
                continue
            received = candidate.decode(allowed.maximum_voxels)
            volume = upright(received, allowed.maximum_voxels).volume
            name = f"{number:03d}.npy"
            np.save(scratch / name, volume.array, allow_pickle=False)
            reply["volumes"].append(
                {
                    "file": name,
                    "affine": volume.affine.tolist(),
                    "modality": volume.modality,
                    "body_part": volume.body_part,
                    "sequence": volume.sequence,
                    "device": volume.device,
                    "protocol": volume.protocol,
                }
            )
    except UnreadableSeries as error:
        reply["left_out"].append(f"a series that cannot be read: {error}")
    return reply


def _fits(profile: Profile | None, acquired: Protocol) -> bool:
    return profile is None or profile.matches(
        acquired.modality, acquired.body_part, acquired.sequence
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
