"""Assess: run detectors over a set, scan by scan, and measure them all in the same voxels.

Every detector sees the same scans and is measured in the same mask, which comes from the image;
voxels that a detector leaves at 0 count. What a detector refuses is reported, and is missing from
its measures: compare two detectors on the patients both assessed (`models.evaluation.comparison`).
Only tallies of rounded scores are kept, never a volume.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.detector import Detector
from models.errors import NotAssessable
from models.evaluation import grouping
from models.evaluation.intervals import RESAMPLES, Figure, mean
from models.evaluation.masks import Mask, head
from models.evaluation.measures import (
    Confusion,
    Tally,
    confusion,
    curves,
    measured,
    merged,
    tally,
)
from models.evaluation.patients import by_category, cluster_auroc
from models.evaluation.pooling import MEASURES, pooled
from models.evaluation.record import (
    CleanResult,
    Curve,
    Evaluation,
    Histogram,
    LevelResult,
    Regions,
    ScanResult,
    SliceResult,
    VoxelResult,
)
from models.evaluation.reliability import false_hold_rates, uniformity
from models.finding import Finding
from models.scan import Scan
from models.scoring import top_mean

ALERT = 0.05
TOP = 0.01
LEAST_SLICE_PART = 0.1
_CURVE_POINTS = 200
_HISTOGRAM_BINS = 30

SliceScore = Callable[[NDArray[np.float32]], float]
"""Map values of one slice inside the mask, (pixels,) -> the slice's score."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One scan through one detector, for who wants pictures of it. Do not keep it: it is large."""

    detector: str
    scan: Scan
    mask: NDArray[np.bool_]
    finding: Finding | None
    result: ScanResult


def stated_abnormal(scan: Scan) -> bool:
    """Return whether a lesion was drawn, or the set labels the scan other than ``normal``."""
    return bool(scan.lesion.any()) or scan.label not in {"", "normal"}


def brightest(values: NDArray[np.float32]) -> float:
    """Return the mean of the largest 1 % of a slice's map, one pixel at least."""
    return top_mean(values, TOP)


