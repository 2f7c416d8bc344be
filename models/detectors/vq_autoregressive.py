"""Tokens and their likelihood: a vector-quantised autoencoder and an autoregressive transformer.

Pinaya et al., Unsupervised brain imaging 3D anomaly detection and segmentation with transformers,
Medical Image Analysis 2022. A vector-quantised autoencoder (van den Oord et al., NeurIPS 2017)
turns each axial image into a grid of codes; a causal transformer learns which code follows from
those before it. One teacher-forced pass gives the likelihood of every token: unlikely ones are
strange. Replaced by likely ones and decoded, they show what the reference would have there.

Orderings. A token is judged only by those before it, so the paper averages over several orderings
of the grid, one transformer each. Here one transformer serves all: with the token it reads, it is
told where that token lies and where the next one does (Pannatier et al., Sigma-GPTs, 2024), so
that the orderings share every weight. With a few hundred slices to learn from, this matters more
than what separate networks could gain. The sequence starts with the height of the slice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from models.detectors.vq_networks import (
    ORDERINGS,
    Config,
    Prior,
    Tokeniser,
    order,
    prior_loss,
    tokeniser_loss,
)
from models.errors import ModelError, NotAssessable
from models.prepare import Prepared
from models.scoring import Example, Judgement, top_mean
from models.tensors import take
from models.training.augment import Augmentation, augmented
from models.training.loop import Run, optimise, seeded
from models.training.slices import Slices

ARCHITECTURE = (
    "Convolutional VQ-VAE and causal transformer over its tokens in several orderings; negative "
    "log-likelihood, and residual after unlikely tokens are replaced"
)
QUESTIONS = {
    "likelihood": "Is the appearance of the {anatomy} as a whole unlikely among the reference "
    "scans?",
    "slices": "Is the appearance of some slices unlikely?",
    "focal": "Are there spots whose appearance is unlikely, given their surroundings and height?",
}
LICENSED_WEIGHTS: tuple[str, ...] = ()

_BATCH = 16
_AUGMENTATION = Augmentation(degrees=10.0, shift=0.03, zoom=0.1, noise=0.0)
_SLICES_FRACTION = 0.25
_FOCAL_FRACTION = 0.02
_CELL_COVERED = 0.25
"""A token is one of the brain if at least this part of its cell is."""
_DERIVED = ("ema_", "causal_mask", "norm_cross_attn")
"""Entries of the networks' states that scoring does not need."""

_Network = TypeVar("_Network", bound=nn.Module)


def fit(examples: Sequence[Example], config: Config, run: Run) -> dict[str, Tensor]:
    """Train the tokeniser on the examples' usable slices, then the transformer on their tokens.

    Returns:
        Both networks, ``tokeniser.*`` and ``prior.*``, float16.

    Raises:
        ModelError: if the settings do not fit together, or there is no usable slice.
    """
    _check(config)
    shape = (config.levels, config.rows, config.columns)
    slices = Slices.of(examples, shape).needed().to(run.device)

    def batch(generator: torch.Generator, size: int) -> tuple[Tensor, ...]:
        return slices.drawn(generator, size, _AUGMENTATION)[:1]

    with seeded(run.seed):
        tokeniser = Tokeniser(config)
    optimise(
        "vq-tokeniser",
        tokeniser,
        tokeniser_loss,
        batch,
        steps=config.tokeniser_steps,
        batch_size=config.tokeniser_batch_size,
        learning_rate=config.tokeniser_rate,
        run=run,
    )
    weights = _stored("tokeniser", tokeniser)
    tokeniser = _loaded("tokeniser", tokeniser, weights, run.device)
    generator = torch.Generator().manual_seed(run.seed)
    bank = torch.cat(
        [_tokens(tokeniser, slices.images)]
        + [
            _tokens(tokeniser, augmented(slices.images, slices.brain, generator, _AUGMENTATION)[0])
            for _ in range(config.copies - 1)
        ]
    )  # (copies * slices, tokens)
    levels = slices.level.cpu().repeat(config.copies)
    orders = torch.stack([order(name, *config.grid) for name in config.orderings])

    def sequences(generator: torch.Generator, size: int) -> tuple[Tensor, ...]:
        index = torch.randint(len(bank), (size,), generator=generator)
        chosen = torch.randint(len(orders), (size,), generator=generator)
        return bank[index], levels[index], orders[chosen]

    with seeded(run.seed):
        prior = Prior(config)
    optimise(
        "vq-prior",
        prior,
        prior_loss,
        sequences,
        steps=config.prior_steps,
        batch_size=config.prior_batch_size,
        learning_rate=config.prior_rate,
        warm_up=100,
        run=run,
    )
    return weights | _stored("prior", prior)


