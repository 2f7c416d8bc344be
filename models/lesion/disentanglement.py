"""Disentanglement: does one number of the code hold one factor, or is each spread over several?

The separated attribute predictability (SAP) of Kumar, Sattigeri and Balakrishnan (ICLR 2018): for
each factor, how much better the best number of the code predicts it than the second best, averaged
over factors; here by squared rank correlation, as the factors are continuous and their scales
arbitrary. Chosen over the mutual information gap (MIG; Chen et al., NeurIPS 2018), which needs
histograms and is biased with a few hundred patches of a few dozen patients; MIG stands beside it.

The numbers of a Dirichlet code sum to one, so none of them moves alone: that counts against it in
SAP and MIG alike, and is a property of the code, not of the measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.evaluation.intervals import Figure, percentile

_BINS = 8


@dataclass(frozen=True, slots=True)
class Disentanglement:
    """Two kinds of code on the same patches.

    Attributes:
        first, second: SAP of each, mean over networks.
        difference: second less first.
        first_mig, second_mig, mig_difference: the same by MIG.
    """

    first: Figure
    second: Figure
    difference: Figure
    first_mig: Figure
    second_mig: Figure
    mig_difference: Figure


def predictability(codes: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's rho squared of each factor with each number, (factors, latent)."""
    ranked = [np.apply_along_axis(stats.rankdata, 0, part) for part in (factors, codes)]
    centred = [part - part.mean(axis=0) for part in ranked]
    norms = [np.sqrt((part**2).sum(axis=0)) for part in centred]
    found = centred[0].T @ centred[1]
    return (found / np.maximum(np.outer(norms[0], norms[1]), 1e-12)) ** 2


def sap(codes: NDArray[np.float64], factors: NDArray[np.float64]) -> float:
    """Return the SAP, from 0 (no number is special to any factor) to 1."""
    ordered = np.sort(predictability(codes, factors), axis=1)
    return float((ordered[:, -1] - ordered[:, -2]).mean())


def mig(codes: NDArray[np.float64], factors: NDArray[np.float64]) -> float:
    """Return the MIG by mutual information of octiles over the factor's entropy."""
    a = [_binned(column) for column in factors.T]
    b = [_binned(column) for column in codes.T]
    gaps: list[float] = []
    for factor in a:
        shared = sorted(_information(factor, number) for number in b)
        gaps.append((shared[-1] - shared[-2]) / max(_information(factor, factor), 1e-12))
    return float(np.mean(gaps))


def _binned(values: NDArray[np.float64]) -> NDArray[np.int64]:
    edges = np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1])
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _information(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    joint = np.bincount(first * _BINS + second, minlength=_BINS**2).reshape(_BINS, _BINS)
    p = joint / joint.sum()
    outer = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / outer), 0.0)
    return float(terms.sum())


def compare(
    first: Sequence[NDArray[np.float64]],
    second: Sequence[NDArray[np.float64]],
    factors: NDArray[np.float64],
    patients: NDArray[np.str_],
    seed: int = 0,
    resamples: int = 500,
) -> Disentanglement:
    """Return how far two kinds of code keep factors apart, with 95 % intervals.

    Each resample draws patients, with all their patches, and networks of each kind.

    Args:
        first, second: codes of the same patches by several networks of each kind, (n, latent).
        factors: (n, factors).
        patients: whose patch it is, (n,).
        seed: of the resampling.
        resamples: how many.
    """
    names, owner = np.unique(patients, return_inverse=True)
    rows = [np.flatnonzero(owner == index) for index in range(len(names))]
    generator = np.random.default_rng(seed)

    def means(index: NDArray[np.int64], one: Sequence[int], two: Sequence[int]) -> list[float]:
        return [
            float(np.mean([measure(codes[which][index], factors[index]) for which in chosen]))
            for measure in (sap, mig)
            for codes, chosen in ((first, one), (second, two))
        ]

    everything = np.arange(len(patients))
    value = means(everything, range(len(first)), range(len(second)))
    draws = np.zeros((resamples, 4))
    for row in range(resamples):
        index = np.concatenate([rows[n] for n in generator.integers(0, len(names), len(names))])
        one = generator.integers(0, len(first), 1).tolist()
        two = generator.integers(0, len(second), 1).tolist()
        draws[row] = means(index, one, two)
    figures = [percentile(value[k], draws[:, k]) for k in range(4)]
    gaps = [percentile(value[k + 1] - value[k], draws[:, k + 1] - draws[:, k]) for k in (0, 2)]
    return Disentanglement(figures[0], figures[1], gaps[0], figures[2], figures[3], gaps[1])
