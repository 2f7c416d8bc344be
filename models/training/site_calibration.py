"""Site calibration: what normal scans of one scanner and protocol score in a bundle as it is.

Split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World,
2005): the scans are normal, none of them was used to fit the bundle, and each subject gives one
score, the largest of its scans. A scan of the same scanner and protocol then gets its p-value from
them. The bundle's weights stay as they are; the calibrations go into a new version of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models import activation, synthetic_share, transfer
from models.assessor import Assessor
from models.detector import load
from models.errors import ModelError, NotAssessable
from models.finding import Finding
from models.registry import SHIPPED_BUNDLES, BundleInfo, read_bundle
from models.scan import Scan
from models.training import bundle
from models.training.calibrate import REGIONS_IN_AT_MOST

FEWEST_SUBJECTS = 19
"""With so many no p-value is under 0.05, the usual rate of false holds."""
LOWEST_THRESHOLD, HIGHEST_THRESHOLD, THRESHOLD_STEP = 1.0, 8.0, 0.1

Progress = Callable[[str], None]
"""Called with the name of each scan that is done."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The scanner and protocol that a calibration is for; see `models.volume.Volume`."""

    device: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.device or '(scanner not stated)'}, {self.protocol or '(no protocol)'}"


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One scan as the bundle judged it.

    Attributes:
        subject: whose it is.
        origin: the scanner and protocol.
        scores: raw score of each level.
        threshold: the lowest at which the map shows no region.
    """

    subject: str
    origin: Origin
    scores: Mapping[str, float]
    threshold: float


@dataclass(frozen=True, slots=True)
class Group:
    """The calibration of one scanner and protocol.

    Attributes:
        origin: scanner and protocol.
        subjects: sorted.
        scores: level -> one score a subject, in their order.
        map_threshold: at which about one in ten of the subjects shows a region.
    """

    origin: Origin
    subjects: tuple[str, ...]
    scores: Mapping[str, tuple[float, ...]]
    map_threshold: float

    @property
    def smallest_p_value(self) -> float:
        """The smallest p-value that so many subjects allow."""
        return 1 / (len(self.subjects) + 1)

    def in_words(self) -> str:
        """Return what the group is good for, in one sentence."""
        return (
            f"{self.origin}: {len(self.subjects)} subjects, so no p-value is under "
            f"{self.smallest_p_value:.3g}: at a false-hold rate below that, nothing is ever held."
        )


@dataclass(frozen=True, slots=True)
class SiteCalibration:
    """What came of it.

    Attributes:
        info: the bundle with the new calibrations.
        groups: those made.
        too_small: subjects of the scanners and protocols that had too few.
        left_out: why scans were left out, with how many.
    """

    info: BundleInfo
    groups: tuple[Group, ...]
    too_small: Mapping[Origin, int]
    left_out: Mapping[str, int]


def calibrate(
    info: BundleInfo,
    scans: Iterable[Scan],
    out: Path,
    *,
    fewest: int = FEWEST_SUBJECTS,
    given: Origin | None = None,
    same_set: bool = True,
    source: str = "",
    device: str = "cpu",
    progress: Progress | None = None,
) -> SiteCalibration:
    """Calibrate a bundle on normal scans and write it as a new version.

    Args:
        info: the bundle; its folder is not changed.
        scans: read once, one at a time.
        out: folder of bundles that receives the new version, under the bundle's name. One that is
            there already is kept aside.
        fewest: subjects of one scanner and protocol.
        given: scanner and protocol: scans that state another are left out, and those that do not
            state theirs count as these.
        same_set: whether a subject whose name is among those the bundle was made from is that
            subject; False where equal names are a coincidence.
        source: what the scans are, in words.
        device: torch device.
        progress: told each finished scan.

    Raises:
        ModelError: if a scan is synthetic, no scanner and protocol has enough subjects, or the
            version cannot be written.
    """
    if out.resolve() == SHIPPED_BUNDLES.resolve():
        raise ModelError("a shipped bundle is not changed: choose another folder")
    if not out.is_dir():
        raise ModelError(f"{out}: no such folder")
    assessor = load(info, device)
    left_out: Counter[str] = Counter()
    known = fitted_subjects(info) if same_set else frozenset[str]()
    scored: list[Scored] = []
    for scan in scans:
        scan.refuse_synthetic("calibration")
        reason = _reason_against(scan, known, given)
        if not reason:
            try:
                scored.append(_scored(assessor, scan, given))
            except NotAssessable as error:
                reason = f"refused: {error.reason}"
        if reason:
            left_out[reason] += 1
        if progress is not None:
            progress(scan.name)
    made, too_small = groups(scored, fewest)
    if not made:
        raise ModelError(_why_none(too_small, left_out, fewest))
    return SiteCalibration(_write(info, made, source, out), made, too_small, dict(left_out))


def fitted_subjects(info: BundleInfo) -> frozenset[str]:
    """Return the names of the subjects that a bundle was made from, as far as its manifest says."""
    stated: list[Any] = [info.manifest.get(part, {}) for part in ("calibration", "data", "recipe")]
    names: set[str] = set()
    for part in stated:
        found = part.get("subjects", ())
        if isinstance(found, list):
            names |= {str(name) for name in cast("list[Any]", found)}
    return frozenset(names)


def groups(scored: Sequence[Scored], fewest: int) -> tuple[tuple[Group, ...], dict[Origin, int]]:
    """Return a calibration for each scanner and protocol with enough subjects, and the others."""
    by_origin: dict[Origin, dict[str, list[Scored]]] = {}
    for one in scored:
        by_origin.setdefault(one.origin, {}).setdefault(one.subject, []).append(one)
    made: list[Group] = []
    too_small: dict[Origin, int] = {}
    for origin in sorted(by_origin, key=str):
        own = by_origin[origin]
        if len(own) < fewest:
            too_small[origin] = len(own)
        else:
            made.append(_group(origin, own))
    return tuple(made), too_small


def _group(origin: Origin, own: Mapping[str, Sequence[Scored]]) -> Group:
    names = sorted(own)
    levels = own[names[0]][0].scores
    scores = {
        level: tuple(round(max(scan.scores[level] for scan in own[name]), 6) for name in names)
        for level in levels
    }
    highest = sorted(max(scan.threshold for scan in own[name]) for name in names)
    with_region = max(1, round(REGIONS_IN_AT_MOST * len(names)))
    return Group(
        origin, tuple(names), scores, round(highest[max(0, len(highest) - 1 - with_region)], 2)
    )


def _reason_against(scan: Scan, known: frozenset[str], given: Origin | None) -> str:
    """Return why a scan is not for calibration; empty where it is."""
    if scan.subject in known:
        return "the bundle was made from this subject"
    if scan.label not in {"", "normal"} or bool(scan.lesion.any()):
        return "not stated to be normal"
    origin = _origin(scan, given)
    if not origin.device or not origin.protocol:
        return "scanner or protocol not stated: give them"
    if given is not None and origin != given:
        return "of another scanner or protocol"
    return ""


def _origin(scan: Scan, given: Origin | None) -> Origin:
    volume = scan.volume
    return Origin(
        volume.device or (given.device if given else ""),
        volume.protocol or (given.protocol if given else ""),
    )


def _scored(assessor: Assessor, scan: Scan, given: Origin | None) -> Scored:
    finding = assessor.detect(scan.volume)
    scores = {level.name: level.score for level in finding.levels}
    if not all(np.isfinite(value) for value in scores.values()):
        raise ModelError(f"scan {scan.name} has a score that is not a number")
    smallest = assessor.members[0].grid.smallest_region_ml * 1000 / scan.volume.voxel_mm3
    return Scored(scan.subject, _origin(scan, given), scores, lowest_threshold(finding, smallest))


def lowest_threshold(finding: Finding, smallest: float) -> float:
    """Return the lowest threshold at which the map has no region of `smallest` voxels or more.

    A region only shrinks when the threshold rises, so it is found by halving.
    """
    low, high = 0, round((HIGHEST_THRESHOLD - LOWEST_THRESHOLD) / THRESHOLD_STEP)
    while low < high:
        middle = (low + high) // 2
        if _largest(finding.map > LOWEST_THRESHOLD + THRESHOLD_STEP * middle) >= smallest:
            low = middle + 1
        else:
            high = middle
    return LOWEST_THRESHOLD + THRESHOLD_STEP * low


def _largest(above: NDArray[np.bool_]) -> int:
    """Return the voxels of the largest component; neighbours share a face."""
    if not above.any():
        return 0
    labels, _ = cast("tuple[NDArray[np.int32], int]", ndimage.label(above))
    return int(np.bincount(labels.ravel())[1:].max())


def _why_none(too_small: Mapping[Origin, int], left_out: Mapping[str, int], fewest: int) -> str:
    parts = [
        f"{origin}: {count} subjects, fewer than {fewest}" for origin, count in too_small.items()
    ]
    parts += [f"{count} scans left out ({reason})" for reason, count in left_out.items()]
    return "nothing to calibrate on: " + ("; ".join(parts) or "no scan was found")


def _write(info: BundleInfo, made: Sequence[Group], source: str, out: Path) -> BundleInfo:
    entries = [
        *(
            entry
            for entry in cast("list[dict[str, Any]]", info.manifest["site_calibrations"])
            if Origin(entry["device"], entry["protocol"]) not in {one.origin for one in made}
        ),
        *(_entry(one, info, source) for one in made),
    ]
    # A copy through JSON: what is written is what would have been read.
    manifest = cast("dict[str, Any]", json.loads(json.dumps(dict(info.manifest))))
    manifest |= {
        "version": bumped(info.version),
        "site_calibrations": entries,
        "made_from": {"version": info.version, "digest": info.digest},
    }
    with activation.locked(out), transfer.staging(out) as staged:
        for file in info.manifest["weights"]:
            shutil.copyfile(info.path / file, staged / file)
        bundle.write_manifest(staged, manifest)
        staged_info = read_bundle(staged)
        load(staged_info)
        return transfer.install(staged, out, staged_info)


def _entry(one: Group, info: BundleInfo, source: str) -> dict[str, Any]:
    words = f"{len(one.subjects)} normal subjects of {one.origin}"
    words += synthetic_share.told(info.manifest)
    return {
        "device": one.origin.device,
        "protocol": one.origin.protocol,
        "subjects": [hashed(info.name, subject) for subject in one.subjects],
        "n": len(one.subjects),
        "scores": {level: list(values) for level, values in one.scores.items()},
        "description": f"{words}: {source}" if source else words,
        "map_threshold": one.map_threshold,
        "method": "split conformal: subjects the bundle was not fitted on; one score a subject, "
        "the largest of its scans",
    }


def hashed(bundle_name: str, subject: str) -> str:
    """Return a subject as a bundle names it: not by its name."""
    return hashlib.sha256(f"{bundle_name}\0{subject}".encode()).hexdigest()[:16]


def bumped(version: str) -> str:
    """Return the next version: ``2.0.0`` gives ``2.0.1``."""
    found = re.fullmatch(r"(.*?)(\d+)", version)
    return f"{found[1]}{int(found[2]) + 1}" if found else f"{version}.1"
