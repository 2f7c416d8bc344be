"""Two-stage tokens: how surprising each part of a slice is, given the rest of it.

Stage 1, a residual VQ-VAE, writes an axial image as a grid of tokens; stage 2, a masked
bidirectional transformer, learns which tokens go together in normal scans (Catching MRI outliers,
arXiv 2605.24609). A token is strange where it is unlikely given the others (surprisal), or where
the image changes when the transformer fills in half of it (healing).

What differs from the paper: the networks are smaller; the perceptual distance, there that of a
network that must be downloaded, is multi-scale SSIM, in training and in healing; surprisal comes
from one partition of masks instead of 100 independent ones; surprisal and healing are standardised
by height on reference scans, and their cuts are quantiles there; the union of both masks is counted
as a part of the brain, so that more slices or a larger head do not give a larger score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.detectors.two_stage_config import Config
from models.detectors.two_stage_reference import Measured, Reference, reference_of, standardised
from models.detectors.two_stage_scoring import healing_distance, surprisal_partition
from models.detectors.two_stage_tokenizer import (
    Tokenizer,
    TokenizerTraining,
    local_mean,
    tokenizer_loss,
)
from models.detectors.two_stage_transformer import (
    TokenTransformer,
    training_masks,
    transformer_loss,
)
from models.errors import ModelError, NotAssessable
from models.prepare import Prepared
from models.scoring import Example, Judgement, Scorer, top_mean
from models.tensors import take
from models.training.augment import Augmentation
from models.training.loop import Run, optimise, seeded
from models.training.slices import Slices, held_out

__all__ = [
    "ARCHITECTURE",
    "LICENSED_WEIGHTS",
    "QUESTIONS",
    "Config",
    "TwoStage",
    "fit",
    "measured",
    "networks",
    "scorer",
]

ARCHITECTURE = (
    "Residual VQ-VAE with a vision transformer encoder; masked bidirectional transformer over its "
    "tokens; surprisal by mask partition, healing by checkerboard"
)
QUESTIONS = {
    "surprisal": "Are there parts of the {anatomy} that are unlikely, given how the rest of the "
    "slice looks?",
    "healing": "Does the image change when its parts are drawn anew from what surrounds them?",
    "union": "How much of the {anatomy} is either unlikely or changed when drawn anew?",
    "encoder": "Does the scan as a whole look unlike the reference scans at the same height?",
}
LICENSED_WEIGHTS: tuple[str, ...] = ()

_COVERED = 0.25
"""Part of a token's pixels that must be brain for the token to count."""
_SLICES = 16
_HELD_OUT = 0.1
_FEWEST_TO_HOLD_OUT = 10


def _tokenizer(config: Config) -> Tokenizer:
    return Tokenizer(
        config.grid,
        config.patch,
        config.width,
        config.depth,
        config.heads,
        config.dropout,
        config.decoder,
        config.decoder_blocks,
        config.codes,
    )


def _transformer(config: Config) -> TokenTransformer:
    return TokenTransformer(
        config.grid,
        config.levels,
        config.codes,
        config.transformer_width,
        config.transformer_depth,
        config.transformer_heads,
        config.dropout,
        config.rotary_base,
    )


def measured(
    prepared: Prepared, tokenizer: Tokenizer, transformer: TokenTransformer, config: Config
) -> Measured:
    """Return the raw numbers of a normalised scan; networks in evaluation mode, on one device.

    Raises:
        ModelError: if the images are of another shape or not finite.
        NotAssessable: if there is hardly any brain.
    """
    images, part = _checked(prepared, config)
    device = tokenizer.codebooks.device
    heights = torch.arange(config.levels, device=device)
    surprisal: list[Tensor] = []
    healing: list[Tensor] = []
    pooled: list[Tensor] = []
    for where in heights.split(_SLICES):
        some = images[where.cpu()].to(device)
        features = _features(tokenizer, some, config.bf16)
        tokens = tokenizer.tokens(features)
        pooled.append(_averaged_features(features, part[where.cpu()].to(device)))
        surprisal.append(
            surprisal_partition(
                transformer,
                tokens,
                where,
                mask_rate=config.mask_rate,
                rounds=config.mask_rounds,
                bf16=config.bf16,
            )
        )
        distance = _healing(tokenizer, transformer, tokens, where, config)
        if config.heal_flip:
            mirrored = tokenizer.tokens(_features(tokenizer, some.flip(-1), config.bf16))
            other = _healing(tokenizer, transformer, mirrored, where, config).flip(-1)
            distance = (distance + other) / 2
        healing.append(local_mean(distance, config.heal_window)[:, 0])
    return Measured(
        torch.cat(surprisal).cpu(),
        torch.cat(healing).cpu(),
        torch.cat(pooled).cpu(),
        part >= _COVERED,
    )


