"""Autoencoder and variational autoencoder: what a network of normal images cannot reproduce.

A strided convolutional network squeezes each axial image through a small dense code. Trained on
normal images alone, it should give back a normal image well and an abnormal one as if it were
normal (Baur et al., Autoencoders for unsupervised anomaly segmentation in brain MR images: a
comparative study, Medical Image Analysis 2021). The variational form gives a distribution of codes
with a standard normal prior (Kingma and Welling, ICLR 2014). Instead of one pass, the image itself
may be moved towards what the network finds likely: restoration (You et al., Unsupervised lesion
detection via image restoration with a normative prior, MIDL 2019; Chen et al., Medical Image
Analysis 2020).

Reconstruction error alone is no measure of quality: a blurred or moved image has less detail to get
wrong and is reconstructed *better* than a sharp one. So the code itself is judged too, and the
error both ways: lower than expected at this height is as strange as higher.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError
from models.prepare import GridConfig, Prepared
from models.scoring import Example, Judgement
from models.tensors import take
from models.training.augment import Augmentation, augmented
from models.training.loop import Run, optimise, seeded

ARCHITECTURE = (
    "Strided convolutional autoencoder or variational autoencoder with a dense code; residual or "
    "restoration map; Mahalanobis distance of the code; reconstruction error against that expected"
)
QUESTIONS = {
    "residual": "Can the brain as a whole not be reproduced from what was learned of the "
    "reference scans?",
    "focal": "Is there a spot in the brain that cannot be reproduced?",
    "latent": "Are the shape and contrast of the slices, as the network summarises them, unlike "
    "the reference at that height?",
    "deviation": "Is the detail unlike that of the reference: less (blurred, smoothed) or more "
    "(noise, patterns)?",
}
LICENSED_WEIGHTS: tuple[str, ...] = ()

_BATCH = 16
_AUGMENTATION = Augmentation(degrees=10.0, shift=0.03, zoom=0.1, noise=0.0)
_IN_PLANE = np.ones((1, 3, 3), dtype=np.bool_)
_LEVEL_BANDWIDTH = 1.0
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Config(GridConfig):
    """Settings; the published value in brackets where it differs.

    Attributes:
        kind: ``ae`` or ``vae``.
        channels: of the strided 5 x 5 convolutions, each halving the image [32, 64, 128, 128].
        bottleneck: channels of the 1 x 1 convolution before the code [16].
        latent: numbers in the code [128].
        dropout: on the code of an autoencoder [0.2].
        loss: ``l1``, the published sum of |x - x_hat|, or ``l2_ssim``, the sum of squares plus
            1 - SSIM, each pixel of equal weight.
        beta: weight of the Kullback-Leibler divergence of a variational autoencoder [1].
        steps: optimiser steps [until 5 epochs without gain].
        batch_size: slices a step [8].
        learning_rate: [1e-4, Adam].
        held_out: the part of the subjects on which the network is not trained, to learn what error
            an unseen normal scan has.
        map: ``residual``, one pass, or ``restoration``, two orders of magnitude slower.
        restoration_steps: steps of gradient descent on the image [150].
        restoration_rate: of those steps [1e-3, for intensities of another range].
        tv_weights: candidate weights of total variation in the restoration; the one that changes
            held-out normal slices least is kept [0 to 1.9].
        erosion: pixels taken off the rim of the brain, where an edge out of place looks like a
            lesion.
        median: size of the map's median filter in levels, rows, columns [5 x 5 x 5 voxels of
            about 1 mm]: about 5 x 8 x 8 mm, as levels lie some 5 mm apart.
    """

    kind: str = "ae"
    channels: tuple[int, ...] = (16, 32, 64, 64)
    bottleneck: int = 16
    latent: int = 128
    dropout: float = 0.2
    loss: str = "l1"
    beta: float = 1.0
    steps: int = 3000
    batch_size: int = 16
    learning_rate: float = 1e-3
    held_out: float = 0.2
    map: str = "residual"
    restoration_steps: int = 100
    restoration_rate: float = 5e-3
    tv_weights: tuple[float, ...] = (0.0, 0.5, 1.0, 1.9)
    erosion: int = 2
    median: tuple[int, int, int] = (1, 5, 5)


class Output(NamedTuple):
    """What the network says of n images.

    Attributes:
        image: the reconstruction, (n, 1, rows, columns).
        mean: the code, or the mean of its distribution, (n, latent).
        divergence: of the code's distribution from a standard normal one in nats, (n,); 0 for an
            autoencoder.
    """

    image: Tensor
    mean: Tensor
    divergence: Tensor


class Autoencoder(nn.Module):
    """Encoder, dense code, mirrored decoder.

    Convolutions 5 x 5 of stride 2 with batch normalisation and leaky ReLU, 1 x 1 convolution,
    dense code, and the same backwards (Baur 2021).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.variational = config.kind == "vae"
        sizes = (1, *config.channels)
        scale = 2 ** len(config.channels)
        self.shape = (config.bottleneck, config.rows // scale, config.columns // scale)
        self.down = nn.Sequential(
            *(_block(nn.Conv2d(a, b, 5, 2, 2), b) for a, b in itertools.pairwise(sizes)),
            nn.Conv2d(sizes[-1], config.bottleneck, 1),
        )
        features = math.prod(self.shape)
        self.code = nn.Linear(features, config.latent * (2 if self.variational else 1))
        self.drop = nn.Dropout(0.0 if self.variational else config.dropout)
        self.expand = nn.Linear(config.latent, features)
        back = sizes[:0:-1]  # the encoder's channels, last first
        self.up = nn.Sequential(
            nn.Conv2d(config.bottleneck, back[0], 1),
            *(
                _block(nn.ConvTranspose2d(a, b, 5, 2, 2, output_padding=1), b)
                for a, b in zip(back, (*back[1:], back[-1]), strict=True)
            ),
            nn.Conv2d(back[-1], 1, 1),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the log variance of each image's code, (n, latent) each."""
        code = self.code(self.down(images).flatten(1))  # (n, latent or 2 * latent)
        if not self.variational:
            return code, torch.zeros_like(code)
        mean, log_variance = code.chunk(2, dim=1)
        return mean, log_variance.clamp(-10.0, 10.0)

    def decode(self, code: Tensor) -> Tensor:
        """Return the images, (n, 1, rows, columns), of codes, (n, latent)."""
        cells = self.expand(code).view(-1, *self.shape)
        # Channels last: a third less time on a processor.
        return self.up(cells.contiguous(memory_format=torch.channels_last))

    def forward(self, images: Tensor) -> Output:
        """Return the reconstruction of `images`, (n, 1, rows, columns)."""
        mean, log_variance = self.encode(images)
        code = self.drop(mean)
        divergence = mean.new_zeros(len(mean))
        if self.variational:
            divergence = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(1)
            if self.training:
                code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return Output(self.decode(code), mean, divergence)


def _block(convolution: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.LeakyReLU(0.3))


def fit(examples: Sequence[Example], config: Config, run: Run) -> dict[str, Tensor]:
    """Train the network on the examples' usable slices, and learn what it makes of normal scans.

    Returns:
        The network, float16, and ``reference.*``: mean code and expected log error of each level,
        precision of the code's offset, weight of total variation.

    Raises:
        ModelError: if the settings do not fit together, or there is no usable slice.
    """
    _check(config)
    held = _held_out(examples, config.held_out, run.seed)
    seen = _slices([example for example in examples if example.subject not in held], config)
    unseen = _slices([example for example in examples if example.subject in held], config)
    if not len(seen.images):
        raise ModelError("no slice of the reference can stand for normal")

    def batch(generator: torch.Generator, size: int) -> tuple[Tensor, ...]:
        index = torch.randint(len(seen.images), (size,), generator=generator)
        images, _ = augmented(seen.images[index], seen.brain[index], generator, _AUGMENTATION)
        return (images,)

    with seeded(run.seed):
        network = Autoencoder(config)
    optimise(
        f"autoencoder-{config.kind}",
        network,
        _loss(config),
        batch,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        run=run,
    )
    weights = {f"network.{key}": _stored(value) for key, value in network.state_dict().items()}
    network = _network(weights, config, run.device)
    return weights | _reference(network, seen, unseen, config)


def scorer(tensors: Mapping[str, Tensor], config: Config, device: str) -> AutoencoderScorer:
    """Return the scorer of fitted tensors.

    Raises:
        ModelError: if a tensor is missing or of the wrong shape.
    """
    _check(config)
    return AutoencoderScorer(
        _network(tensors, config, device),
        take(tensors, "reference.mean", (config.levels, config.latent)).double().numpy(),
        take(tensors, "reference.precision", (config.latent, config.latent)).double().numpy(),
        take(tensors, "reference.log_error", (config.levels,)).double().numpy(),
        float(take(tensors, "reference.tv_weight", (1,))[0]),
        config,
    )


@dataclass(frozen=True, slots=True, eq=False)
class AutoencoderScorer:
    """A fitted autoencoder.

    Attributes:
        network: in evaluation mode.
        mean: (levels, latent): the reference's mean code at each level.
        precision: (latent, latent): inverse covariance of a slice's offset from it.
        log_error: (levels,): expected log of a slice's mean |x - x_hat|.
        tv_weight: of the restoration.
        config: settings.
    """

    network: Autoencoder
    mean: NDArray[np.float64]
    precision: NDArray[np.float64]
    log_error: NDArray[np.float64]
    tv_weight: float
    config: Config

    def judge(self, prepared: Prepared) -> Judgement:
        """Return how strange a normalised scan is.

        Raises:
            ModelError: if it is not on the working grid.
        """
        config = self.config
        if prepared.images.shape != (config.levels, config.rows, config.columns):
            raise ModelError("the images are not on the detector's working grid")
        images = torch.from_numpy(prepared.images)[:, None]
        inside = torch.from_numpy(_eroded(prepared.brain, config.erosion))[:, None]
        found = _described(self.network, images, inside)
        pixels = inside.sum((1, 2, 3)).clamp_min(1).numpy()
        offset = found.code - self.mean
        squared = np.einsum("ld,de,le->l", offset, self.precision, offset)
        difference = found.residual
        if config.map == "restoration":
            difference = self._change(images, inside)
        strange = cast(
            "NDArray[np.float32]", ndimage.median_filter(difference, config.median)
        ) * inside[:, 0].numpy().astype(np.float32)
        error = found.error + config.beta * found.divergence / pixels
        return Judgement(
            {
                "residual": float(error.mean()),
                "focal": float(np.quantile(strange[inside[:, 0].numpy()], 0.99)),
                "latent": float(np.sqrt(np.maximum(squared, 0.0)).mean()),
                "deviation": float(np.abs(np.log(found.error + _TINY) - self.log_error).mean()),
            },
            strange,
        )

    def _change(self, images: Tensor, inside: Tensor) -> NDArray[np.float32]:
        parts = [
            restored(self.network, *part, self.tv_weight, self.config) - part[0]
            for part in zip(images.split(_BATCH), inside.split(_BATCH), strict=True)
        ]
        return torch.cat(parts)[:, 0].abs().numpy()


def objective(
    network: Autoencoder, images: Tensor, start: Tensor, inside: Tensor, tv_weight: float
) -> Tensor:
    """Return what restoration lowers, (n,): sum |x - x_hat| + KL + tv_weight * TV(x - start).

    The evidence lower bound as a likelihood, and total variation as the prior of the change
    (Chen 2020; maximum a posteriori). `inside` bounds the sum; all are (n, 1, rows, columns).
    """
    found = network(images)
    change = images - start
    variation = change.diff(dim=2).abs().sum((1, 2, 3)) + change.diff(dim=3).abs().sum((1, 2, 3))
    error = ((images - found.image).abs() * inside).sum((1, 2, 3))
    return error + found.divergence + tv_weight * variation


def restored(
    network: Autoencoder, images: Tensor, inside: Tensor, tv_weight: float, config: Config
) -> Tensor:
    """Return `images`, (n, 1, rows, columns), moved downhill on `objective`, `inside` alone."""
    device = next(network.parameters()).device
    start, mask = images.to(device), inside.to(device)
    current = start.clone()
    for _ in range(config.restoration_steps):
        with torch.enable_grad():
            current.requires_grad_()
            value = objective(network, current, start, mask, tv_weight).sum()
            (gradient,) = torch.autograd.grad(value, current)
        current = current.detach() - config.restoration_rate * gradient * mask
    return current.cpu()


class _Slices(NamedTuple):
    """Slices of the reference: images and brain (n, 1, rows, columns), level (n,)."""

    images: Tensor
    brain: Tensor
    level: NDArray[np.intp]


class _Described(NamedTuple):
    """Slices as the network sees them.

    Code (n, latent), mean |x - x_hat| (n,), divergence (n,), |x - x_hat| (n, rows, columns).
    """

    code: NDArray[np.float64]
    error: NDArray[np.float64]
    divergence: NDArray[np.float64]
    residual: NDArray[np.float32]


def _described(network: Autoencoder, images: Tensor, inside: Tensor) -> _Described:
    device = next(network.parameters()).device
    with torch.inference_mode():
        outputs = [network(part.to(device)) for part in images.split(_BATCH)]
    image = torch.cat([output.image for output in outputs]).cpu()
    residual = (images - image).abs() * inside
    error = residual.sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp_min(1)
    code = torch.cat([output.mean for output in outputs]).cpu()
    divergence = torch.cat([output.divergence for output in outputs]).cpu()
    return _Described(
        code.double().numpy(),
        error.double().numpy(),
        divergence.double().numpy(),
        residual[:, 0].numpy(),
    )


def _loss(config: Config) -> Any:
    """Return the loss of a batch: the published sums, divided by the pixels of an image."""
    pixels = config.rows * config.columns
    similarity: Any = None
    if config.loss == "l2_ssim":
        from monai.losses.ssim_loss import SSIMLoss

        similarity = SSIMLoss(spatial_dims=2, data_range=2.5)

    def loss(network: nn.Module, images: Tensor) -> Tensor:
        found = cast("Output", network(images))
        divergence = config.beta * found.divergence.mean() / pixels
        if similarity is None:
            return functional.l1_loss(found.image, images) + divergence
        unlike = cast("Tensor", similarity(found.image, images))
        return functional.mse_loss(found.image, images) + unlike + divergence

    return loss


def _reference(
    network: Autoencoder, seen: _Slices, unseen: _Slices, config: Config
) -> dict[str, Tensor]:
    """Return what the scorer holds a scan against.

    Means are smoothed over neighbouring levels. The error's profile is that of all the slices seen
    in training, raised by what the held-out scans have above it: a network reproduces what it was
    trained on better than a new scan.
    """
    from sklearn.covariance import LedoitWolf

    known = _described(network, seen.images, _inside(seen, config))
    weight = _level_weight(seen.level, config.levels)  # (levels, n)
    mean, level = weight @ known.code, seen.level
    log_error = weight @ np.log(known.error + _TINY)
    offset = known.code - mean[level]
    tv_weight = 0.0
    if len(unseen.images):
        new = _described(network, unseen.images, _inside(unseen, config))
        raised = np.log(new.error + _TINY) - log_error[unseen.level]
        log_error = log_error + raised.mean()
        offset = np.concatenate([offset, new.code - mean[unseen.level]])
    if config.map == "restoration":
        tv_weight = _tv_weight(network, unseen if len(unseen.images) else seen, config)
    covariance: Any = LedoitWolf(assume_centered=True).fit(offset)
    precision = cast("NDArray[np.float64]", covariance.get_precision())
    return {
        "reference.mean": _single(mean),
        "reference.precision": _single(precision),
        "reference.log_error": _single(log_error),
        "reference.tv_weight": torch.tensor([tv_weight]),
    }


def _tv_weight(network: Autoencoder, slices: _Slices, config: Config) -> float:
    """Return the candidate under which a few normal slices change least."""
    some = torch.linspace(0, len(slices.images) - 1, min(4, len(slices.images))).long()
    images, inside = slices.images[some], _inside(slices, config)[some]
    changes = [
        float((restored(network, images, inside, weight, config) - images).abs().mean())
        for weight in config.tv_weights
    ]
    return config.tv_weights[int(np.argmin(changes))]


def _level_weight(level: NDArray[np.intp], levels: int) -> NDArray[np.float64]:
    """Return the weight of each slice in the mean at each level, (levels, n), rows of sum 1."""
    distance = (np.arange(levels)[:, None] - level[None]) / _LEVEL_BANDWIDTH
    nearest = np.abs(distance).min(axis=1, keepdims=True)  # so that no row is empty
    weight = np.exp(-0.5 * (distance**2 - nearest**2))
    return weight / weight.sum(axis=1, keepdims=True)


def _held_out(examples: Sequence[Example], part: float, seed: int) -> set[str]:
    """Return the subjects the network is not trained on; none where there are too few."""
    subjects = sorted({example.subject for example in examples})
    count = min(max(1, round(part * len(subjects))), len(subjects) - 2) if part > 0 else 0
    order = np.random.default_rng(seed).permutation(len(subjects))
    return {subjects[index] for index in order[: max(0, count)]}


def _slices(examples: Sequence[Example], config: Config) -> _Slices:
    """Return the usable slices."""
    size = (config.levels, config.rows, config.columns)
    if any(example.prepared.images.shape != size for example in examples):
        raise ModelError("an example is not on the detector's working grid")
    empty = (0, *size[1:])
    images = [np.zeros(empty, np.float32), *(e.prepared.images[e.usable] for e in examples)]
    brain = [np.zeros(empty, np.bool_), *(e.prepared.brain[e.usable] for e in examples)]
    level = [np.zeros(0, np.intp), *(np.flatnonzero(e.usable) for e in examples)]
    return _Slices(
        torch.from_numpy(np.concatenate(images))[:, None],
        torch.from_numpy(np.concatenate(brain))[:, None],
        np.concatenate(level),
    )


def _inside(slices: _Slices, config: Config) -> Tensor:
    return torch.from_numpy(_eroded(slices.brain[:, 0].numpy(), config.erosion))[:, None]


def _eroded(brain: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return the brain less `pixels` of its rim, in-plane; all of it where nothing were left."""
    if pixels == 0:
        return brain
    eroded = cast("NDArray[np.bool_]", ndimage.binary_erosion(brain, _IN_PLANE, iterations=pixels))
    return np.where(eroded.any(axis=(1, 2), keepdims=True), eroded, brain)


def _network(tensors: Mapping[str, Tensor], config: Config, device: str) -> Autoencoder:
    with seeded(0):
        network = Autoencoder(config)
    state = {
        key: take(tensors, f"network.{key}", tuple(value.shape)).to(value.dtype)
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.requires_grad_(requires_grad=False).to(device).eval()


def _stored(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return (value.half() if value.is_floating_point() else value).contiguous()


def _single(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _check(config: Config) -> None:
    """Refuse settings that do not fit together.

    Raises:
        ModelError: if a choice is not known or the image cannot be halved that often.
    """
    scale = 2 ** len(config.channels)
    if config.rows % scale or config.columns % scale:
        raise ModelError(f"rows and columns must be multiples of {scale}")
    choices = ((config.kind, ("ae", "vae")), (config.loss, ("l1", "l2_ssim")))
    if any(value not in known for value, known in choices):
        raise ModelError("the autoencoder's kind or loss is not known")
    if config.map not in {"residual", "restoration"}:
        raise ModelError("the autoencoder's map is not known")
