"""Trials on simulated cohorts, several seeds: `python -m models.multimodal.trials [SEEDS]`.

What does not depend on the luck of one draw: how optimistic in-sample scores are, what the network
adds to a plain distance, and whether a score depends on how much of a patient is not known. All of
it is about simulated patients.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.evaluation.association import spearman
from models.multimodal.crossfit import cross_fit, percentile_cut
from models.multimodal.model import Cohort
from models.multimodal.network import Config
from models.multimodal.simulate import NOTICE, simulated
from models.training.loop import Run

MISSING = 0.5
"""Part of three variables taken away at random, where missing values are the question."""


def trial(seed: int, config: Config) -> dict[str, float]:
    """Return one seed's figures, by what they are."""
    run = Run(seed=seed)
    made = simulated(seed)
    found = cross_fit(made.cohort, config, run)
    cut = percentile_cut(found.in_sample, config.percentile).value
    lacking = simulated(seed, MISSING).cohort
    unknown = np.isnan(lacking.table.values).sum(1).astype(np.float64)
    modelled, imputed = (cross_fit(one, config, run) for one in (lacking, _imputed(lacking)))

    def rho(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        return spearman(first, second, seed).rho.value

    return {
        "part above the in-sample threshold": float((found.held_out >= cut).mean()),
        "rho with the simulated scores": rho(found.held_out, made.scores),
        "same, floor": rho(found.floor, made.scores),
        "same, scan alone": rho(found.image_alone, made.scores),
        "rho with the floor": rho(found.held_out, found.floor),
        "rho with missing values, modelled": rho(modelled.held_out, unknown),
        "rho with missing values, mean-imputed": rho(imputed.held_out, unknown),
    }


def _imputed(cohort: Cohort) -> Cohort:
    """Return the cohort with the mean where a value is missing, marked as measured."""
    values = cohort.table.values
    filled = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    return Cohort(replace(cohort.table, values=filled), cohort.embeddings)


def main() -> None:
    """Print median and range over the seeds."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    rows = [trial(seed, Config()) for seed in range(seeds)]
    lines = [f"{NOTICE} {seeds} seeds: median (range)."]
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        lines.append(f"{name}: {np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
