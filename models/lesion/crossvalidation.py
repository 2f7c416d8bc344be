"""Cross-validation by patient: everything that sees a label stays inside the fold's training side.

In each outer fold the autoencoder is trained without labels on the fold's training patients (and on
patients without a label, who are in no fold); the classifier's settings are searched for in inner
folds of those patients; then the rounds of joint tuning run, again on them alone. A patient's score
is the mean logit of the patient's patches, by networks that never saw the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.evaluation.intervals import Figure, auroc, proportion
from models.evaluation.patients import delong_auroc
from models.lesion import losses, search, training
from models.lesion.config import Config
from models.lesion.lesions import Lesion, labels, owners, tensor
from models.training.loop import Run

FOLDS = 5

Split = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices of patches to train on, and to test on."""


@dataclass(frozen=True, slots=True, eq=False)
class PatientScores:
    """One score a patient.

    Attributes:
        names: of the patients, sorted.
        truth: bool, (patients,): malignant.
        logits: (patients,).
    """

    names: tuple[str, ...]
    truth: NDArray[np.bool_]
    logits: NDArray[np.float64]

    @property
    def delong(self) -> Figure:
        """AUROC with DeLong's interval."""
        return delong_auroc(self.logits[~self.truth], self.logits[self.truth])

    @property
    def bootstrap(self) -> Figure:
        """AUROC with a stratified bootstrap interval."""
        return auroc(self.logits[~self.truth], self.logits[self.truth])

    @property
    def accuracy(self) -> Figure:
        """The part on the right side of a logit of 0, which weighs both classes the same."""
        return proportion([bool(one) for one in (self.logits > 0) == self.truth])


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidated:
    """What a kind of model did on patients that it had not seen.

    Attributes:
        config: settings before the search.
        frozen: classifier on codes of the autoencoder alone.
        joint: after the rounds of joint tuning.
        patch_logits: of `joint`, (n,), to look into; not independent.
        similarity, error, divergence: SSIM, mean squared error and KL in nats of each patch, (n,).
        codes: for each fold's autoencoder, before any label, the codes of all patches.
        chosen: the classifier's settings in each fold.
    """

    config: Config
    frozen: PatientScores
    joint: PatientScores
    patch_logits: NDArray[np.float64]
    similarity: NDArray[np.float64]
    error: NDArray[np.float64]
    divergence: NDArray[np.float64]
    codes: tuple[NDArray[np.float64], ...]
    chosen: tuple[Config, ...]


class Given(NamedTuple):
    """What every fold is cut from.

    Attributes:
        lesions: labelled, in the order of `patches`.
        unlabelled: in the order of `extra`; their patients are in no fold.
        patches, extra: as the network takes them.
    """

    lesions: tuple[Lesion, ...]
    unlabelled: tuple[Lesion, ...]
    patches: Tensor
    extra: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """What one network did on the patches it was tested on; attributes as in `CrossValidated`.

    Attributes:
        frozen, joint: logits of the tested patches.
        similarity, error, divergence: of the same.
        codes: of all labelled patches, before any label.
        chosen: settings of the classifier.
    """

    frozen: NDArray[np.float64]
    joint: NDArray[np.float64]
    similarity: NDArray[np.float64]
    error: NDArray[np.float64]
    divergence: NDArray[np.float64]
    codes: NDArray[np.float64]
    chosen: Config


