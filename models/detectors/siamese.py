"""Siamese autoencoder and one-class support vector machines on patches.

Latents in which the same place looks the same in every normal subject, and a boundary around what
is normal:

- Alaverdyan, Jung, Bouet and Lartizien, Regularized siamese neural network for unsupervised outlier
  detection on brain multiparametric MRI, Medical Image Analysis 2020: two patches of one place of
  two normal subjects, L = sum_t |x_t - x_hat_t|^2 - alpha cos(z_1, z_2); one one-class machine for
  each place (`population`).
- Pinon, Trombetta and Lartizien, One-class SVM on siamese neural network latent space, MIDL 2023
  (arXiv 2304.08058): the same latents, one machine for each patient, of that patient's own
  patches (`patient`). It assumes that lesions are a small part of the brain.

A place is a voxel of the working grid, which is centred on the brain and spans it in height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.detectors.siamese_boundary import Boundaries, Sample, fit_boundary, fit_places, packed
from models.detectors.siamese_network import Config, SiameseAutoencoder, siamese_loss
from models.detectors.siamese_patches import (
    Pairs,
    cerebrospinal_fluid,
    channels_of,
    framed,
    from_lattice,
    nearest_filled,
    normal_brain,
    on_lattice,
    patches_at,
    voxels_of,
)
from models.errors import ModelError
from models.finding import Region
from models.prepare import Prepared
from models.scoring import Example, Judgement, top_mean
from models.tensors import take
from models.training.loop import Run, optimise, seeded

ARCHITECTURE = (
    "siamese convolutional autoencoder of 15 x 15 patches; one-class support vector machines, RBF "
    "kernel, on its latents; Mahalanobis distance of the mean latent"
)
QUESTIONS = {
    "focal": "Is there a place whose texture is unlike that of a normal {anatomy}?",
    "latent_global": "Is the texture of the {anatomy} as a whole unlike that of the reference "
    "scans?",
}
LICENSED_WEIGHTS: tuple[str, ...] = ()
_BATCH = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """The latents of one scan's brain patches.

    Attributes:
        inside: bool, (levels, lattice rows, lattice columns): where they are.
        values: float32, (patches, latent), of the nodes of `inside` in order; float16's values.
        pooled: float64, (levels, latent): mean of each level, 0 where it has none.
        known: bool, (levels,): which levels have one.
    """

    inside: NDArray[np.bool_]
    values: NDArray[np.float32]
    pooled: NDArray[np.float64]
    known: NDArray[np.bool_]


def encode(
    network: SiameseAutoencoder,
    prepared: Prepared,
    where: NDArray[np.bool_],
    config: Config,
    device: str = "cpu",
) -> Latents:
    """Return the latents of the lattice's patches whose centre is in `where`."""
    images = framed(channels_of(prepared, config.shape, config.channels))[None]
    inside = on_lattice(where, config.step)
    nodes = np.argwhere(inside)
    found: list[Tensor] = []
    with torch.inference_mode():
        for places in voxels_of(nodes, config.step).split(_BATCH):
            patches = patches_at(images, torch.zeros(len(places), dtype=torch.long), places)
            found.append(network.encoder(patches.to(device)).half().float().cpu())
    values = torch.cat([torch.zeros(0, config.latent), *found]).numpy()
    pooled = np.zeros((config.levels, config.latent))
    np.add.at(pooled, nodes[:, 0], values)
    count = inside.sum((1, 2))
    return Latents(inside, values, pooled / np.maximum(count, 1)[:, None], count > 0)


