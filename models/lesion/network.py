"""The lesion network: encoder, Gaussian or Dirichlet code, decoder, and a classifier on the code.

After Huang, Wang and colleagues, Benign-malignant pulmonary lesions with Gaussian and Dirichlet
variational autoencoders (arXiv 2311.15719): 3 x 3 convolutions with batch normalisation and GELU,
channels b, 2b, 2b (stride 2), 2b, 4b (2), 4b, 4b (2), then one convolution over all that is left
to 32b, and the mirror of it with upsampling. Shapes below are those of 64 x 64 patches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Dirichlet
from torch.nn import functional

from models.lesion.config import Config

_LARGEST_CONCENTRATION = 500.0
_SMALLEST_CONCENTRATION = 1e-2


class Posterior(NamedTuple):
    """The distribution of each patch's code.

    Attributes:
        first: mean of a Gaussian, concentrations of a Dirichlet, (n, latent).
        second: log variance of a Gaussian; for a Dirichlet the concentrations again, (n, latent).
        mean: of the code, (n, latent); on the simplex for a Dirichlet.
    """

    first: Tensor
    second: Tensor
    mean: Tensor


class Output(NamedTuple):
    """What the network says of n patches.

    Attributes:
        image: the reconstruction in [0, 1], like the patches.
        posterior: of the code.
        code: the sample that was decoded; the mean outside training.
    """

    image: Tensor
    posterior: Posterior
    code: Tensor


class LesionNetwork(nn.Module):
    """A variational autoencoder of lesion patches, (n, channels, [depth,] rows, columns)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        config.check()
        self.config = config
        base, cells = config.base, config.size // 8
        channels = config.slices if config.dims == 2 else 1
        depth = config.slices
        plan = ((1, 1), (2, 1), (2, 2), (2, 1), (4, 2), (4, 1), (4, 2))
        blocks: list[nn.Module] = []
        before = channels
        for factor, stride in plan:
            blocks.append(_block(config.dims, before, factor * base, stride))
            before = factor * base
        self.down = nn.Sequential(*blocks)  # (n, 4b, 8, 8)
        whole = (cells, cells) if config.dims == 2 else (depth, cells, cells)
        self.shape = (4 * base, *whole)
        self.gather = nn.Sequential(  # (n, 32b)
            _whole(config.dims, 4 * base, 32 * base, cells, depth), nn.GELU(), nn.Flatten()
        )
        numbers = config.latent * (2 if config.kind == "gaussian" else 1)
        self.code = nn.Linear(32 * base, numbers)
        self.expand = nn.Sequential(
            nn.Linear(config.latent, 32 * base),
            nn.GELU(),
            nn.Linear(32 * base, 4 * base * cells * cells * (depth if config.dims == 3 else 1)),
            nn.GELU(),
        )
        up: list[nn.Module] = []  # (n, 4b, 8, 8)
        for factor, stride in ((4, 2), (4, 1), (2, 2), (2, 1), (1, 2)):
            if stride == 2:
                scale = (2.0, 2.0) if config.dims == 2 else (1.0, 2.0, 2.0)
                up.append(nn.Upsample(scale_factor=scale, mode="nearest"))
            up.append(_block(config.dims, before, factor * base, 1))
            before = factor * base
        up.append(_convolution(config.dims)(before, channels, 3, padding=1))
        up.append(nn.Sigmoid())
        self.up = nn.Sequential(*up)  # (n, channels, 64, 64)

    def encode(self, patches: Tensor) -> Posterior:
        """Return the distribution of each patch's code."""
        numbers = self.code(self.gather(self.down(patches)))
        if self.config.kind == "gaussian":
            mean, log_variance = numbers.chunk(2, dim=1)
            return Posterior(mean, log_variance.clamp(-10.0, 10.0), mean)
        # log(1 + exp(logits)), kept where torch's Dirichlet has a gradient.
        concentrations = functional.softplus(numbers).clamp(
            _SMALLEST_CONCENTRATION, _LARGEST_CONCENTRATION
        )
        mean = concentrations / concentrations.sum(1, keepdim=True)
        return Posterior(concentrations, concentrations, mean)

    def sample(self, posterior: Posterior) -> Tensor:
        """Return a code of each patch, through which a gradient goes back."""
        if self.config.kind == "gaussian":
            noise = torch.randn_like(posterior.first)
            return posterior.first + (0.5 * posterior.second).exp() * noise
        return Dirichlet(posterior.first, validate_args=False).rsample()

    def decode(self, code: Tensor) -> Tensor:
        """Return the patches, in [0, 1], of codes, (n, latent)."""
        return self.up(self.expand(code).view(-1, *self.shape))

    def forward(self, patches: Tensor) -> Output:
        """Return the reconstruction of patches in [0, 1]."""
        posterior = self.encode(patches)
        code = self.sample(posterior) if self.training else posterior.mean
        return Output(self.decode(code), posterior, code)


class Classifier(nn.Module):
    """Codes to the logit of malignancy: standardised, one hidden layer."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("deviation", torch.ones(config.latent))
        self.layers = nn.Sequential(
            nn.Linear(config.latent, config.hidden), nn.GELU(), nn.Linear(config.hidden, 1)
        )

    def standardise(self, codes: Tensor) -> None:
        """Take the mean and deviation of `codes`, (n, latent), as those of every code."""
        self.mean.copy_(codes.mean(0))
        self.deviation.copy_(codes.std(0).clamp_min(1e-4))

    def forward(self, codes: Tensor) -> Tensor:
        """Return the logit of malignancy, (n,)."""
        return self.layers((codes - self.mean) / self.deviation)[:, 0]


def _whole(dims: int, before: int, after: int, cells: int, depth: int) -> nn.Module:
    """Return a convolution over all that is left of a patch."""
    if dims == 2:
        return nn.Conv2d(before, after, (cells, cells))
    return nn.Conv3d(before, after, (depth, cells, cells))


def _convolution(dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv2d if dims == 2 else nn.Conv3d


def _block(dims: int, before: int, after: int, stride: int) -> nn.Module:
    """Return a convolution, batch normalisation and GELU; in 3-D the depth is never halved."""
    if dims == 2:
        return nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.GELU()
        )
    return nn.Sequential(
        nn.Conv3d(before, after, 3, (1, stride, stride), 1), nn.BatchNorm3d(after), nn.GELU()
    )
