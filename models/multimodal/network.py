"""The multimodal network's settings, its layers and its loss; see `models.multimodal.model`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from models.errors import ModelError


@dataclass(frozen=True, slots=True)
class Config:
    """Settings; the published value in brackets where it is known and differs.

    Attributes:
        components: principal components of the image embedding; fewer where the cohort has fewer.
        hidden: units of the encoder's layers; the decoder mirrors them.
        latent: numbers in the code.
        beta: weight of the Kullback-Leibler divergence in loss and score.
        imaging_weight: total variance of the image's components over that of the clinical
            variables, so that neither drowns the other whatever their number.
        hide: chance that a measured variable, or the whole image, is hidden from the encoder in a
            training step and asked of the decoder all the same: so missing values are modelled.
        steps: optimiser steps.
        batch_size: patients a step.
        learning_rate: AdamW's.
        weight_decay: AdamW's.
        folds: of cross-fitting.
        percentile: of the scores above which a patient is called atypical.
    """

    components: int = 16
    hidden: tuple[int, ...] = (64, 32)
    latent: int = 8
    beta: float = 1.0
    imaging_weight: float = 1.0
    hide: float = 0.2
    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    folds: int = 5
    percentile: float = 85.0

    def as_dict(self) -> dict[str, Any]:
        """Return the settings for a manifest."""
        return asdict(self) | {"hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings of a manifest.

        Raises:
            ModelError: if a setting is missing or unknown.
        """
        if set(values) != {field.name for field in fields(cls)}:
            raise ModelError("the bundle's settings are not those of this version")
        plain: dict[str, Any] = {**values, "hidden": tuple(values["hidden"])}
        config = cls(**plain)
        sizes = (config.components, config.latent, config.steps, config.batch_size, *config.hidden)
        if not config.hidden or min(sizes) < 1 or config.folds < 2:
            raise ModelError("a size of the multimodal model is too small")
        if not (0 <= config.hide < 1 and 0 < config.percentile < 100 and config.beta >= 0):
            raise ModelError("a setting of the multimodal model is out of its range")
        return config


class Output(NamedTuple):
    """What the network says of n patients.

    Attributes:
        values: the reconstruction, (n, features).
        mean: of each patient's code, (n, latent).
        divergence: of the code's distribution from a standard normal one in nats, (n,).
    """

    values: Tensor
    mean: Tensor
    divergence: Tensor


class MultimodalVae(nn.Module):
    """Values and their mask in, a distribution of codes, values out.

    Kingma and Welling, ICLR 2014, with the mask as a second input: what is not known is 0 and
    marked as not known, and the decoder answers for it from the rest.
    """

    def __init__(self, features: int, config: Config) -> None:
        super().__init__()
        sizes = (2 * features, *config.hidden)
        back = (config.latent, *reversed(config.hidden))
        self.encoder = nn.Sequential(*_layers(sizes))
        self.code = nn.Linear(sizes[-1], 2 * config.latent)
        self.decoder = nn.Sequential(*_layers(back), nn.Linear(back[-1], features))

    def forward(self, values: Tensor, known: Tensor) -> Output:
        """Return the reconstruction of `values`, (n, features), `known` being 1 or 0 for each."""
        seen = torch.cat([values * known, known], dim=1)  # (n, 2 * features)
        mean, log_variance = self.code(self.encoder(seen)).chunk(2, dim=1)  # (n, latent) each
        log_variance = log_variance.clamp(-10.0, 10.0)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(1)  # (n,)
        code = mean
        if self.training:
            code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return Output(self.decoder(code), mean, divergence)


def _layers(sizes: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(sizes):
        layers += [nn.Linear(into, out), nn.SiLU()]
    return layers


def loss_of(config: Config) -> Callable[..., Tensor]:
    """Return the loss of a batch: squared error of what was measured, plus beta times KL."""

    def loss(network: nn.Module, values: Tensor, known: Tensor, shown: Tensor) -> Tensor:
        """Take (n, features) thrice: values, what was measured, what of it the encoder sees."""
        found = cast("Output", network(values, shown))
        error = ((values - found.values) ** 2 * known).sum(1)  # (n,); what is hidden counts too
        return (error + config.beta * found.divergence).mean()

    return loss
