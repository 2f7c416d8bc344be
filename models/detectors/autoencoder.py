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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.detectors.autoencoder_network import Autoencoder, Config, loss_of
from models.errors import ModelError, NotAssessable
from models.prepare import Prepared
from models.scoring import Example, Judgement
from models.tensors import take
from models.training.augment import Augmentation
from models.training.loop import Run, optimise, seeded
from models.training.slices import Slices, held_out

ARCHITECTURE = (
    "Strided convolutional autoencoder or variational autoencoder with a dense code; residual or "
    "restoration map; Mahalanobis distance of the code; reconstruction error against that expected"
)
QUESTIONS = {
    "residual": "Can the {anatomy} as a whole not be reproduced from what was learned of the "
    "reference scans?",
    "focal": "Is there a spot in the {anatomy} that cannot be reproduced?",
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


def fit(examples: Sequence[Example], config: Config, run: Run) -> dict[str, Tensor]:
    """Train the network on the examples' usable slices, and learn what it makes of normal scans.

    Returns:
        The network, float16, and ``reference.*``: mean code and expected log error of each level,
        precision of the code's offset, weight of total variation.

    Raises:
        ModelError: if the settings do not fit together, or there is no usable slice.
    """
    _check(config)
    held = held_out(examples, config.held_out, run.seed)
    shape = (config.levels, config.rows, config.columns)
    seen = Slices.of((one for one in examples if one.subject not in held), shape).needed()
    unseen = Slices.of((one for one in examples if one.subject in held), shape)
    drawn_from = seen.to(run.device)

    def batch(generator: torch.Generator, size: int) -> tuple[Tensor, ...]:
        return drawn_from.drawn(generator, size, _AUGMENTATION)[:1]

    with seeded(run.seed):
        network = Autoencoder(config)
    optimise(
        f"autoencoder-{config.kind}",
        network,
        loss_of(config),
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
            NotAssessable: if it shows no brain.
        """
        config = self.config
        if prepared.images.shape != (config.levels, config.rows, config.columns):
            raise ModelError("the images are not on the detector's working grid")
        images = torch.from_numpy(prepared.images)[:, None]
        inside = torch.from_numpy(_eroded(prepared.brain, config.erosion))[:, None]
        found = _described(self.network, images, inside)
        pixels = inside.sum((1, 2, 3)).numpy()
        seen = pixels > 0  # a level without brain says nothing
        if not seen.any():
            raise NotAssessable("there is hardly any brain in the slices")
        offset = found.code - self.mean
        squared = np.einsum("ld,de,le->l", offset, self.precision, offset)
        difference = found.difference
        if config.map == "restoration":
            difference = self._change(images, inside)
        shown = np.abs(difference)
        if config.sign:
            shown = np.maximum(config.sign * difference, 0.0)
        strange = cast("NDArray[np.float32]", ndimage.median_filter(shown, config.median)) * inside[
            :, 0
        ].numpy().astype(np.float32)
        error = found.error + config.beta * found.divergence / np.maximum(pixels, 1)
        deviation = np.abs(np.log(found.error + _TINY) - self.log_error)
        return Judgement(
            {
                "residual": float(error[seen].mean()),
                "focal": float(np.quantile(strange[inside[:, 0].numpy()], 0.99)),
                "latent": float(np.sqrt(np.maximum(squared[seen], 0.0)).mean()),
                "deviation": float(deviation[seen].mean()),
            },
            strange,
        )

    def _change(self, images: Tensor, inside: Tensor) -> NDArray[np.float32]:
        """Return x - x_restored, (levels, rows, columns)."""
        parts = [
            part[0] - restored(self.network, *part, self.tv_weight, self.config)
            for part in zip(images.split(_BATCH), inside.split(_BATCH), strict=True)
        ]
        return torch.cat(parts)[:, 0].numpy()


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


class _Described(NamedTuple):
    """Slices as the network sees them.

    Code (n, latent), mean |x - x_hat| (n,), divergence (n,), x - x_hat (n, rows, columns).
    """

    code: NDArray[np.float64]
    error: NDArray[np.float64]
    divergence: NDArray[np.float64]
    difference: NDArray[np.float32]


def _described(network: Autoencoder, images: Tensor, inside: Tensor) -> _Described:
    device = next(network.parameters()).device
    with torch.inference_mode():
        outputs = [network(part.to(device)) for part in images.split(_BATCH)]
    image = torch.cat([output.image for output in outputs]).cpu()
    difference = (images - image) * inside
    error = difference.abs().sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp_min(1)
    code = torch.cat([output.mean for output in outputs]).cpu()
    divergence = torch.cat([output.divergence for output in outputs]).cpu()
    return _Described(
        code.double().numpy(),
        error.double().numpy(),
        divergence.double().numpy(),
        difference[:, 0].numpy(),
    )


def _reference(
    network: Autoencoder, seen: Slices, unseen: Slices, config: Config
) -> dict[str, Tensor]:
    """Return what the scorer holds a scan against.

    Means are smoothed over neighbouring levels. The error's profile is that of all the slices seen
    in training, raised by what the held-out scans have above it: a network reproduces what it was
    trained on better than a new scan.
    """
    from sklearn.covariance import LedoitWolf

    known = _described(network, seen.images, _inside(seen, config))
    weight = _level_weight(seen.level.numpy(), config.levels)  # (levels, n)
    mean, level = weight @ known.code, seen.level.numpy()
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


def _tv_weight(network: Autoencoder, slices: Slices, config: Config) -> float:
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


def _inside(slices: Slices, config: Config) -> Tensor:
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
    if config.map not in {"residual", "restoration"} or config.sign not in {-1, 0, 1}:
        raise ModelError("the autoencoder's map or its sign is not known")
