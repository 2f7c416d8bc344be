"""Quality gate: does a bundle notice simulated acquisition faults, patient by patient?

    python -m models.evaluation.quality_gate mr-brain-t1 ../shared/data

Faults are put on the first scan of each development subject. The clean side are the bundle's own
leave-one-subject-out scores and the clean development subjects. Beside it stands the intensity
floor: the largest z-score of four statistics of the brain's intensities, calibrated the same way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from models import artefacts
from models.artefacts import Kind, Strength
from models.calibration import conformal_p_value
from models.detector import load
from models.errors import NotAssessable
from models.evaluation.intervals import auroc, proportion
from models.features.detector import FeaturesDetector
from models.finding import Finding
from models.registry import Registry
from models.training.bundle import attach_metrics
from models.training.recipes import RECIPES
from models.training.sources import Scan
from models.volume import Volume

ALERT = 0.05
"""A scan is flagged when its p-value is at most this."""


class IntensityFloor:
    """The least that a detector must beat: statistics of the brain's intensities.

    Mean and deviation over the 99th percentile, skewness, excess kurtosis; the score is the largest
    absolute z against the reference scans.
    """

    def __init__(self, detector: FeaturesDetector, reference: Sequence[tuple[str, Volume]]) -> None:
        self._detector = detector
        rows = {subject: self.statistics(volume) for subject, volume in reference}
        self.calibration = [
            _largest_z(rows[left], np.stack([row for name, row in rows.items() if name != left]))
            for left in rows
        ]
        self._rows = np.stack(list(rows.values()))

    def statistics(self, volume: Volume) -> NDArray[np.float64]:
        """Return the four statistics of a scan's brain."""
        sampled = self._detector.sampled(volume)
        values = sampled.images[sampled.brain].astype(np.float64)
        values /= np.quantile(values, 0.99)
        return np.array(
            [values.mean(), values.std(), stats.skew(values), stats.kurtosis(values)],
            dtype=np.float64,
        )

    def score(self, volume: Volume) -> float:
        """Return the scan's largest z."""
        return _largest_z(self.statistics(volume), self._rows)


def _largest_z(row: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    z = (row - reference.mean(axis=0)) / reference.std(axis=0, ddof=1)
    return float(np.abs(z).max())


@dataclass(frozen=True, slots=True)
class Outcome:
    """One fault at one strength: score, p-value and floor score of each patient."""

    kind: Kind
    strength: Strength
    scores: tuple[float, ...]
    p_values: tuple[float, ...]
    floor: tuple[float, ...]
    refused: int


def first_scans(scans: Sequence[Scan]) -> list[Scan]:
    """Return the first scan of each subject."""
    first: dict[str, Scan] = {}
    for scan in scans:
        first.setdefault(scan.subject, scan)
    return list(first.values())


def outcomes(
    detector: FeaturesDetector, floor: IntensityFloor, scans: Sequence[Scan]
) -> list[Outcome]:
    """Return what the detector says of every fault; a refused scan counts as flagged, score inf."""
    found: list[Outcome] = []
    for kind in Kind:
        for strength in Strength:
            scores: list[float] = []
            p_values: list[float] = []
            floors: list[float] = []
            refused = 0
            for index, scan in enumerate(scans):
                faulty = artefacts.apply(scan.volume, kind, strength, seed=index)
                try:
                    finding = detector.detect(faulty)
                    scores.append(finding.score)
                    p_values.append(finding.p_value)
                    floors.append(floor.score(faulty))
                except NotAssessable:
                    refused += 1
                    scores.append(float("inf"))
                    p_values.append(0.0)
                    floors.append(float("inf"))
            found.append(
                Outcome(kind, strength, tuple(scores), tuple(p_values), tuple(floors), refused)
            )
            sys.stderr.write(f"{kind} {strength} done\n")
    return found


def _assessable(
    detector: FeaturesDetector, scans: Sequence[Scan]
) -> tuple[list[Scan], dict[str, Finding]]:
    """Return the scans that the detector accepts as they are, with its findings."""
    accepted: list[Scan] = []
    findings: dict[str, Finding] = {}
    for scan in scans:
        try:
            findings[scan.name] = detector.detect(scan.volume)
        except NotAssessable:
            continue
        accepted.append(scan)
    return accepted, findings


def measure(name: str, data: Path) -> dict[str, Any]:
    """Return the metrics of a bundle on its development split."""
    info = next(info for info in Registry().bundles() if info.name == name)
    detector = cast("FeaturesDetector", load(info, "cpu"))
    recipe = RECIPES[name]
    train, _ = _assessable(detector, first_scans(list(recipe.read(data, "train"))))
    floor = IntensityFloor(detector, [(scan.subject, scan.volume) for scan in train])
    development, clean = _assessable(detector, list(recipe.read(data, "dev")))
    first = first_scans(development)
    normal = [*detector.calibration.combined_scores, *(clean[scan.name].score for scan in first)]
    normal_floor = [*floor.calibration, *(floor.score(scan.volume) for scan in first)]
    rows: list[dict[str, Any]] = []
    for outcome in outcomes(detector, floor, first):
        flagged = [p <= ALERT for p in outcome.p_values]
        floor_flagged = [
            conformal_p_value(score, floor.calibration) <= ALERT for score in outcome.floor
        ]
        rows.append(
            {
                "fault": outcome.kind.value,
                "strength": outcome.strength.value,
                "auroc": auroc(normal, outcome.scores).as_list(),
                "sensitivity": proportion(flagged).as_list(),
                "floor_auroc": auroc(normal_floor, outcome.floor).as_list(),
                "floor_sensitivity": proportion(floor_flagged).as_list(),
                "refused": outcome.refused,
            }
        )
    return {
        "what": f"simulated faults on {len(first)} development subjects; flagged at p <= {ALERT}; "
        f"AUROC against {len(normal)} clean subjects; 95 % intervals",
        "clean_p_values": {name: round(finding.p_value, 3) for name, finding in clean.items()},
        "faults": rows,
    }


def table(metrics: dict[str, Any]) -> str:
    """Return the metrics as a Markdown table."""

    def figure(values: list[float]) -> str:
        return f"{values[0]:.2f} ({values[1]:.2f}-{values[2]:.2f})"

    lines = [
        "| fault | strength | AUROC | flagged at 5 % | floor AUROC | floor flagged |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['fault']} | {row['strength']} | {figure(row['auroc'])} "
        f"| {figure(row['sensitivity'])} | {figure(row['floor_auroc'])} "
        f"| {figure(row['floor_sensitivity'])} |"
        for row in metrics["faults"]
    ]
    return "\n".join(lines)


def main(name: str, data: Path) -> None:
    """Measure a shipped bundle, print the table and put the metrics into its manifest."""
    torch.set_num_threads(2)
    metrics = measure(name, data)
    info = next(info for info in Registry().bundles() if info.name == name)
    attach_metrics(info.path, {"quality_gate": metrics})
    sys.stdout.write(table(metrics) + "\n")
    sys.stdout.write(json.dumps(metrics["clean_p_values"]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