def fit(examples: Sequence[Example], config: Config, run: Run) -> dict[str, Tensor]:
    """Train the autoencoder, then fit what is normal in its latents.

    Returns:
        ``network.*``, float16, which is what latents were computed with; ``global.mean`` (levels,
        latent), ``global.known`` (levels,) and ``global.precision`` (latent, latent); and for the
        ``population`` form ``svm.*`` and ``svm.machine``, int32 (levels, rows, columns of places).

    Raises:
        ModelError: if an image has the wrong shape or is not finite, no place is normal in two
            subjects, or the training diverged.
    """
    config = config.checked()
    pairs = Pairs(examples, config.shape, config.channels)
    with seeded(run.seed):
        network = SiameseAutoencoder(config.channels, config.filters)
    optimise(
        "siamese",
        network,
        partial(siamese_loss, alpha=config.alpha),
        pairs.batch,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warm_up=100,
        run=run,
    )
    del pairs
    weights = {f"network.{name}": value.half().cpu() for name, value in _plain(network).items()}
    network = _network(weights, config, run.device)
    latents: list[Latents] = []
    for number, example in enumerate(examples):
        where = normal_brain(example)
        latents.append(encode(network, example.prepared, where, config, run.device))
        run.progress("encode", number + 1, len(examples))
    tensors = weights | _whole(latents)
    if config.form == "population":
        tensors |= _population(latents, [example.subject for example in examples], config, run)
    return tensors


def _plain(network: SiameseAutoencoder) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.state_dict().items()}


def _whole(latents: Sequence[Latents]) -> dict[str, Tensor]:
    """Return the reference of the scan's mean latent.

    Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004.
    """
    # Only who fits needs scikit-learn.
    from sklearn.covariance import LedoitWolf

    known = np.stack([one.known for one in latents])  # (scans, levels)
    pooled = np.stack([one.pooled for one in latents])  # (scans, levels, latent)
    mean = pooled.sum(0) / np.maximum(known.sum(0), 1)[:, None]
    ever = np.asarray(known.any(0))
    offsets = np.stack([_offset(one, mean, ever) for one in latents if one.known.any()])
    precision = np.asarray(LedoitWolf(assume_centered=True).fit(offsets).precision_)
    return {
        "global.mean": torch.from_numpy(mean).float(),
        "global.known": torch.from_numpy(ever),
        "global.precision": torch.from_numpy(precision).float(),
    }


