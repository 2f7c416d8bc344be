"""Training: the autoencoder without labels, the classifier on its codes, and both in turn.

The turns are those of arXiv 2311.15719: the encoder with the label's cross-entropy added while the
classifier stands still, then the classifier alone on the new codes. Whoever measures must keep
these turns inside the training side of each fold: an autoencoder that has seen a patient's label
gives that patient's code away.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.errors import ModelError
from models.lesion import losses
from models.lesion.config import Config
from models.lesion.lesions import Lesion, labels, owners, tensor
from models.lesion.network import Classifier, LesionNetwork
from models.training.loop import Run, seeded

_SHIFT_PIXELS = 4
_AT_ONCE = 128


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A trained autoencoder with its classifier, both in evaluation mode."""

    network: LesionNetwork
    classifier: Classifier
    config: Config

    def codes(self, patches: Tensor) -> Tensor:
        """Return the mean code of each patch, (n, latent)."""
        return encoded(self.network, patches)

    def logits(self, patches: Tensor) -> NDArray[np.float64]:
        """Return each patch's logit of malignancy, not calibrated, (n,)."""
        with torch.inference_mode():
            return self.classifier(self.codes(patches)).double().numpy()


def encoded(network: LesionNetwork, patches: Tensor) -> Tensor:
    """Return the mean code of each patch, (n, latent)."""
    with torch.inference_mode():
        return torch.cat([network.encode(part).mean for part in patches.split(_AT_ONCE)])


def reconstructed(network: LesionNetwork, patches: Tensor) -> Tensor:
    """Return the reconstruction of each patch from its mean code."""
    with torch.inference_mode():
        return torch.cat([network(part).image for part in patches.split(_AT_ONCE)])


def fit_network(patches: Tensor, weights: Tensor, config: Config, run: Run) -> LesionNetwork:
    """Return an autoencoder trained on patches, drawn by `weights`, mirrored and shifted.

    Args:
        patches: in [0, 1], as `lesions.tensor` returns them.
        weights: how often each is drawn, (n,): a patient with many slices must not fill the batch.
        config: settings.
        run: seed, scale of the steps.

    Raises:
        ModelError: if the loss is no longer finite.
    """
    return fit_stages(patches, weights, config, run, (config.steps,))[0]


def fit_stages(
    patches: Tensor, weights: Tensor, config: Config, run: Run, lengths: Sequence[int]
) -> list[LesionNetwork]:
    """Return one autoencoder as it was after so many steps, for each length, shortest first.

    The rate falls over `config.steps` whatever the lengths are, so that a training that stops at a
    length is the same as one that goes on.

    Args:
        patches, weights, config, run: as `fit_network`.
        lengths: steps before the run's scale, each from 1 to `config.steps`.

    Raises:
        ModelError: if a length is out of range, or the loss is no longer finite.
    """
    if not lengths or min(lengths) < 1 or max(lengths) > config.steps:
        raise ModelError(f"a length of training lies between 1 and {config.steps} steps")
    stops = sorted(run.steps(length) for length in lengths)
    with seeded(run.seed):
        network = LesionNetwork(config)
        if config.dims == 2:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        steps = run.steps(config.steps)
        return _descend(network, patches, weights, None, None, steps, 0.0, run, stops)


def fit_classifier(
    codes: Tensor, truth: Tensor, weights: Tensor, config: Config, seed: int
) -> Classifier:
    """Return a classifier trained on fixed codes; both classes weigh the same."""
    with seeded(seed):
        classifier = Classifier(config)
        classifier.standardise(codes)
        train_classifier(classifier, codes, truth, weights, config)
    return classifier


def train_classifier(
    classifier: Classifier, codes: Tensor, truth: Tensor, weights: Tensor, config: Config
) -> None:
    """Train a classifier on fixed codes, (n, latent), all of them in each step."""
    classifier.train()
    optimiser = torch.optim.AdamW(
        classifier.parameters(), lr=1e-2, weight_decay=config.classifier_decay
    )
    for _ in range(config.classifier_steps):
        value = (
            functional.binary_cross_entropy_with_logits(classifier(codes), truth, reduction="none")
            * weights
        ).sum() / weights.sum()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    classifier.eval()