def evaluate(
    detectors: Mapping[str, Detector],
    scans: Iterable[Scan],
    *,
    floors: Collection[str] = (),
    mask: Mask = head,
    mask_description: str = "inside the head, from the image",
    abnormal: Callable[[Scan], bool] = stated_abnormal,
    slice_score: SliceScore = brightest,
    alert: float = ALERT,
    seed: int = 0,
    resamples: int = RESAMPLES,
    seen: Callable[[Seen], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Evaluation]:
    """Return what each detector is worth on a set.

    Args:
        detectors: by name. Floors are detectors like the others.
        scans: read once, one at a time.
        floors: which of the names are floors.
        mask: the voxels that count, of each scan.
        mask_description: the mask in words, for the record.
        abnormal: whether a scan stands for an abnormal one.
        slice_score: a slice's score from its map inside the mask. Slices with less than a tenth of
            the scan's largest slice of the mask are left out.
        alert: a scan is held when its p-value is at most this.
        seed: of every resampling.
        resamples: of every bootstrap.
        seen: called with each scan and finding, for instance `Gallery.see`.
        progress: called with the name of each finished scan.

    Returns:
        One record a detector. The same scans and seed give the same record, but for `seconds`.

    Raises:
        ModelError: if a scan is synthetic.
        ValueError: if a detector's map has another shape than the scan, or a value in the mask is
            NaN; or a floor is no detector.
    """
    if not set(floors) <= set(detectors):
        raise ValueError("a floor must be one of the detectors")
    ledgers = {name: _Ledger() for name in detectors}
    for scan in scans:
        scan.refuse_synthetic("evaluation")
        inside = mask(scan.volume)
        is_abnormal = abnormal(scan)
        for name, detector in detectors.items():
            finding, result = _assessed(
                name, detector, scan, inside, is_abnormal, slice_score, ledgers[name]
            )
            if seen is not None:
                seen(Seen(name, scan, inside, finding, result))
        if progress is not None:
            progress(scan.name)
    conditions = {
        "mask": mask_description,
        "slice score": (slice_score.__doc__ or "stated by the caller")
        .splitlines()[0]
        .removeprefix("Return "),
        "intervals": f"95 %, {resamples} resamples of patients, seed {seed}",
    }
    return {
        name: ledger.closed(name, name in floors, alert, conditions, seed, resamples)
        for name, ledger in ledgers.items()
    }


def _assessed(
    name: str,
    detector: Detector,
    scan: Scan,
    mask: NDArray[np.bool_],
    abnormal: bool,
    slice_score: SliceScore,
    ledger: _Ledger,
) -> tuple[Finding | None, ScanResult]:
    lesion = scan.lesion & mask
    lesion_voxels = int(np.count_nonzero(lesion))
    outside = int(np.count_nonzero(scan.lesion)) - lesion_voxels
    finding, refused = None, ""
    started = perf_counter()
    try:
        finding = detector.detect(scan.volume)
    except NotAssessable as error:
        refused = error.reason or "not assessable"
    seconds = perf_counter() - started
    # A scan that is abnormal as a whole, with nothing drawn, has no voxel known to be normal.
    count_voxels = bool(mask.any()) and (lesion_voxels > 0 or not abnormal)
    counts: Tally | None = None
    at_frozen: Confusion | None = None
    if finding is not None:
        if finding.map.shape != scan.volume.array.shape:
            raise ValueError(f"{name}: the map of {scan.name} has another shape than the scan")
        if bool(np.isnan(finding.map[mask]).any()):
            raise ValueError(f"{name}: the map of {scan.name} is NaN in the mask")
        ledger.latest = finding
        if count_voxels:
            counts = tally(finding.map, scan.lesion, mask)
            at_frozen = confusion(finding.map, scan.lesion, mask, finding.map_threshold)
            ledger.add_voxels(scan.subject, counts, at_frozen)
            ledger.add_slices(scan, mask, finding.map, slice_score)
    measurable = counts is not None and lesion_voxels > 0
    result = ScanResult(
        name=scan.name,
        subject=scan.subject,
        site=scan.site,
        label=scan.label,
        abnormal=abnormal,
        score=finding.score if finding else None,
        p_value=finding.p_value if finding else None,
        levels=tuple(
            LevelResult(level.name, level.score, level.p_value)
            for level in (finding.levels if finding else ())
        ),
        refused=refused,
        seconds=seconds,
        lesion_voxels=lesion_voxels,
        lesion_voxels_outside=outside,
        prevalence=counts.prevalence if counts else None,
        voxels=measured(counts) if counts and measurable else None,
        dice=at_frozen.dice if at_frozen and measurable else None,
        flagged=at_frozen.fpr if at_frozen else None,
        regions=_regions(finding, lesion) if finding and measurable else None,
    )
    ledger.scans.append(result)
    return finding, result


def _regions(finding: Finding, lesion: NDArray[np.bool_]) -> Regions:
    labels, count = cast(
        "tuple[NDArray[np.int32], int]", ndimage.label(lesion, structure=np.ones((3, 3, 3)))
    )
    touched: set[int] = set()
    hits: list[bool] = []
    for region in finding.regions:
        box = tuple(
            slice(start, start + size)
            for start, size in zip(region.mask_offset, region.mask.shape, strict=True)
        )
        under = set(np.unique(labels[box][region.mask]).tolist()) - {0}
        hits.append(bool(under))
        touched |= under
    return Regions(len(hits), sum(hits), bool(hits and hits[0]), count, len(touched))


@dataclass(slots=True)
class _Ledger:
    """What is kept of one detector while the scans stream by."""

    scans: list[ScanResult] = field(default_factory=list[ScanResult])
    latest: Finding | None = None
    whole: Tally = field(default_factory=lambda: merged(()))
    by_patient: dict[str, Tally] = field(default_factory=dict[str, Tally])
    frozen: Confusion = field(default_factory=lambda: Confusion(0, 0, 0, 0))
    measured_scans: int = 0
    slice_scores: list[float] = field(default_factory=list[float])
    slice_lesion: list[bool] = field(default_factory=list[bool])
    slice_patient: list[str] = field(default_factory=list[str])

    def add_voxels(self, subject: str, counts: Tally, at_frozen: Confusion) -> None:
        self.whole = merged((self.whole, counts))
        coarse = counts.coarsened()
        before = self.by_patient.get(subject)
        self.by_patient[subject] = merged((before, coarse)) if before else coarse
        self.frozen = self.frozen + at_frozen
        self.measured_scans += 1

    def add_slices(
        self, scan: Scan, mask: NDArray[np.bool_], map: NDArray[np.float32], score: SliceScore
    ) -> None:
        areas = mask.sum(axis=(1, 2))
        least = max(1.0, LEAST_SLICE_PART * float(areas.max()))
        for index in np.flatnonzero(areas >= least):
            lesion = bool((scan.lesion[index] & mask[index]).any())
            if lesion or (scan.normal[index] and not scan.lesion[index].any()):
                self.slice_scores.append(score(map[index][mask[index]]))
                self.slice_lesion.append(lesion)
                self.slice_patient.append(scan.subject)

    def closed(
        self,
        name: str,
        floor: bool,
        alert: float,
        conditions: Mapping[str, str],
        seed: int,
        resamples: int,
    ) -> Evaluation:
        group = grouping.patients(self.scans)
        normal, abnormal = grouping.normal_scores(group), grouping.abnormal_scores(group)
        finding = self.latest
        size = finding.levels[0].calibration_size if finding and finding.levels else 0
        return Evaluation(
            detector=name,
            floor=floor,
            profile=finding.profile if finding else "",
            bundle_version=finding.bundle_version if finding else "",
            model_digest=finding.model_digest if finding else "",
            calibration_size=size,
            calibration=finding.calibration_description if finding else "",
            map_unit=finding.map_unit if finding else "",
            alert=alert,
            conditions=conditions,
            scans=tuple(self.scans),
            study=by_category(normal, abnormal, seed, resamples) if normal and abnormal else (),
            held_abnormal=grouping.held(group, alert, abnormal=True) if size else None,
            held_normal=grouping.held(group, alert, abnormal=False) if size else None,
            clean=_clean(group, finding) if size and normal else None,
            voxels=self._voxels(seed, resamples),
            slices=self._slices(seed, resamples),
            sites=grouping.by_site(self.scans, alert, seed, resamples),
        )

    def _voxels(self, seed: int, resamples: int) -> VoxelResult | None:
        if self.latest is None or not self.whole.regions:
            return None
        curve = curves(
            self.whole.negatives, self.whole.positives, self.whole.overlap, self.whole.regions
        )
        lesions = [counts.regions > 0 for counts in self.by_patient.values()]
        order = sorted(self.by_patient)
        return VoxelResult(
            scans=self.measured_scans,
            patients=len(lesions),
            lesion_patients=sum(lesions),
            prevalence=self.whole.prevalence,
            pooled=pooled(
                self.whole, [self.by_patient[subject] for subject in order], seed, resamples
            ),
            best_threshold=measured(self.whole).best_dice_threshold,
            patient_means=_patient_means(self.scans, seed, resamples),
            frozen_threshold=self.latest.map_threshold,
            frozen_dice=self.frozen.dice,
            frozen_fpr=self.frozen.fpr,
            roc=_thinned(curve.fpr, curve.tpr),
            precision_recall=_thinned(curve.tpr, curve.precision),
            pro=_thinned(curve.fpr, curve.pro),
        )

    def _slices(self, seed: int, resamples: int) -> SliceResult | None:
        lesion = sum(self.slice_lesion)
        if not 0 < lesion < len(self.slice_lesion):
            return None
        return SliceResult(
            normal=len(self.slice_lesion) - lesion,
            lesion=lesion,
            patients=len(set(self.slice_patient)),
            auroc=cluster_auroc(
                self.slice_scores, self.slice_lesion, self.slice_patient, seed, resamples
            ),
            scores=_histogram(self.slice_scores, self.slice_lesion),
        )


def _patient_means(scans: list[ScanResult], seed: int, resamples: int) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for measure in (*(name for name in MEASURES if name != "best_dice_threshold"), "dice"):
        values = grouping.per_patient(scans, lambda scan, measure=measure: _value(scan, measure))
        if values:
            found[measure] = mean([values[name] for name in sorted(values)], seed, resamples)
    return found


def _value(scan: ScanResult, measure: str) -> float | None:
    if measure == "dice":
        return scan.dice
    return cast("float", getattr(scan.voxels, measure)) if scan.voxels else None


def _clean(group: tuple[grouping.Patient, ...], finding: Finding | None) -> CleanResult:
    values = [patient.p_value for patient in group if not patient.category]
    # Over several levels the p-value moves in steps of levels / (n + 1), so its own n is unknown.
    levels = finding.levels if finding else ()
    size = levels[0].calibration_size if len(levels) == 1 else 0
    return CleanResult(
        len(values), tuple(values), false_hold_rates(values, size), uniformity(values, size)
    )


def _histogram(values: list[float], abnormal: list[bool]) -> Histogram:
    array, truth = np.asarray(values), np.asarray(abnormal)
    low, high = (float(value) for value in np.quantile(array, (0.002, 0.998)))
    edges = np.linspace(low, max(high, low + 1e-9), _HISTOGRAM_BINS + 1)
    clipped = np.clip(array, edges[0], edges[-1])
    return Histogram(
        tuple(edges.tolist()),
        tuple(np.histogram(clipped[~truth], edges)[0].tolist()),
        tuple(np.histogram(clipped[truth], edges)[0].tolist()),
    )


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Return points about evenly apart along the curve."""
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.linspace(0.0, float(length[-1]), _CURVE_POINTS)
    index = np.unique(np.minimum(np.searchsorted(length, wanted), len(x) - 1))
    return Curve(tuple(x[index].tolist()), tuple(y[index].tolist()))
