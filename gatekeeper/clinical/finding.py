"""What image and function together say of one series; it explains a verdict and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClinicalFinding:
    """A multimodal bundle's answer on one series.

    Attributes:
        bundle: its name.
        bundle_digest: SHA-256 of its manifest.
        simulated: whether it was fitted to patients that were made up.
        score: larger is less like the bundle's cohort.
        p_value: conformal, against the cohort's cross-fitted scores.
        calibration_size: patients behind it.
        atypical: whether the p-value is at most the bundle's stated rate.
        baseline: the score of a patient of whom nothing is known.
        contributions: the scan and each variable, what it adds to the baseline; 0 where it was not
            measured.
        values: of the variables used, in the bundle's units.
        sources: of each, where the value came from: ``sr``, ``csv`` or ``api``.
        missing: variables that were not measured.
    """

    bundle: str
    bundle_digest: str
    simulated: bool
    score: float
    p_value: float
    calibration_size: int
    atypical: bool
    baseline: float
    contributions: Mapping[str, float]
    values: Mapping[str, float]
    sources: Mapping[str, str]
    missing: tuple[str, ...]

    @property
    def largest(self) -> tuple[str, ...]:
        """Return what adds to the score, the largest first, three at most."""
        adding = [name for name, share in self.contributions.items() if share > 0]
        return tuple(sorted(adding, key=lambda name: -self.contributions[name])[:3])
