"""The lesion network's loss: how unlike a reconstruction is, and how far its code strays.

    alpha * L1 + (1 - alpha) * (1 - SSIM) + beta / 1000 * |KL - C|

with L1 and SSIM as means over pixels and KL in nats. KL is that of the posterior from the prior,
KL(q(z|x) || p(z)), as in the evidence lower bound (Kingma and Welling, ICLR 2014); the public code
of arXiv 2311.15719 computes the reverse for its Dirichlet. C, a capacity, grows during training
(Burgess et al., Understanding disentangling in beta-VAE, 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional

from models.lesion.config import Config
from models.lesion.network import Output, Posterior

_WINDOW = 7
_K1, _K2 = 0.01, 0.03


class Parts(NamedTuple):
    """The loss of a batch and what it is made of, each a scalar."""

    total: Tensor
    l1: Tensor
    unlike: Tensor
    divergence: Tensor


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return each patch's mean SSIM, (n,), of images in [0, 1].

    Wang et al., IEEE Transactions on Image Processing 2004, with a uniform window of 7 pixels in
    each of the last two dimensions and sample covariances, as scikit-image computes it; slices
    are channels.
    """
    x, y = _planes(first), _planes(second)

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, _WINDOW, 1)

    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    mean_x, mean_y = mean(x), mean(y)
    variance_x = unbiased * (mean(x * x) - mean_x**2)
    variance_y = unbiased * (mean(y * y) - mean_y**2)
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    likeness = ((2 * mean_x * mean_y + _K1**2) * (2 * covariance + _K2**2)) / (
        (mean_x**2 + mean_y**2 + _K1**2) * (variance_x + variance_y + _K2**2)
    )
    return likeness.mean((1, 2, 3))


def _planes(images: Tensor) -> Tensor:
    return images.flatten(1, -3)  # slices or depth as channels: each plane by itself


def divergence(posterior: Posterior, config: Config) -> Tensor:
    """Return KL(q(z|x) || p(z)) of each patch in nats, (n,)."""
    if config.kind == "gaussian":
        mean, log_variance = posterior.first, posterior.second
        return 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(1)
    prior = torch.full_like(posterior.first, config.concentration)
    return kl_divergence(
        Dirichlet(posterior.first, validate_args=False), Dirichlet(prior, validate_args=False)
    )


def capacity(config: Config, progress: float) -> float:
    """Return C when so much of training (0 to 1) is over: linear over its first half."""
    return config.capacity * min(1.0, 2.0 * progress)


def loss(found: Output, patches: Tensor, config: Config, progress: float) -> Parts:
    """Return the loss of a batch when so much of training (0 to 1) is over."""
    l1 = functional.l1_loss(found.image, patches)
    unlike = 1.0 - structural_similarity(found.image, patches).mean()
    nats = divergence(found.posterior, config).mean()
    strayed = config.beta / 1000.0 * (nats - capacity(config, progress)).abs()
    total = config.alpha * l1 + (1.0 - config.alpha) * unlike + strayed
    return Parts(total, l1, unlike, nats)
