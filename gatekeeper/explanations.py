"""Explanations: what an outcome says beside its verdict, of lesions and of image with function.

They are read from the evidence that a worker keeps (`gatekeeper.work.summary`), for CLI, pages and
programs. They explain and never decide. A fact that outcomes did not keep at first is None there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatekeeper.clinical.quantities import QUANTITIES
from storage.records import Outcome

_MEANINGS = {"image": "the scan itself"}


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion with its probability; slices are counted from 1 in the order of the scan.

    Attributes:
        number: of the lesion in its series, from 1.
        origin: who says that it is there: ``detector``, ``segmentation`` or ``structure_set``.
        within: number of the region, segment or structure in its origin.
        probability: that it is malignant, at the prevalence of its calibration.
        interval: its 95 % interval, of the calibration patients alone.
        inside_calibration: whether calibration patients have scores like it.
        slice: that of its largest area.
        slices: its first and its last.
        images: numbers of those two as viewers show them; None where the images have none.
        size_mm: through the slices, down the rows, along the columns.
        volume_mm3: its volume.
        centre_lps_mm: its centre in patient coordinates.
    """

    number: int
    origin: str
    within: int
    probability: float
    interval: tuple[float, float]
    inside_calibration: bool
    slice: int
    slices: tuple[int, int] | None
    images: tuple[int, int] | None
    size_mm: tuple[float, float, float] | None
    volume_mm3: float
    centre_lps_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class LesionScores:
    """What a lesion bundle says of one series; see `gatekeeper.lesions.finding.LesionFinding`."""

    series_instance_uid: str
    protocol: str
    series_slices: int | None
    bundle: str
    bundle_digest: str
    trial: bool
    not_tested_on: tuple[str, ...]
    prevalence: float
    benign_patients: int
    malignant_patients: int
    brier: float
    expected_calibration_error: float
    lesions: tuple[Lesion, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What the scan or one variable adds to a score.

    Attributes:
        name: of the variable; ``image`` is the scan.
        meaning: in words.
        share: what it adds to the baseline; 0 where it was not measured.
        measured: whether it was known.
        source: where its value came from: ``sr``, ``csv`` or ``api``; empty for the scan.
    """

    name: str
    meaning: str
    share: float
    measured: bool
    source: str


@dataclass(frozen=True, slots=True)
class ClinicalScore:
    """What a multimodal bundle says of one series; see `gatekeeper.clinical.finding`.

    `contributions` begin with the one that weighs most; with `baseline` they sum to the score.
    """

    series_instance_uid: str
    protocol: str
    bundle: str
    bundle_digest: str
    simulated: bool
    score: float
    baseline: float
    p_value: float
    calibration_size: int
    atypical: bool
    contributions: tuple[Contribution, ...]

    @property
    def percentile(self) -> float:
        """Return how many calibration patients have a lower score, in percent of them all."""
        as_high = round(self.p_value * (self.calibration_size + 1)) - 1
        return 100 * (1 - as_high / self.calibration_size)

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the variables that were not measured, in words."""
        return tuple(one.meaning for one in self.contributions if not one.measured)


@dataclass(frozen=True, slots=True)
class Explanations:
    """All that explains one outcome; empty where a site has no bundle for it.

    Attributes:
        lesions: of each series that has any.
        lesion_problems: what could not be scored for malignancy and why.
        clinical: of each series that was explained.
        clinical_problem: why the multimodal bundle could not be asked.
    """

    lesions: tuple[LesionScores, ...]
    lesion_problems: tuple[str, ...]
    clinical: tuple[ClinicalScore, ...]
    clinical_problem: str


def explanations(outcome: Outcome) -> Explanations:
    """Return what explains an outcome."""
    evidence = outcome.evidence
    series = evidence.get("series", ())
    return Explanations(
        tuple(_lesions(one, one["lesions"]) for one in series if one.get("lesions")),
        tuple(evidence.get("lesion_problems", ())),
        tuple(_clinical(one, one["clinical"]) for one in series if one.get("clinical")),
        evidence.get("clinical_problem", ""),
    )


def _lesions(series: Mapping[str, Any], said: Mapping[str, Any]) -> LesionScores:
    calibration = said["calibration"]
    shape = series.get("grid", {}).get("shape")
    return LesionScores(
        series_instance_uid=series["series_instance_uid"],
        protocol=series.get("protocol", ""),
        series_slices=shape[0] if shape else None,
        bundle=said["bundle"],
        bundle_digest=said["bundle_digest"],
        trial=said["trial"],
        not_tested_on=tuple(said["not_tested_on"]),
        prevalence=calibration["prevalence"],
        benign_patients=calibration["benign_patients"],
        malignant_patients=calibration["malignant_patients"],
        brier=calibration["brier"],
        expected_calibration_error=calibration["expected_calibration_error"],
        lesions=tuple(_lesion(one) for one in said["lesions"]),
        left_out=tuple(said["left_out"]),
    )


def _lesion(said: Mapping[str, Any]) -> Lesion:
    low, high = said["interval_95"]
    x, y, z = said["centre_lps_mm"]
    slices, images, size = said.get("slices"), said.get("images"), said.get("size_mm")
    return Lesion(
        number=said["number"],
        origin=said["origin"],
        within=said["within"],
        probability=said["probability"],
        interval=(low, high),
        inside_calibration=said["inside_calibration"],
        slice=said["slice"] + 1,
        slices=(slices[0] + 1, slices[1] + 1) if slices else None,
        images=(images[0], images[1]) if images else None,
        size_mm=(size[0], size[1], size[2]) if size else None,
        volume_mm3=said["volume_mm3"],
        centre_lps_mm=(x, y, z),
    )


def _clinical(series: Mapping[str, Any], said: Mapping[str, Any]) -> ClinicalScore:
    missing, sources = set(said["missing"]), said["sources"]
    return ClinicalScore(
        series_instance_uid=series["series_instance_uid"],
        protocol=series.get("protocol", ""),
        bundle=said["bundle"],
        bundle_digest=said["bundle_digest"],
        simulated=said["simulated"],
        score=said["score"],
        baseline=said["baseline"],
        p_value=said["p_value"],
        calibration_size=said["calibration_size"],
        atypical=said["atypical"],
        contributions=tuple(
            Contribution(name, _meaning(name), share, name not in missing, sources.get(name, ""))
            for name, share in sorted(said["contributions"].items(), key=lambda one: -abs(one[1]))
        ),
    )


def _meaning(name: str) -> str:
    known = QUANTITIES.get(name)
    return _MEANINGS.get(name, name) if known is None else known.meaning
