"""Gradient maps: how a score moves with each pixel, at the image and on the way to it.

By captum. The plain gradient (Simonyan et al. 2013) says what a small change of a pixel would do,
not what the pixel did. Integrated gradients (Sundararajan et al., Axiomatic attribution for deep
networks, ICML 2017) follow the straight way from a baseline to the image; their sum is the score
less the baseline's score (completeness), and how far it is not is returned with them. SmoothGrad
(Smilkov et al. 2017) is the mean gradient over noisy copies. All are signed: positive raises the
score.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.attribution.occlusion import Score, flat
from models.training.loop import seeded

STEPS = 64
"""Points of the integral, Gauss and Legendre's."""


def gradient(score: Score, images: Tensor) -> NDArray[np.float64]:
    """Return the score's derivative by each pixel, (n, rows, columns)."""
    from captum.attr import Saliency

    found = cast("Any", Saliency(score)).attribute(_leaf(images), abs=False)
    return flat(cast("Tensor", found))


def integrated(
    score: Score, images: Tensor, baseline: Tensor | float, steps: int = STEPS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return integrated gradients, (n, rows, columns), and what they lack to the score, (n,).

    Args:
        score: differentiable.
        images: (n, channels, [depth,] rows, columns).
        baseline: where the way begins: a number, or images like `images`.
        steps: points of the integral.

    Returns:
        The map; and its sum less (score of the image less score of the baseline).
    """
    from captum.attr import IntegratedGradients

    found, gap = cast("Any", IntegratedGradients(score)).attribute(
        _leaf(images),
        baselines=baseline,
        n_steps=steps,
        internal_batch_size=max(len(images), 256),
        return_convergence_delta=True,
    )
    return flat(cast("Tensor", found)), cast("Tensor", gap).detach().double().numpy()


def smoothed(
    score: Score, images: Tensor, noise: float, draws: int = 32, seed: int = 0
) -> NDArray[np.float64]:
    """Return the mean gradient over noisy copies, (n, rows, columns).

    Args:
        score: differentiable.
        images: (n, channels, [depth,] rows, columns).
        noise: standard deviation, in the images' units.
        draws: copies of each image.
        seed: of the noise.
    """
    from captum.attr import NoiseTunnel, Saliency

    with seeded(seed):
        found = cast("Any", NoiseTunnel(Saliency(score))).attribute(
            _leaf(images),
            nt_type="smoothgrad",
            nt_samples=draws,
            nt_samples_batch_size=min(draws, 8),
            stdevs=noise,
            abs=False,
        )
    return flat(cast("Tensor", found))


def _leaf(images: Tensor) -> Tensor:
    """Return a copy that a gradient can be asked of, whatever mode the original was made in."""
    return torch.empty_like(images).copy_(images).requires_grad_()
