"""Assessment: both kinds of lesion model beside their floors, in the same patient-grouped folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.evaluation.comparison import Comparison, delong_test
from models.evaluation.intervals import Figure, mean
from models.lesion import clusters, disentanglement, factors, floors, model, repeated, search
from models.lesion.clusters import Clustering
from models.lesion.config import KINDS, Config
from models.lesion.crossvalidation import (
    FOLDS,
    CrossValidated,
    PatientScores,
    averaged,
    cross_validate,
    splits,
)
from models.lesion.disentanglement import Disentanglement
from models.lesion.lesions import Lesion, labels, owners
from models.lesion.model import Calibration
from models.lesion.repeated import Partition, Protocol
from models.training.loop import Run

ABLATIONS: Mapping[str, Mapping[str, float | int]] = {
    "whole loss": {},
    "without SSIM": {"alpha": 1.0},
    "without L1": {"alpha": 0.0},
    "without the divergence": {"beta": 0.0},
    "capacity 0: plain beta-VAE": {"capacity": 0.0},
}
"""What is left out -> the settings that leave it out."""


@dataclass(frozen=True, slots=True, eq=False)
class Ablation:
    """The model with a part of its loss left out; intervals over patients.

    Attributes:
        name: of `ABLATIONS`.
        similarity, error: SSIM and mean squared error, mean over patients.
        divergence: mean KL in nats.
        frozen, joint: scores without and with joint tuning.
    """

    name: str
    similarity: Figure
    error: Figure
    divergence: float
    frozen: PatientScores
    joint: PatientScores


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of latent.

    Attributes:
        result: of the cross-validation.
        similarity, error: SSIM and mean squared error of unseen patients' patches.
        clusterings: of the first fold's autoencoder, all patches.
        calibration: Platt's scaling of the jointly tuned logits of unseen patients.
        against, alone_against: floor -> AUROC less that of the floor, paired by patients (DeLong),
            of the jointly tuned model and of codes alone.
        partitions: where the cross-validation was repeated.
        members: of each partition, each network of the ensemble by itself: codes alone, joint.
    """

    result: CrossValidated
    similarity: Figure
    error: Figure
    clusterings: tuple[Clustering, ...]
    calibration: Calibration
    against: Mapping[str, Comparison]
    alone_against: Mapping[str, Comparison]
    partitions: tuple[Partition, ...] = ()
    members: tuple[tuple[tuple[PatientScores, ...], tuple[PatientScores, ...]], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What is known of the lesion model on a set.

    Attributes:
        patches, patients: numbers of both, benign and malignant.
        unlabelled: patches that only the autoencoder saw.
        floors: by name.
        kinds: by name.
        disentanglement: Gaussian first, Dirichlet second; None where one kind was left out.
        ablations: of the first kind.
        trials: of the autoencoder's search.
    """

    patches: tuple[int, int]
    patients: tuple[int, int]
    unlabelled: int
    floors: Mapping[str, PatientScores]
    kinds: Mapping[str, Kind]
    disentanglement: Disentanglement | None
    ablations: tuple[Ablation, ...]
    trials: tuple[Mapping[str, float], ...]


def assess(
    lesions: Sequence[Lesion],
    unlabelled: Sequence[Lesion],
    config: Config,
    run: Run,
    *,
    kinds: Sequence[str] = KINDS,
    folds: int = FOLDS,
    trials: int = 8,
    network_trials: int = 0,
    ablation_scale: float = 0.0,
    resamples: int = 500,
    protocol: Protocol | None = None,
) -> Assessment:
    """Return what the model does on patients it has not seen.

    Args:
        lesions: benign and malignant patches.
        unlabelled: patches of other patients, for the autoencoder alone.
        config: settings; `kind` is replaced.
        run: seed, scale of the steps.
        kinds: which.
        folds: outer ones.
        trials: of each fold's search for the classifier's settings.
        network_trials: of the search for the autoencoder's settings on `unlabelled`, with a third
            of the steps; 0 takes `config`'s.
        ablation_scale: the part of the steps that each ablation takes; 0 leaves them out.
        resamples: of the disentanglement.
        protocol: ensembles, in repeated cross-validation; None for one network a fold.

    Raises:
        ModelError: as `cross_validate`.
    """
    truth, whose = labels(lesions), owners(lesions)
    measured = factors.measured(lesions)
    groupings = {
        "malignancy": truth.astype(np.int64),
        "size": clusters.thirds(measured[:, 0]),
        clusters.PATIENT: np.unique(whose, return_inverse=True)[1].astype(np.int64),
    }
    several = range(protocol.partitions if protocol else 1)
    parts = [floors.floors(lesions, splits(lesions, folds, run.seed + one)) for one in several]
    beside = {name: averaged([one[name] for one in parts]) for name in parts[0]}
    found: dict[str, Kind] = {}
    told: list[Mapping[str, float]] = []
    for name in kinds:
        own = replace(config, kind=name)
        if network_trials:
            short = replace(run, steps_scale=run.steps_scale / 3)
            own, tried = search.network(unlabelled, own, network_trials, short)
            told += tried
        partitions: tuple[Partition, ...] = ()
        if protocol is None:
            result = cross_validate(lesions, unlabelled, own, run, folds, trials)
        else:
            result, partitions = repeated.repeat(
                lesions, unlabelled, own, run, protocol, folds, trials
            )
        found[name] = Kind(
            result,
            _per_patient(result.similarity, whose, run.seed),
            _per_patient(result.error, whose, run.seed),
            tuple(clusters.clusterings(result.codes[0], groupings, whose, run.seed)),
            model.calibrate(result.joint.logits, result.joint.truth, run.seed),
            {floor: _paired(result.joint, one) for floor, one in beside.items()},
            {floor: _paired(result.frozen, one) for floor, one in beside.items()},
            partitions,
            tuple(
                (repeated.members(lesions, one.frozen), repeated.members(lesions, one.joint))
                for one in partitions
            ),
        )
    first = next(iter(found.values())).result.config
    compared = None
    if set(KINDS) <= set(found):
        gaussian, dirichlet = (found[name].result.codes for name in KINDS)
        compared = disentanglement.compare(
            gaussian, dirichlet, measured, whose, run.seed, resamples
        )
    ablations: list[Ablation] = []
    if ablation_scale:
        short = replace(run, steps_scale=run.steps_scale * ablation_scale)
        for name, change in ABLATIONS.items():
            one = cross_validate(lesions, unlabelled, replace(first, **change), short, folds)
            ablations.append(
                Ablation(
                    name,
                    _per_patient(one.similarity, whose, run.seed),
                    _per_patient(one.error, whose, run.seed),
                    float(one.divergence.mean()),
                    one.frozen,
                    one.joint,
                )
            )
    sides = [truth == value for value in (0.0, 1.0)]
    return Assessment(
        (int(sides[0].sum()), int(sides[1].sum())),
        (len(np.unique(whose[sides[0]])), len(np.unique(whose[sides[1]]))),
        len(unlabelled),
        beside,
        found,
        compared,
        tuple(ablations),
        tuple(told),
    )


def _per_patient(values: NDArray[np.float64], whose: NDArray[np.str_], seed: int) -> Figure:
    return mean([float(values[whose == name].mean()) for name in np.unique(whose)], seed)


def _paired(first: PatientScores, second: PatientScores) -> Comparison:
    truth = first.truth
    return delong_test(
        (first.logits[~truth], second.logits[~truth]), (first.logits[truth], second.logits[truth])
    )
