"""Floors: what can be said of the wanted contrast voxel by voxel, without seeing any anatomy.

Each learns of training voxels and answers for every voxel. A network that does not beat the mean
at each value of the first input has learned nothing of place or shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray
from skimage import filters

Values = NDArray[np.float32]
"""Of voxels: inputs (inputs, n), target (n,)."""
Floor = Callable[[Values], Values]
"""Inputs (inputs, n) -> the contrast, (n,)."""

CONDITIONAL = "mean at each value"
_BINS = 64


def fitted(inputs: Values, target: Values) -> dict[str, Floor]:
    """Return every floor by its name, learned of these voxels.

    Args:
        inputs: (inputs, n).
        target: (n,).
    """
    return {
        "one value": _constant(target),
        "inverted": _inverted(inputs, target),
        "histogram matched": _matched(inputs, target),
        "linear in each of three tissues": _by_tissue(inputs, target),
        CONDITIONAL: _conditional(inputs, target),
    }


def _constant(target: Values) -> Floor:
    value = np.float32(np.median(target))

    def floor(given: Values) -> Values:
        return np.full(given.shape[1], value, dtype=np.float32)

    return floor


def _inverted(inputs: Values, target: Values) -> Floor:
    first = inputs[0]
    middle, spread = float(first.mean()), max(float(first.std()), 1e-6)
    wanted, scale = float(target.mean()), float(target.std())

    def floor(given: Values) -> Values:
        return (wanted - (given[0] - middle) * scale / spread).astype(np.float32)

    return floor


def _matched(inputs: Values, target: Values) -> Floor:
    parts = np.linspace(0, 1, 129)
    found, wanted = np.quantile(inputs[0], parts), np.quantile(target, parts)

    def floor(given: Values) -> Values:
        return np.interp(given[0], found, wanted).astype(np.float32)

    return floor


def _by_tissue(inputs: Values, target: Values) -> Floor:
    """Three classes of the first input by Otsu's thresholds; least squares of all in each."""
    cuts = cast("NDArray[np.float64]", filters.threshold_multiotsu(inputs[0], 3, 128))
    classes = np.digitize(inputs[0], cuts)
    weights = [
        np.linalg.lstsq(_with_one(inputs[:, classes == one]), target[classes == one], rcond=None)[0]
        for one in range(3)
    ]

    def floor(given: Values) -> Values:
        own = np.digitize(given[0], cuts)
        lines = np.stack([_with_one(given) @ weight for weight in weights])
        return np.take_along_axis(lines, own[None], axis=0)[0].astype(np.float32)

    return floor


def _conditional(inputs: Values, target: Values) -> Floor:
    """The mean of the wanted contrast in bins of the first input of equal counts."""
    edges = np.unique(np.quantile(inputs[0], np.linspace(0, 1, _BINS + 1)[1:-1]))
    own = np.digitize(inputs[0], edges)
    count = np.bincount(own, minlength=len(edges) + 1)
    total = np.bincount(own, target, minlength=len(edges) + 1)
    means = np.where(count > 0, total / np.maximum(count, 1), target.mean()).astype(np.float32)

    def floor(given: Values) -> Values:
        return np.asarray(means[np.digitize(given[0], edges)], np.float32)

    return floor


def _with_one(inputs: Values) -> Values:
    return np.concatenate([inputs, np.ones((1, inputs.shape[1]), np.float32)]).T
