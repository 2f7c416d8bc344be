"""Token bundles: the transformer of a bundle, opened so that it can be asked where it looked.

Both kinds answer the same questions of one slice: how surprising each token is (as the bundle
scores it), where the transformer looked, and one number a slice that can be occluded: the mean
surprise of its most surprising tokens. Tokens are discrete: a gradient does not pass them, so there
are no gradient maps here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.attribution import looking
from models.attribution.looking import Looked
from models.detectors import two_stage, vq_autoregressive
from models.detectors.two_stage_scoring import surprisal_partition
from models.detectors.two_stage_tokenizer import Tokenizer
from models.detectors.two_stage_transformer import TokenTransformer
from models.detectors.vq_autoregressive import TokenScorer
from models.detectors.vq_networks import Prior
from models.errors import ModelError
from models.prepare import GridConfig
from models.registry import BundleInfo
from models.tensors import read_tensors, take

COVERED = 0.25
"""Part of a token's pixels that must be brain for it to count, as in scoring."""


class TokenBundle(Protocol):
    """What is asked of a bundle with a transformer over tokens."""

    @property
    def config(self) -> GridConfig:
        """Its settings."""
        ...

    @property
    def transformer(self) -> nn.Module:
        """What is asked where it looked."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the transformer's layers, last first."""
        ...

    @property
    def side(self) -> int:
        """Pixels along a token."""
        ...

    @property
    def seen_is(self) -> str:
        """What `Looked.seen` is the share of."""
        ...

    def having(self, transformer: nn.Module) -> TokenBundle:
        """Return the same bundle with another transformer."""
        ...

    def surprise(self, images: Tensor, level: int) -> Tensor:
        """Return how surprising each token is, (n, token rows, token columns).

        Args:
            images: (n, 1, rows, columns), normalised, all of the same level.
            level: of the slice.
        """
        ...

    def looked(
        self, transformer: nn.Module, image: Tensor, level: int, judged: NDArray[np.bool_]
    ) -> Looked:
        """Return where a transformer, this one or a randomised copy, looked to judge tokens."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """A two-stage bundle; surprise is surprisal in deviations from the level's median."""

    config: two_stage.Config
    tokenizer: Tokenizer
    transformer: TokenTransformer
    usual: Tensor
    layers: tuple[str, ...]
    side: int
    seen_is: str = "tokens that were not hidden"

    def having(self, transformer: nn.Module) -> Masked:
        """Return the same bundle with another transformer."""
        return replace(self, transformer=cast("TokenTransformer", transformer))

    def tokens(self, images: Tensor) -> Tensor:
        """Return the tokens, (n, token rows, token columns, 2)."""
        with torch.inference_mode():
            return self.tokenizer.tokens(self.tokenizer.features(images))

    def surprise(self, images: Tensor, level: int) -> Tensor:
        """Return standardised surprisal; see `TokenBundle`."""
        heights = torch.full((len(images),), level)
        found = surprisal_partition(
            self.transformer,
            self.tokens(images),
            heights,
            mask_rate=self.config.mask_rate,
            rounds=self.config.mask_rounds,
        )
        return (found - self.usual[0, level]) / self.usual[1, level]

    def looked(
        self, transformer: nn.Module, image: Tensor, level: int, judged: NDArray[np.bool_]
    ) -> Looked:
        """Return where the masked transformer looked; see `TokenBundle`."""
        tokens = self.tokens(image[None])[0]
        network = cast("TokenTransformer", transformer)
        return looking.masked(network, tokens, level, judged, self.config.mask_rate)


@dataclass(frozen=True, slots=True, eq=False)
class Causal:
    """A bundle of VQ-VAE and causal transformer; surprise is -log p over its orderings, nats."""

    config: vq_autoregressive.Config
    scorer: TokenScorer
    transformer: Prior
    layers: tuple[str, ...]
    side: int
    seen_is: str = "the start token, which tells the height alone"

    def having(self, transformer: nn.Module) -> Causal:
        """Return the same bundle with another transformer."""
        prior = cast("Prior", transformer)
        return replace(self, transformer=prior, scorer=replace(self.scorer, prior=prior))

    def surprise(self, images: Tensor, level: int) -> Tensor:
        """Return negative log-likelihood; see `TokenBundle`."""
        with torch.inference_mode():
            tokens = self.scorer.tokeniser.tokens(images)
            heights = torch.full((len(images),), level)
            found = self.scorer.surprise(tokens, heights)[0]
        return found.unflatten(1, self.config.grid)

    def looked(
        self, transformer: nn.Module, image: Tensor, level: int, judged: NDArray[np.bool_]
    ) -> Looked:
        """Return where the causal transformer looked; see `TokenBundle`."""
        with torch.inference_mode():
            tokens = self.scorer.tokeniser.tokens(image[None])[0]
        prior = cast("Prior", transformer)
        return looking.causal(prior, tokens, level, judged, self.config.orderings)


def opened(info: BundleInfo) -> TokenBundle:
    """Return the token detector of a bundle, its weights checked against the manifest.

    Raises:
        TamperedError: if the weights are not those of the manifest.
        ModelError: if the bundle has no transformer, or something is missing.
    """
    for entry in info.manifest["members"]:
        if entry["detector"] not in ("two-stage", "vq-autoregressive"):
            continue
        file = f"{entry['name']}.safetensors"
        tensors = read_tensors(info.path / file, str(info.manifest["weights"][file]))
        if entry["detector"] == "two-stage":
            config = two_stage.Config.from_dict(entry["settings"])
            tokenizer, transformer = two_stage.networks(tensors, config, "cpu")
            usual = take(tensors, "reference.surprisal", (2, config.levels)).float()
            layers = looking.masked_layers(transformer)
            return Masked(config, tokenizer, transformer, usual, layers, config.patch)
        settings = vq_autoregressive.Config.from_dict(entry["settings"])
        scorer = vq_autoregressive.scorer(tensors, settings, "cpu")
        layers = looking.causal_layers(scorer.prior)
        side = 2 ** len(settings.channels)
        return Causal(settings, scorer, scorer.prior, layers, side)
    raise ModelError(f"bundle {info.name} has no transformer: attribution shows where one looked")


def share(mask: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """Return the part of each token that is inside a mask of pixels, (token rows, columns)."""
    pooled = functional.avg_pool2d(torch.from_numpy(mask).double()[None, None], side)
    return pooled[0, 0].numpy()


class SliceScore(nn.Module):
    """One slice's images to the mean surprise of their most surprising tokens of the brain."""

    def __init__(
        self, bundle: TokenBundle, level: int, covered: NDArray[np.bool_], fraction: float
    ) -> None:
        super().__init__()
        self._ask = bundle.surprise
        self.level = level
        self.covered = torch.from_numpy(covered)
        self.count = max(1, round(fraction * int(covered.sum())))

    def forward(self, images: Tensor) -> Tensor:
        """Return one number an image, (n,)."""
        values = self._ask(images, self.level)[:, self.covered]
        return values.topk(self.count, dim=1).values.mean(1)