def splits(lesions: Sequence[Lesion], folds: int = FOLDS, seed: int = 0) -> list[Split]:
    """Return folds of patches: no patient on both sides, classes in proportion.

    Raises:
        ModelError: if a class has fewer patients than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    truth, whose = labels(lesions), owners(lesions)
    for value in (0.0, 1.0):
        patients = len(np.unique(whose[truth == value]))
        if patients < folds:
            raise ModelError(
                f"{folds} folds need {folds} patients of each class; one has {patients}"
            )
    maker = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [(train, test) for train, test in maker.split(truth, truth, whose)]


def by_patient(lesions: Sequence[Lesion], logits: NDArray[np.float64]) -> PatientScores:
    """Return the mean logit of each patient's patches.

    A patient with benign and malignant lesions counts once among each.
    """
    whose, truth = owners(lesions), labels(lesions) > 0
    keys = sorted(set(zip(whose.tolist(), truth.tolist(), strict=True)))
    means = [logits[(whose == name) & (truth == side)].mean() for name, side in keys]
    return PatientScores(
        tuple(name for name, _ in keys), np.array([side for _, side in keys]), np.array(means)
    )


def averaged(scores: Sequence[PatientScores]) -> PatientScores:
    """Return the mean logit of each patient, of scores of the same patients."""
    first = scores[0]
    return replace(first, logits=np.mean([one.logits for one in scores], axis=0))


def cross_validate(
    lesions: Sequence[Lesion],
    unlabelled: Sequence[Lesion],
    config: Config,
    run: Run,
    folds: int = FOLDS,
    trials: int = 0,
) -> CrossValidated:
    """Return how a kind of model does on patients it has not seen.

    Args:
        lesions: labelled patches.
        unlabelled: help the autoencoder alone; their patients are in no fold.
        config: settings.
        run: seed; the scale of steps.
        folds: outer ones.
        trials: of the search for the classifier's settings in each fold; 0 takes `config`'s.

    Raises:
        ModelError: if there are too few patients, or a patient is labelled and unlabelled.
    """
    given = gathered(lesions, unlabelled, config)
    count = len(lesions)
    frozen, joint = np.zeros(count), np.zeros(count)
    similarity, error, divergence = np.zeros(count), np.zeros(count), np.zeros(count)
    codes: list[NDArray[np.float64]] = []
    chosen: list[Config] = []
    for number, split in enumerate(splits(lesions, folds, run.seed)):
        own = replace(run, seed=run.seed + number)
        found = fold(given, split, config, own, trials)
        test = split[1]
        frozen[test], joint[test] = found.frozen, found.joint
        similarity[test], error[test] = found.similarity, found.error
        divergence[test] = found.divergence
        codes.append(found.codes)
        chosen.append(found.chosen)
        run.progress("folds", number + 1, folds)
    return CrossValidated(
        config,
        by_patient(lesions, frozen),
        by_patient(lesions, joint),
        joint,
        similarity,
        error,
        divergence,
        tuple(codes),
        tuple(chosen),
    )


def gathered(lesions: Sequence[Lesion], unlabelled: Sequence[Lesion], config: Config) -> Given:
    """Return what every fold is cut from.

    Raises:
        ModelError: if a patient is labelled and unlabelled.
    """
    if set(owners(lesions).tolist()) & {one.patient for one in unlabelled}:
        raise ModelError("a patient is among the labelled and the unlabelled")
    patches = tensor([one.stack for one in lesions], config)
    extra = tensor([one.stack for one in unlabelled], config) if unlabelled else patches[:0]
    return Given(tuple(lesions), tuple(unlabelled), patches, extra)


def fold(
    given: Given, split: Split, config: Config, run: Run, trials: int, length: int = 0
) -> Fold:
    """Return what one network does on the patches that a split tests.

    Args:
        given: all patches.
        split: to train on, and to test on.
        config: settings.
        run: seed; the scale of steps.
        trials: of the search for the classifier's settings; 0 takes `config`'s.
        length: the step after which the autoencoder's training stops; 0 for `config.steps`.
    """
    train, test = split
    patches, labelled = given.patches, [given.lesions[index] for index in train]
    network = training.fit_stages(
        torch.cat([patches[train], given.extra]),
        training.by_patient([*labelled, *given.unlabelled]),
        config,
        run,
        (length or config.steps,),
    )[0]
    images = training.reconstructed(network, patches[test])
    similarity = losses.structural_similarity(images, patches[test]).numpy()
    error = ((images - patches[test]) ** 2).flatten(1).mean(1).numpy()
    codes = training.encoded(network, patches).double().numpy()
    divergence = _divergence(network, patches[test], config)
    best = config
    if trials:
        best = search.classifier(
            torch.from_numpy(codes[train]).float(), labelled, config, trials, run.seed
        )
    alone = training.tuned(network, patches[train], labelled, replace(best, rounds=0), run)
    frozen = alone.logits(patches[test])
    joint = frozen
    if best.rounds:
        joint = training.tuned(network, patches[train], labelled, best, run).logits(patches[test])
    return Fold(frozen, joint, similarity, error, divergence, codes, best)


def _divergence(
    network: training.LesionNetwork, patches: Tensor, config: Config
) -> NDArray[np.float64]:
    with torch.inference_mode():
        return losses.divergence(network.encode(patches), config).double().numpy()