def _described(prepared: Prepared, tokenizer: Tokenizer, config: Config) -> Tensor:
    """Return `Measured.pooled` alone."""
    images, part = _checked(prepared, config)
    device = tokenizer.codebooks.device
    return torch.cat(
        [
            _averaged_features(
                _features(tokenizer, some.to(device), config.bf16), weight.to(device)
            ).cpu()
            for some, weight in zip(images.split(_SLICES), part.split(_SLICES), strict=True)
        ]
    )


def _checked(prepared: Prepared, config: Config) -> tuple[Tensor, Tensor]:
    """Return images, (levels, 1, rows, columns), and the part of each token that is brain."""
    shape = (config.levels, config.rows, config.columns)
    if prepared.images.shape != shape or prepared.brain.shape != shape:
        raise ModelError(f"images of shape {prepared.images.shape}, expected {shape}")
    if not np.isfinite(prepared.images).all():
        raise ModelError("the images hold pixels that are not numbers")
    brain = torch.from_numpy(prepared.brain).float()[:, None]
    part = functional.avg_pool2d(brain, config.patch)[:, 0]  # (levels, token rows, token columns)
    if not bool((part >= _COVERED).any()):
        raise NotAssessable("there is hardly any brain in the slices")
    return torch.from_numpy(prepared.images).float()[:, None], part


def _averaged_features(features: Tensor, part: Tensor) -> Tensor:
    """Return the mean over the brain, (n, width), of (n, token rows, token columns, width)."""
    weight = part[..., None]
    return (features * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1e-6)


def _features(tokenizer: Tokenizer, images: Tensor, bf16: bool) -> Tensor:
    with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        return tokenizer.features(images).float()


def _healing(
    tokenizer: Tokenizer,
    transformer: TokenTransformer,
    tokens: Tensor,
    heights: Tensor,
    config: Config,
) -> Tensor:
    distance, _ = healing_distance(
        tokenizer,
        transformer,
        tokens,
        heights,
        side=config.heal_block,
        steps=(config.heal_steps, config.heal_fine_steps),
        temperature=config.heal_temperature,
        generator=torch.Generator(tokens.device).manual_seed(0),
        bf16=config.bf16,
    )
    return distance


