"""A cohort's scores: thresholds, severity, discordance, and what the scan explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.errors import ModelError
from models.evaluation.association import Correlation, spearman
from models.evaluation.intervals import Figure, fraction
from models.multimodal.crossfit import (
    CrossFit,
    Cut,
    conformal_cut,
    cross_fit,
    p_values,
    percentile_cut,
)
from models.multimodal.model import Cohort
from models.multimodal.network import Config
from models.training.loop import Run


@dataclass(frozen=True, slots=True)
class Association:
    """A severity marker beside the score.

    Attributes:
        marker: its name.
        in_sample: of the in-sample score.
        held_out: of the cross-fitted score.
        without: of the cross-fitted score with the marker itself hidden; None where the marker is
            no input. A score that has seen the marker follows it in part by construction.
    """

    marker: str
    in_sample: Correlation
    held_out: Correlation
    without: Correlation | None


@dataclass(frozen=True, slots=True, eq=False)
class Discordance:
    """Where image and function disagree, from cross-fitted scores.

    Attributes:
        image: (patients,): percentile of the scan's own deviation in the cohort, 0 to 1.
        function: (patients,): percentile of impairment, the mean standardised value of the
            variables with a direction of disease; NaN where none was measured.
    """

    image: NDArray[np.float64]
    function: NDArray[np.float64]

    @property
    def gap(self) -> NDArray[np.float64]:
        """Image less function: near 1, a marked deviation of the scan with preserved function."""
        return self.image - self.function


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All that a report says of a cohort.

    Attributes:
        cohort: what was judged.
        fitted: scores and contributions.
        cuts: threshold by name: in-sample and cross-fitted percentile, conformal.
        above_in_sample_cut: part of the cohort whose cross-fitted score lies above the in-sample
            percentile: what the published threshold would call atypical of new patients.
        associations: with severity.
        floor_agreement: rank correlation of cross-fitted score and floor.
        discordance: None for a cohort without scans.
        explained: variable -> part of its variance that the scan alone explains, held out; under
            0 where the cohort's mean is the better guess. Empty for a cohort without scans.
        p_values: (patients,), conformal, of cross-fitted scores.
    """

    cohort: Cohort
    fitted: CrossFit
    cuts: Mapping[str, Cut]
    above_in_sample_cut: Figure
    associations: tuple[Association, ...]
    floor_agreement: Correlation
    discordance: Discordance | None
    explained: Mapping[str, float]
    p_values: NDArray[np.float64]


def evaluate(
    cohort: Cohort, markers: Mapping[str, NDArray[np.float64]], config: Config, run: Run
) -> Evaluation:
    """Fit, cross-fit and describe a cohort.

    Args:
        cohort: the patients.
        markers: severity by name, (patients,), NaN where not known; a name that is also a variable
            of the cohort is judged with that variable hidden as well.
        config: settings.
        run: how.

    Raises:
        ModelError: if the cohort cannot be fitted or a marker has too few values.
    """
    fitted = cross_fit(cohort, config, run)
    in_sample = percentile_cut(fitted.in_sample, config.percentile)
    above = int((fitted.held_out >= in_sample.value).sum())
    return Evaluation(
        cohort,
        fitted,
        {
            "percentile, in-sample (published)": in_sample,
            "percentile, cross-fitted": percentile_cut(fitted.held_out, config.percentile),
            "conformal, cross-fitted": conformal_cut(fitted.held_out, 1 - config.percentile / 100),
        },
        fraction(above, len(fitted.held_out)),
        tuple(_association(name, values, fitted, run.seed) for name, values in markers.items()),
        spearman(fitted.held_out, fitted.floor, run.seed),
        _discordance(cohort, fitted),
        _explained(cohort, fitted),
        p_values(fitted.held_out),
    )


def _association(
    marker: str, values: NDArray[np.float64], fitted: CrossFit, seed: int
) -> Association:
    known = ~np.isnan(values)

    def against(scores: NDArray[np.float64]) -> Correlation:
        try:
            return spearman(scores[known], values[known], seed)
        except ValueError as error:
            raise ModelError(f"severity marker {marker}: {error}") from error

    hidden = fitted.without.get(marker)
    return Association(
        marker,
        against(fitted.in_sample),
        against(fitted.held_out),
        None if hidden is None else against(hidden),
    )


def _discordance(cohort: Cohort, fitted: CrossFit) -> Discordance | None:
    if not cohort.embeddings.shape[1]:
        return None
    table = cohort.table
    worse = np.array([variable.worse for variable in table.variables], dtype=np.float64)
    if not worse.any():
        return None
    standard = (table.values - np.nanmean(table.values, 0)) / np.nanstd(table.values, 0)
    signed = np.where(worse != 0, standard * worse, np.nan)  # (patients, variables)
    known = ~np.isnan(signed)
    count = known.sum(1)
    impairment = np.where(known, signed, 0.0).sum(1) / np.maximum(count, 1)
    return Discordance(
        _percentiles(np.where(np.isnan(cohort.embeddings).any(1), np.nan, fitted.image_alone)),
        _percentiles(np.where(count > 0, impairment, np.nan)),
    )


def _percentiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return midrank percentiles, 0 to 1, of what is not NaN."""
    found = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    if known.any():
        found[known] = (stats.rankdata(values[known]) - 0.5) / known.sum()
    return found


def _explained(cohort: Cohort, fitted: CrossFit) -> dict[str, float]:
    if not cohort.embeddings.shape[1]:
        return {}
    found: dict[str, float] = {}
    for index, variable in enumerate(cohort.table.variables):
        values = cohort.table.values[:, index]
        known = ~np.isnan(values)
        residual = ((values - fitted.expected[:, index])[known] ** 2).sum()
        total = ((values[known] - values[known].mean()) ** 2).sum()
        found[variable.name] = float(1 - residual / total)
    return found