def balanced(lesions: Sequence[Lesion]) -> Tensor:
    """Return weights, (n,): each class the same, within it each patient, within that each patch."""
    whose, truth = owners(lesions), labels(lesions)
    found = np.zeros(len(lesions))
    for value in (0.0, 1.0):
        own = truth == value
        for patient in np.unique(whose[own]):
            those = own & (whose == patient)
            found[those] = 1.0 / those.sum() / len(np.unique(whose[own]))
    return torch.from_numpy(found / found.mean()).float()


def by_patient(lesions: Sequence[Lesion]) -> Tensor:
    """Return weights, (n,): one over the root of the number of the patient's patches."""
    _, index, counts = np.unique(owners(lesions), return_inverse=True, return_counts=True)
    return torch.from_numpy(1.0 / np.sqrt(counts[index])).float()


def fit(
    labelled: Sequence[Lesion], unlabelled: Sequence[Lesion], config: Config, run: Run
) -> Fitted:
    """Return an autoencoder and classifier of `labelled`; `unlabelled` help the autoencoder alone.

    Raises:
        ModelError: if a lesion has no label, one class is missing, or training diverges.
    """
    config.check()
    truth = torch.from_numpy(labels(labelled))
    if truth.min() == truth.max():
        raise ModelError("a classifier needs benign and malignant lesions")
    everything = [*labelled, *unlabelled]
    patches = tensor([one.stack for one in everything], config)
    network = fit_network(patches, by_patient(everything), config, run)
    return tuned(network, patches[: len(labelled)], labelled, config, run)


def tuned(
    network: LesionNetwork, patches: Tensor, labelled: Sequence[Lesion], config: Config, run: Run
) -> Fitted:
    """Return the classifier of a trained autoencoder, after the rounds of joint tuning.

    The network given is changed in place.
    """
    truth, weights = torch.from_numpy(labels(labelled)), balanced(labelled)
    classifier = fit_classifier(encoded(network, patches), truth, weights, config, run.seed)
    with seeded(run.seed + 1):
        for _ in range(config.rounds):
            _descend(
                network, patches, weights, truth, classifier,
                run.steps(config.joint_steps), 1.0, run,
            )  # fmt: skip
            codes = encoded(network, patches)
            classifier.standardise(codes)
            train_classifier(classifier, codes, truth, weights, config)
    return Fitted(network, classifier, config)


def _descend(
    network: LesionNetwork,
    patches: Tensor,
    weights: Tensor,
    truth: Tensor | None,
    classifier: Classifier | None,
    steps: int,
    progress: float,
    run: Run,
    stops: Sequence[int] = (),
) -> list[LesionNetwork]:
    """Train the network; with labels and a classifier, that stands still, jointly.

    Returns:
        The network as it was after each of `stops`; after the last of them training ends.
    """
    config = network.config
    rate = config.learning_rate * (0.3 if classifier else 1.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    network.train()
    kept: list[LesionNetwork] = []
    for step in range(max(stops, default=steps)):
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        index = torch.multinomial(weights, config.batch_size, replacement=True)
        batch = _moved(patches[index])
        found = network(batch)
        parts = losses.loss(found, batch, config, max(progress, step / steps))
        value = parts.total
        if truth is not None and classifier is not None:
            value = value + config.joint_weight * functional.binary_cross_entropy_with_logits(
                classifier(found.posterior.mean), truth[index]
            )
        if not bool(torch.isfinite(value)):
            raise ModelError(f"training of the lesion network diverged at step {step}")
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        run.progress("lesion network", step + 1, steps)
        run.log("lesion/loss", float(value.detach()), step)
        kept += [copy.deepcopy(network).eval() for stop in stops if stop == step + 1]
    network.eval()
    return kept


def _moved(batch: Tensor) -> Tensor:
    """Return patches mirrored left-right, each with a chance of a half, and shifted together."""
    flipped = torch.rand(len(batch)) < 0.5
    shape = (-1, *(1,) * (batch.ndim - 1))
    batch = torch.where(flipped.view(shape), batch.flip(-1), batch)
    down, right = (int(n) for n in torch.randint(-_SHIFT_PIXELS, _SHIFT_PIXELS + 1, (2,)))
    pad = (_SHIFT_PIXELS,) * 4
    planes = functional.pad(batch.flatten(1, -3), pad, mode="replicate")
    rows, columns = batch.shape[-2:]
    top, left = _SHIFT_PIXELS + down, _SHIFT_PIXELS + right
    return planes[:, :, top : top + rows, left : left + columns].reshape(batch.shape)