def _offset(
    latents: Latents, mean: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return a scan's mean offset from the reference, (latent,), over the levels both know."""
    both = latents.known & known
    return (latents.pooled - mean)[both].sum(0) / max(1, int(both.sum()))


def _population(
    latents: Sequence[Latents], subjects: Sequence[str], config: Config, run: Run
) -> dict[str, Tensor]:
    """Return one machine a place, and which machine judges each place."""
    sample = Sample.of([(one.inside, one.values) for one in latents], subjects)
    machine, found = fit_places(
        sample,
        config.nu,
        width=config.location // config.step,
        margin=config.margin,
        most=config.sample,
        seed=run.seed,
        progress=lambda done, total: run.progress("boundaries", done, total),
    )
    if not found:
        raise ModelError("no place has latents enough for a one-class machine")
    whole = nearest_filled(machine, machine >= 0, 1.0).astype(np.int32)
    return packed(found, "svm.") | {"svm.machine": torch.from_numpy(whole)}


def _network(tensors: Mapping[str, Tensor], config: Config, device: str) -> SiameseAutoencoder:
    network = SiameseAutoencoder(config.channels, config.filters)
    state = {
        name: take(tensors, f"network.{name}", tuple(value.shape)).float()
        for name, value in network.state_dict().items()
    }
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise ModelError("weights: the network holds values that are not finite")
    network.load_state_dict(state)
    return network.to(device).eval()


class SiameseScorer:
    """A fitted siamese detector; made by `scorer`."""

    def __init__(self, tensors: Mapping[str, Tensor], config: Config, device: str) -> None:
        self._config = config.checked()
        self._device = device
        self._network = _network(tensors, config, device)
        size = config.latent
        self._mean = take(tensors, "global.mean", (config.levels, size)).double().numpy()
        self._known = take(tensors, "global.known", (config.levels,)).bool().numpy()
        self._precision = take(tensors, "global.precision", (size, size)).double().numpy()
        if config.form == "population":
            self._boundaries = Boundaries.from_tensors(tensors, size, "svm.", device)
            rows, columns = (
                -(-config.rows // config.location),
                -(-config.columns // config.location),
            )
            machine = take(tensors, "svm.machine", (config.levels, rows, columns)).long()
            if int(machine.min()) < 0 or int(machine.max()) >= len(self._boundaries):
                raise ModelError("weights: a place has no one-class machine")
            self._machine = machine.numpy()

    def judge(self, prepared: Prepared) -> Judgement:
        """Return how strange a normalised scan is.

        The map is 1 + the signed distance to the boundary: 1 on it, over 1 outside, never under 0;
        0 off the brain and, with the prior, in cerebrospinal fluid.

        Raises:
            ModelError: if the images have the wrong shape, are not finite, or show no brain.
        """
        config = self._config
        latents = encode(self._network, prepared, prepared.brain, config, self._device)
        if not len(latents.values):
            raise ModelError("no patch of the scan lies in the brain")
        distance = self._distance(latents)
        lattice = np.zeros(latents.inside.shape, dtype=np.float32)
        lattice[latents.inside] = 1 + distance
        judged = self._judged(prepared)
        strangeness = from_lattice(lattice, latents.inside, config.shape, config.step) * judged
        offset = _offset(latents, self._mean, self._known)
        inside = strangeness[judged] if judged.any() else np.zeros(1, dtype=np.float32)
        scores = {
            "focal": top_mean(inside, config.focal_fraction),
            "latent_global": float(offset @ self._precision @ offset / len(offset)),
        }
        return Judgement(scores, strangeness)

    def _distance(self, latents: Latents) -> NDArray[np.float32]:
        config = self._config
        values = torch.from_numpy(latents.values).to(self._device)
        if config.form == "population":
            boundaries = self._boundaries
            level, row, column = np.nonzero(latents.inside)
            width = config.location // config.step
            machine = torch.from_numpy(self._machine[level, row // width, column // width])
        else:
            boundaries = patient_boundary(latents.values, config, self._device)
            machine = torch.zeros(len(values), dtype=torch.long)
        return boundaries.distance(values, machine.to(self._device)).cpu().numpy()

    def _judged(self, prepared: Prepared) -> NDArray[np.bool_]:
        config = self._config
        if not config.csf_prior:
            return prepared.brain
        images = channels_of(prepared, config.shape, config.channels).numpy()
        return prepared.brain & ~cerebrospinal_fluid(images, prepared.brain, config.csf_below)


def patient_boundary(
    latents: NDArray[np.float32], config: Config, device: str = "cpu"
) -> Boundaries:
    """Return the machine of a scan's own latents, of `patient_sample` of them, always the same."""
    drawn = np.random.default_rng(0).permutation(len(latents))[: config.patient_sample]
    return Boundaries.of([fit_boundary(latents[np.sort(drawn)], config.nu)], device)


def scorer(tensors: Mapping[str, Tensor], config: Config, device: str) -> SiameseScorer:
    """Return the scorer of what `fit` returned; a ``population`` bundle can judge in both forms.

    Raises:
        ModelError: if a tensor is missing, has another shape or contradicts another.
    """
    return SiameseScorer(tensors, config, device)


def mean_rank(regions: Sequence[Region], lesion: NDArray[np.bool_]) -> float:
    """Return the mean rank, among `regions`, of the first one that touches each lesion.

    Regions are ranked by mass, which is size x mean score (Alaverdyan, 2020, ranks clusters by
    both). A lesion that none touches counts as one rank after the last.

    Args:
        regions: of a finding.
        lesion: (slices, rows, columns), where lesions were drawn; face neighbours are one lesion.

    Raises:
        ValueError: if no lesion was drawn.
    """
    labels, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(lesion))
    if count == 0:
        raise ValueError("no lesion was drawn")
    ranks: dict[int, int] = {}
    for region in sorted(regions, key=lambda region: region.label):
        corner = zip(region.mask_offset, region.mask.shape, strict=True)
        box = tuple(slice(start, start + size) for start, size in corner)
        for label in np.unique(labels[box][region.mask]).tolist():
            ranks.setdefault(label, region.label)
    after = len(regions) + 1
    return sum(ranks.get(label, after) for label in range(1, count + 1)) / count
