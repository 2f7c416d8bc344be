"""Grouping: from scans to patients, so that a patient counts once, however many scans there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.evaluation.intervals import Figure, fraction, mean
from models.evaluation.patients import delong_auroc
from models.evaluation.record import ScanResult, SiteResult

UNNAMED = "lesion"
"""Category of an abnormal scan whose set states no label."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient's assessed scans of one category, taken together.

    Attributes:
        subject: the patient.
        category: empty for normal.
        score: the largest of the scans.
        p_value: the smallest of the scans.
    """

    subject: str
    category: str
    score: float
    p_value: float


def patients(scans: Sequence[ScanResult]) -> tuple[Patient, ...]:
    """Return the assessed patients, by category and subject.

    A subject with normal and abnormal scans (a simulated fault on a clean scan) is one patient in
    each category.
    """
    found: dict[tuple[str, str], Patient] = {}
    for scan in scans:
        if scan.score is None or scan.p_value is None:
            continue
        category = (scan.label or UNNAMED) if scan.abnormal else ""
        before = found.get((category, scan.subject))
        found[category, scan.subject] = Patient(
            scan.subject,
            category,
            max(scan.score, before.score) if before else scan.score,
            min(scan.p_value, before.p_value) if before else scan.p_value,
        )
    return tuple(found[key] for key in sorted(found))


def normal_scores(group: Sequence[Patient]) -> list[float]:
    """Return the scores of the normal patients."""
    return [patient.score for patient in group if not patient.category]


def abnormal_scores(group: Sequence[Patient]) -> dict[str, list[float]]:
    """Return the scores of the abnormal patients by category."""
    found: dict[str, list[float]] = {}
    for patient in group:
        if patient.category:
            found.setdefault(patient.category, []).append(patient.score)
    return found


def held(group: Sequence[Patient], alert: float, abnormal: bool) -> Figure | None:
    """Return the part of the normal or abnormal patients with p <= alert; None without any."""
    own = [patient for patient in group if bool(patient.category) == abnormal]
    if not own:
        return None
    return fraction(sum(patient.p_value <= alert + 1e-12 for patient in own), len(own))


def per_patient(
    scans: Sequence[ScanResult], value: Callable[[ScanResult], float | None]
) -> dict[str, float]:
    """Return the mean of `value` over each patient's scans that have it."""
    found: dict[str, list[float]] = {}
    for scan in scans:
        if (one := value(scan)) is not None and one == one:  # noqa: PLR0124 - NaN is not itself
            found.setdefault(scan.subject, []).append(one)
    return {subject: sum(values) / len(values) for subject, values in found.items()}


def by_site(
    scans: Sequence[ScanResult], alert: float, seed: int, resamples: int
) -> tuple[SiteResult, ...]:
    """Return each site's figures, by name."""
    found: list[SiteResult] = []
    for site in sorted({scan.site for scan in scans}):
        own = [scan for scan in scans if scan.site == site]
        group = patients(own)
        normal = normal_scores(group)
        abnormal = [score for values in abnormal_scores(group).values() for score in values]
        precision = per_patient(own, lambda scan: scan.voxels.ap if scan.voxels else None)
        dice = per_patient(own, lambda scan: scan.dice)
        found.append(
            SiteResult(
                site=site,
                normal=len(normal),
                abnormal=len({patient.subject for patient in group if patient.category}),
                refused=sum(bool(scan.refused) for scan in own),
                auroc=delong_auroc(normal, abnormal) if normal and abnormal else None,
                held_normal=held(group, alert, abnormal=False),
                held_abnormal=held(group, alert, abnormal=True),
                voxel_patients=len(precision),
                voxel_ap=_mean(precision, seed, resamples),
                voxel_dice=_mean(dice, seed, resamples),
            )
        )
    return tuple(found)


def _mean(values: dict[str, float], seed: int, resamples: int) -> Figure | None:
    return mean([values[name] for name in sorted(values)], seed, resamples) if values else None