class TwoStage:
    """The fitted detector."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        transformer: TokenTransformer,
        reference: Reference,
        config: Config,
    ) -> None:
        self._tokenizer = tokenizer
        self._transformer = transformer
        self._reference = reference
        self._config = config

    def judge(self, prepared: Prepared) -> Judgement:
        """Return how strange a normalised scan is.

        Raises:
            ModelError: if the images are of another shape or not finite.
            NotAssessable: if there is hardly any brain.
        """
        found = measured(prepared, self._tokenizer, self._transformer, self._config)
        reference, config = self._reference, self._config
        brain = torch.from_numpy(prepared.brain)
        surprisal = standardised(found.surprisal, reference.surprisal)
        healing = standardised(found.healing, reference.healing)
        tall = surprisal.repeat_interleave(config.patch, 1).repeat_interleave(config.patch, 2)
        either = (tall > reference.cuts[0]) | (healing > reference.cuts[1])
        seen = found.covered.flatten(1).any(1)
        offset = (found.pooled - reference.pooled)[seen].double().mean(0)
        distance = offset @ reference.precision.double() @ offset / len(offset)
        smooth = functional.interpolate(
            surprisal[:, None], (config.rows, config.columns), mode="bilinear"
        )[:, 0]
        # Softplus is the value itself where strange, next to 0 where usual, and keeps the order.
        both = functional.softplus(smooth) + functional.softplus(healing)
        shown: NDArray[np.float32] = torch.where(brain, both, 0.0).numpy()
        return Judgement(
            {
                "surprisal": top_mean(surprisal[found.covered].numpy(), config.top_fraction),
                "healing": top_mean(healing[brain].numpy(), config.top_fraction),
                "union": float(either[brain].float().mean()),
                "encoder": float(distance),
            },
            shown.astype(np.float32),
        )


def fit(examples: Sequence[Example], config: Config, run: Run) -> dict[str, Tensor]:
    """Train both stages and learn what is usual; return all that `scorer` needs.

    Where there are ten subjects or more, one in ten trains neither network and gives the medians,
    deviations and cuts: on scans they were trained on, networks are less surprised.

    Args:
        examples: normalised reference scans.
        config: settings; `landmarks` as the examples were normalised.
        run: seed, device and the rest.

    Raises:
        ModelError: if there is no usable slice, or training diverges.
    """
    kept = held_out(examples, _HELD_OUT, run.seed, least=_FEWEST_TO_HOLD_OUT)
    shape = (config.levels, config.rows, config.columns)
    slices = Slices.of((one for one in examples if one.subject not in kept), shape).needed()
    slices = slices.to(run.device)
    with seeded(run.seed):
        training = TokenizerTraining(
            _tokenizer(config),
            decay=config.code_decay,
            orthogonal=config.orthogonal,
            commitment=config.commitment,
            dead_code=config.dead_code,
        )
        transformer = _transformer(config)
    how = Augmentation(
        config.degrees, config.shift, config.zoom, 0.5, 0.05, config.gamma, config.noise
    )

    optimise(
        "tokenizer",
        training,
        tokenizer_loss(config.perceptual),
        lambda generator, size: slices.drawn(generator, size, how)[:1],
        steps=config.tokenizer_steps,
        batch_size=config.tokenizer_batch,
        learning_rate=config.tokenizer_rate,
        run=run,
        warm_up=50,
    )
    tokenizer = training.finish()
    _round(tokenizer)

    def draw_masked(generator: torch.Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
        changed, where = slices.drawn(generator, size, how)
        return changed, where, training_masks(size, config.grid, generator)

    def loss(network: nn.Module, changed: Tensor, where: Tensor, mask: Tensor) -> Tensor:
        # In the precision in which the tokens will be found when scans are judged.
        tokens = tokenizer.tokens(_features(tokenizer, changed, config.bf16))
        return _transformer_loss(network, tokens, where, mask)

    _transformer_loss = partial(
        transformer_loss,
        codes=config.codes,
        fine_weight=config.fine_weight,
        smoothing=config.smoothing,
    )
    optimise(
        "transformer",
        transformer,
        loss,
        draw_masked,
        steps=config.transformer_steps,
        batch_size=config.transformer_batch,
        learning_rate=config.transformer_rate,
        run=run,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        warm_up=config.warm_up,
    )
    _round(transformer)
    pooled: list[Tensor] = []
    for count, example in enumerate(examples):
        run.progress("describe", count, len(examples))
        pooled.append(_described(example.prepared, tokenizer, config))
    scale: list[tuple[Example, Measured]] = []
    untaught = [example for example in examples if example.subject in kept] or examples
    for count, example in enumerate(untaught):
        run.progress("measure", count, len(untaught))
        scale.append((example, measured(example.prepared, tokenizer, transformer, config)))
    usable = [example.usable for example in examples]
    reference = reference_of(scale, pooled, usable, config.cut_quantile)
    return (
        {f"tokenizer.{name}": value.half().cpu() for name, value in tokenizer.state_dict().items()}
        | {
            f"transformer.{name}": value.half().cpu()
            for name, value in transformer.state_dict().items()
        }
        | {f"reference.{name}": getattr(reference, name) for name in Reference.__slots__}
    )


def _round(network: nn.Module) -> None:
    """Round the weights to float16, as they are kept: what follows must see the same network."""
    network.load_state_dict(
        {name: value.half().float() for name, value in network.state_dict().items()}
    )


def networks(
    tensors: Mapping[str, Tensor], config: Config, device: str
) -> tuple[Tokenizer, TokenTransformer]:
    """Return both stages of fitted tensors, in evaluation mode on the device.

    Raises:
        ModelError: as `scorer`.
    """
    tokenizer, transformer = _tokenizer(config), _transformer(config)
    for prefix, network in (("tokenizer", tokenizer), ("transformer", transformer)):
        network.load_state_dict(
            {
                name: _finite(tensors, f"{prefix}.{name}", tuple(value.shape)).float()
                for name, value in network.state_dict().items()
            }
        )
        network.eval().requires_grad_(requires_grad=False).to(device)
    return tokenizer, transformer


def scorer(tensors: Mapping[str, Tensor], config: Config, device: str) -> Scorer:
    """Return the detector of fitted tensors.

    Raises:
        ModelError: if a tensor is missing, of another shape, or holds what is not a number.
    """
    tokenizer, transformer = networks(tensors, config, device)
    levels = config.levels
    reference = Reference(
        _finite(tensors, "reference.surprisal", (2, levels)),
        _finite(tensors, "reference.healing", (2, levels)),
        _finite(tensors, "reference.cuts", (2,)),
        _finite(tensors, "reference.pooled", (levels, config.width)),
        _finite(tensors, "reference.precision", (config.width, config.width)),
    )
    return TwoStage(tokenizer, transformer, reference, config)


def _finite(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = take(tensors, name, shape)
    if not bool(torch.isfinite(tensor).all()):
        raise ModelError(f"weights: {name} holds values that are not finite")
    return tensor