def scorer(tensors: Mapping[str, Tensor], config: Config, device: str) -> TokenScorer:
    """Return the scorer of fitted tensors.

    Raises:
        ModelError: if a tensor is missing or of the wrong shape.
    """
    _check(config)
    with seeded(0):
        tokeniser, prior = Tokeniser(config), Prior(config)
    return TokenScorer(
        _loaded("tokeniser", tokeniser, tensors, device),
        _loaded("prior", prior, tensors, device),
        config,
        torch.device(device),
    )


@dataclass(frozen=True, slots=True, eq=False)
class TokenScorer:
    """A fitted tokeniser and transformer.

    Attributes:
        tokeniser: in evaluation mode.
        prior: in evaluation mode.
        config: settings.
        device: where both are.
    """

    tokeniser: Tokeniser
    prior: Prior
    config: Config
    device: torch.device

    def judge(self, prepared: Prepared) -> Judgement:
        """Return how strange a normalised scan is.

        A slice's score is the sum of -log p over the brain's tokens as published, divided by their
        number, so that a large brain is no stranger than a small one.

        Raises:
            ModelError: if it is not on the working grid.
            NotAssessable: if it shows no brain.
        """
        config = self.config
        if prepared.images.shape != (config.levels, config.rows, config.columns):
            raise ModelError("the images are not on the detector's working grid")
        images = torch.from_numpy(prepared.images)[:, None]
        brain = torch.from_numpy(prepared.brain.astype(np.float32))[:, None]
        scale = 2 ** len(config.channels)
        inside = functional.avg_pool2d(brain, scale)[:, 0] >= _CELL_COVERED
        with torch.inference_mode():
            tokens = _tokens(self.tokeniser, images)
            surprise, likeliest = self.surprise(tokens)
            surprise = surprise.view_as(inside) * inside  # (levels, token rows, token columns)
            heat = self._map(prepared, tokens, surprise, likeliest, inside)
        seen = inside.flatten(1).any(1)  # a level without brain says nothing
        if not bool(seen.any()):
            raise NotAssessable("there is hardly any brain in the slices")
        slices = (surprise.sum((1, 2))[seen] / inside.sum((1, 2))[seen]).numpy()
        spots = surprise[inside].numpy()
        return Judgement(
            {
                "likelihood": float(slices.mean()),
                "slices": top_mean(slices, _SLICES_FRACTION),
                "focal": top_mean(spots, _FOCAL_FRACTION),
            },
            heat,
        )

    def surprise(self, tokens: Tensor, heights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return -log p of each token, averaged over orderings, and the likeliest code there.

        Args:
            tokens: (n, tokens) in raster order.
            heights: (n,), the level of each slice; None for a whole scan.

        Returns:
            In raster order, (n, tokens) each. The likeliest is that of the orderings'
            geometric mean.
        """
        config = self.config
        parts: list[tuple[Tensor, Tensor]] = []
        orders = [order(name, *config.grid).to(self.device) for name in config.orderings]
        levels = torch.arange(len(tokens)) if heights is None else heights
        for own, level in zip(tokens.split(_BATCH), levels.split(_BATCH), strict=True):
            moved, height = own.to(self.device), level.to(self.device)
            each = [self.prior.log_probabilities(moved, height, places) for places in orders]
            mean = torch.stack(each).mean(0)  # (n, tokens, codes)
            chosen = -mean.gather(2, moved[..., None])[..., 0]
            parts.append((chosen.cpu(), mean.argmax(-1).cpu()))
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def resampled(
        self, tokens: Tensor, mask: Tensor, level: Tensor, name: str, generator: torch.Generator
    ) -> Tensor:
        """Return `tokens`, (n, tokens), those under `mask` sampled in order.

        Each is drawn given all tokens before it in the ordering, healed where they were drawn.
        """
        places = order(name, *self.config.grid)
        healed, height = tokens.clone(), level.to(self.device)
        wanted = mask[:, places]  # in the ordering's order
        for step in range(int(wanted.sum(1).max())):
            rows = torch.nonzero(wanted.sum(1) > step)[:, 0]
            # The ordinal in the sequence of each row's next token to draw.
            at = (wanted[rows].cumsum(1) > step).int().argmax(1)
            known = places[: int(at.max()) + 1].expand(len(rows), -1).to(self.device)
            logits = self.prior(healed[rows].to(self.device), height[rows.to(self.device)], known)
            logits = logits.cpu().float()[torch.arange(len(rows)), at]  # (rows, codes)
            drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
            healed[rows, places[at]] = drawn
        return healed

    def _map(
        self,
        prepared: Prepared,
        tokens: Tensor,
        surprise: Tensor,
        likeliest: Tensor,
        inside: Tensor,
    ) -> NDArray[np.float32]:
        """Return the map in nats (``resampled``: units of intensity); 0 outside the brain."""
        config = self.config
        covered = self._smooth(inside)
        mask = surprise > -math.log(config.threshold)
        count = mask.sum((1, 2))
        chosen = count.argsort(descending=True, stable=True)[: config.restored_slices]
        chosen = chosen[count[chosen] > 0]
        residual = np.zeros_like(prepared.images)
        if config.map != "likelihood" and len(chosen):
            found = self._residual(
                prepared.images[chosen.numpy()],
                tokens[chosen],
                mask[chosen].flatten(1),
                likeliest[chosen],
                chosen,
            )
            residual[chosen.numpy()] = found
        heat = residual * self._smooth(mask)
        if config.map != "resampled":
            nats = self._smooth(surprise) / np.maximum(covered, 1e-3)
            heat = nats + config.residual_weight * heat
        return np.where(prepared.brain, heat, 0.0).astype(np.float32)

    def _residual(
        self,
        images: NDArray[np.float32],
        tokens: Tensor,
        mask: Tensor,
        likeliest: Tensor,
        level: Tensor,
    ) -> NDArray[np.float32]:
        """Return |x - x_restored| of some slices, (n, rows, columns)."""
        config = self.config
        if config.map == "restored":
            healed = [torch.where(mask, likeliest, tokens)]
        else:
            generator = torch.Generator().manual_seed(0)
            names = config.orderings
            healed = [
                self.resampled(tokens, mask, level, names[index % len(names)], generator)
                for index in range(config.samplings)
            ]
        decoded = [self.tokeniser.decode(each.to(self.device), config.grid) for each in healed]
        residuals = np.stack([np.abs(images - each[:, 0].cpu().numpy()) for each in decoded])
        return residuals.mean(axis=0)

    def _smooth(self, cells: Tensor) -> NDArray[np.float32]:
        """Return values of tokens on the pixel grid, smoothed in-plane."""
        scale = 2 ** len(self.config.channels)
        pixels = cells.float().repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        sigma = self.config.smoothing
        return cast(
            "NDArray[np.float32]", ndimage.gaussian_filter(pixels.numpy(), (0.0, sigma, sigma))
        )


def _tokens(tokeniser: Tokeniser, images: Tensor) -> Tensor:
    """Return the tokens of images, (n, tokens), in raster order, on the processor."""
    device = next(tokeniser.parameters()).device
    with torch.inference_mode():
        found = [tokeniser.tokens(part.to(device)).cpu() for part in images.split(_BATCH)]
    return torch.cat(found).clone()


def _stored(name: str, network: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.detach().cpu().half().contiguous()
        for key, value in network.state_dict().items()
        if not any(part in key for part in _DERIVED)
    }


def _loaded(name: str, network: _Network, tensors: Mapping[str, Tensor], device: str) -> _Network:
    """Return `network`, just made, with the stored weights, ready to score."""
    state = network.state_dict()
    for key, value in state.items():
        if not any(part in key for part in _DERIVED):
            state[key] = take(tensors, f"{name}.{key}", tuple(value.shape)).to(value.dtype)
    network.load_state_dict(state)
    return network.requires_grad_(requires_grad=False).to(device).eval()


def _check(config: Config) -> None:
    """Refuse settings that do not fit together.

    Raises:
        ModelError: if a choice is not known or the image cannot be halved that often.
    """
    scale = 2 ** len(config.channels)
    if config.rows % scale or config.columns % scale:
        raise ModelError(f"rows and columns must be multiples of {scale}")
    if config.map not in {"likelihood", "restored", "resampled"}:
        raise ModelError("the map of the token detector is not known")
    if not config.orderings or not set(config.orderings) <= set(ORDERINGS):
        raise ModelError("the token detector's orderings are not known")
