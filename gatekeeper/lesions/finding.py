"""How likely each lesion of a series is malignant; it explains and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from models.finding import Region


class Origin(StrEnum):
    """Who says that there is a lesion; the value is what a sentence calls it."""

    DETECTOR = "the anomaly map"
    SEGMENTATION = "a segmentation"
    STRUCTURE_SET = "a structure set"


@dataclass(frozen=True, slots=True, eq=False)
class ScoredLesion:
    """One lesion with its probability.

    Attributes:
        number: of the lesion in its series, counted from 1.
        origin: who says that it is there.
        within: number of the region, segment or structure in its origin.
        reference: SOP Instance UID of the object that it came in; empty for our own regions.
        region: where it lies in the scan; `peak` and `mean` are Hounsfield units.
        probability: that it is malignant, at the calibration's prevalence.
        low, high: 95 % interval, of the calibration patients alone.
        inside: whether its raw score lies within those of the calibration patients.
        patches: slices of it that were looked at.
    """

    number: int
    origin: Origin
    within: int
    reference: str
    region: Region
    probability: float
    low: float
    high: float
    inside: bool
    patches: int


@dataclass(frozen=True, slots=True, eq=False)
class LesionFinding:
    """A lesion bundle's answer on one series.

    Attributes:
        bundle: its name.
        bundle_digest: SHA-256 of its manifest.
        trial: whether its manifest does not say that it is past its trial.
        limits: what its manifest says that it was not tested on.
        prevalence: the part of malignant patients for which the probabilities hold.
        patients: benign and malignant ones behind the calibration, by Platt's scaling.
        brier, expected_error: Brier score and expected calibration error of those patients, each
            left out of its own scaling.
        lesions: those scored.
        left_out: an English sentence for each kind of region that was not, and why.
    """

    bundle: str
    bundle_digest: str
    trial: bool
    limits: tuple[str, ...]
    prevalence: float
    patients: tuple[int, int]
    brier: float
    expected_error: float
    lesions: tuple[ScoredLesion, ...]
    left_out: tuple[str, ...] = ()


def not_scored(what: str, why: str) -> str:
    """Return the sentence on something that was not scored; catalogues know its parts."""
    return f"Not scored for malignancy: {what}, {why}."
