"""Evaluation: everything measured of one detector on one set, as a record that goes into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, cast

from models.evaluation.intervals import Figure
from models.evaluation.measures import VoxelMeasures
from models.evaluation.patients import CategoryFigures
from models.evaluation.pooling import VoxelFigures
from models.evaluation.reliability import FalseHold, Uniformity


@dataclass(frozen=True, slots=True)
class LevelResult:
    """One question's answer to one scan."""

    name: str
    score: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Regions:
    """The regions of one finding against the lesions drawn.

    Attributes:
        found: regions the detector reports (at most 10).
        on_lesion: those that touch a lesion.
        first_on_lesion: whether the first, of largest mass, does.
        lesions: lesions drawn, inside the evaluation mask: connected components, corners connect.
        lesions_touched: those that some region touches.
    """

    found: int
    on_lesion: int
    first_on_lesion: bool
    lesions: int
    lesions_touched: int


@dataclass(frozen=True, slots=True)
class ScanResult:
    """One scan as one detector saw it. What was not measured is None.

    Attributes:
        name: the scan.
        subject: the patient.
        site: institution or scanner.
        label: class of the scan, as the set states it.
        abnormal: whether the scan stands for an abnormal one.
        score: the study score.
        p_value: its p-value.
        levels: each question's answer.
        refused: why the detector would not judge it; empty where it did.
        seconds: time to the finding, or to the refusal.
        lesion_voxels: lesion voxels in the evaluation mask.
        lesion_voxels_outside: lesion voxels that the mask leaves out, unmeasured.
        prevalence: part of the mask that is lesion; AP of a score that knows nothing.
        voxels: the voxel measures, where a lesion lies in the mask.
        dice: at the detector's frozen threshold, where a lesion lies in the mask.
        flagged: part of the mask's voxels outside lesions that the frozen threshold flags.
        regions: regions against lesions, where a lesion lies in the mask.
    """

    name: str
    subject: str
    site: str
    label: str
    abnormal: bool
    score: float | None
    p_value: float | None
    levels: tuple[LevelResult, ...]
    refused: str
    seconds: float
    lesion_voxels: int
    lesion_voxels_outside: int
    prevalence: float | None = None
    voxels: VoxelMeasures | None = None
    dice: float | None = None
    flagged: float | None = None
    regions: Regions | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve of at most 200 points, for drawing; measures come from all thresholds."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class VoxelResult:
    """Voxels of all scans together, and patient by patient.

    Attributes:
        scans: scans with measured voxels.
        patients: their patients.
        lesion_patients: those with a lesion in the mask.
        prevalence: part of all voxels that is lesion.
        pooled: measures over all voxels, intervals from resampled patients.
        best_threshold: where the pooled Dice is best: chosen on the truth.
        patient_means: measures of each patient with a lesion, averaged; `dice` is at the frozen
            threshold.
        frozen_threshold: the detector's own.
        frozen_dice: pooled Dice there.
        frozen_fpr: part of the voxels outside lesions that are flagged there.
        roc: true-positive rate over false-positive rate.
        precision_recall: precision over recall.
        pro: mean per-region overlap over false-positive rate.
    """

    scans: int
    patients: int
    lesion_patients: int
    prevalence: float
    pooled: VoxelFigures
    best_threshold: float
    patient_means: Mapping[str, Figure]
    frozen_threshold: float
    frozen_dice: float
    frozen_fpr: float
    roc: Curve
    precision_recall: Curve
    pro: Curve


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts in bins of equal width; the first and the last bin also hold what is beyond."""

    edges: tuple[float, ...]
    normal: tuple[int, ...]
    abnormal: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SliceResult:
    """Slices with a lesion against slices that may stand for normal.

    Attributes:
        normal: number of normal slices.
        lesion: number of slices with a lesion in the mask.
        patients: whose they are.
        auroc: with a cluster-bootstrap interval over patients.
        scores: of both kinds of slice, in 30 bins.
    """

    normal: int
    lesion: int
    patients: int
    auroc: Figure
    scores: Histogram


@dataclass(frozen=True, slots=True)
class CleanResult:
    """p-values of clean patients: the smallest of a patient's scans."""

    patients: int
    p_values: tuple[float, ...]
    false_holds: tuple[FalseHold, ...]
    uniformity: Uniformity


@dataclass(frozen=True, slots=True)
class SiteResult:
    """One institution or scanner.

    Attributes:
        site: its name; empty where the set tells none.
        normal: normal patients assessed.
        abnormal: abnormal patients assessed.
        refused: scans refused.
        auroc: study level, DeLong; None without both kinds.
        held_normal: part of the normal patients held at the alert level; None without any.
        held_abnormal: the same of the abnormal patients.
        voxel_patients: patients with a lesion in the mask.
        voxel_ap: their mean voxel average precision.
        voxel_dice: their mean Dice at the frozen threshold.
    """

    site: str
    normal: int
    abnormal: int
    refused: int
    auroc: Figure | None
    held_normal: Figure | None
    held_abnormal: Figure | None
    voxel_patients: int
    voxel_ap: Figure | None
    voxel_dice: Figure | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One detector on one set.

    Attributes:
        detector: the name under which it was evaluated.
        floor: whether it is a floor, not a candidate.
        profile: of the findings.
        bundle_version: of the findings.
        model_digest: of the findings.
        calibration_size: number of calibration patients; 0 where not calibrated.
        calibration: which they are, in words.
        map_unit: unit of the map.
        alert: a scan is held when its p-value is at most this.
        conditions: mask, slice score, seed, resamples, in words.
        scans: every scan.
        study: study-level figures, all abnormal patients first; empty without both kinds.
        held_abnormal: part of the abnormal patients held at the alert level; None where the
            detector is not calibrated or there is none.
        held_normal: the same of the normal patients.
        clean: the false-hold check; None without normal patients or without calibration.
        voxels: None where no lesion was drawn.
        slices: None without both kinds of slice.
        sites: by name.
    """

    detector: str
    floor: bool
    profile: str
    bundle_version: str
    model_digest: str
    calibration_size: int
    calibration: str
    map_unit: str
    alert: float
    conditions: Mapping[str, str]
    scans: tuple[ScanResult, ...]
    study: tuple[CategoryFigures, ...]
    held_abnormal: Figure | None
    held_normal: Figure | None
    clean: CleanResult | None
    voxels: VoxelResult | None
    slices: SliceResult | None
    sites: tuple[SiteResult, ...]

    @property
    def refused(self) -> int:
        """Number of scans the detector would not judge."""
        return sum(bool(scan.refused) for scan in self.scans)

    def as_json(self) -> dict[str, Any]:
        """Return the record as dicts, lists, text and numbers; None for what is undefined."""
        return cast("dict[str, Any]", _plain(asdict(self)))


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {
            str(key): _plain(item) for key, item in cast("Mapping[object, object]", value).items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[object]", value)]
    return value
