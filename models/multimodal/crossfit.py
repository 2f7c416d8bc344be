"""Cross-fitted scores: every patient judged by a model that was fitted without him.

A percentile of in-sample scores calls the same part of any cohort atypical, and a network has
learned its own training patients by heart. So both are given side by side.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.calibration import conformal_p_value
from models.errors import ModelError
from models.multimodal.model import Cohort, Contributions, Multimodal, fit
from models.multimodal.network import Config
from models.training.loop import Run


@dataclass(frozen=True, slots=True, eq=False)
class CrossFit:
    """A cohort judged twice.

    Attributes:
        model: fitted on everybody.
        in_sample: (patients,): its scores.
        held_out: (patients,): scores by models fitted without the patient's fold.
        contributions: of the held-out scores.
        image_alone: (patients,): held-out score with every clinical variable hidden.
        expected: (patients, variables): each variable as the scan alone lets expect it, held out.
        without: variable -> (patients,): held-out score with that variable hidden.
        floor: (patients,): held-out distance without a network; see `Multimodal.floor`.
    """

    model: Multimodal
    in_sample: NDArray[np.float64]
    held_out: NDArray[np.float64]
    contributions: Contributions
    image_alone: NDArray[np.float64]
    expected: NDArray[np.float64]
    without: Mapping[str, NDArray[np.float64]]
    floor: NDArray[np.float64]


def cross_fit(cohort: Cohort, config: Config, run: Run) -> CrossFit:
    """Return a cohort's scores, in-sample and cross-fitted.

    Patients are put into folds by a digest of their names: a fold does not depend on their order.

    Raises:
        ModelError: if there are fewer patients than folds, or a fold cannot be fitted.
    """
    model = fit(cohort, config, run)
    count = len(cohort.table.patients)
    fold = folds(cohort.table.patients, config.folds)
    held_out, image_alone, floor = np.empty(count), np.empty(count), np.empty(count)
    without = {name: np.empty(count) for name in model.players[1:]}
    expected = np.empty_like(cohort.table.values)
    shares = np.empty((count, len(model.players)))
    baselines: list[float] = []
    clinical = model.players[1:]
    for number in range(config.folds):
        own, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        partial, left_out = fit(cohort.rows(others), config, run), cohort.rows(own)
        held_out[own] = partial.scores(left_out)
        image_alone[own] = partial.scores(left_out, hidden=clinical)
        expected[own] = partial.expected(left_out)
        floor[own] = partial.floor(left_out)
        for name in clinical:
            without[name][own] = partial.scores(left_out, hidden=(name,))
        found = partial.contributions(left_out)
        shares[own] = found.values
        baselines.append(found.baseline)
        run.progress("folds", number + 1, config.folds)
    return CrossFit(
        model,
        model.scores(cohort),
        held_out,
        Contributions(model.players, float(np.mean(baselines)), shares),
        image_alone,
        expected,
        without,
        floor,
    )


def folds(patients: tuple[str, ...], count: int) -> NDArray[np.intp]:
    """Return each patient's fold, (patients,): of equal size, drawn by a digest of the names.

    Raises:
        ModelError: if there are fewer than two folds, or fewer patients than folds.
    """
    if not 2 <= count <= len(patients):
        raise ModelError("there must be at least two folds, and a patient in each")
    digests = [hashlib.sha256(f"multimodal:{name}".encode()).hexdigest() for name in patients]
    order = sorted(range(len(patients)), key=digests.__getitem__)
    fold = np.empty(len(patients), dtype=np.intp)
    fold[order] = np.arange(len(patients)) % count
    return fold


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold, and whom it calls atypical.

    Attributes:
        value: scores at or above it are atypical; infinity where nobody can be.
        atypical: how many of the cohort are.
    """

    value: float
    atypical: int


def percentile_cut(scores: NDArray[np.float64], percentile: float) -> Cut:
    """Return the published threshold: numpy's linear percentile of the cohort's own scores."""
    value = float(np.percentile(scores, percentile))
    return Cut(value, int((scores >= value).sum()))


def conformal_cut(scores: NDArray[np.float64], rate: float) -> Cut:
    """Return the smallest score whose conformal p-value is at most `rate`.

    A new patient, exchangeable with the cohort, is called atypical with a chance of at most
    `rate` (Vovk 2005). Infinite where the cohort is too small for that: n under 1 / rate - 1.

    Args:
        scores: (n,), cross-fitted.
        rate: stated part of usual patients called atypical.
    """
    # p = (1 + #{scores >= s}) / (n + 1) <= rate: at most so many of the cohort lie at or above.
    allowed = math.floor(rate * (len(scores) + 1) + 1e-9) - 1
    if allowed < 0:
        return Cut(math.inf, 0)
    ordered = np.sort(scores)[::-1]
    value = float(np.nextafter(ordered[allowed], np.inf))  # just above the next
    return Cut(value, int((scores >= value).sum()))


def p_values(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each patient's conformal p-value among the others of the cohort, (patients,)."""
    return np.array(
        [
            conformal_p_value(float(score), np.delete(scores, index).tolist())
            for index, score in enumerate(scores)
        ]
    )
