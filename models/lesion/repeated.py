"""Repeated cross-validation of ensembles, the length of training chosen where no tested patient is.

In each outer fold of each partition of the patients:

1. For every other fold, one autoencoder is trained on the patients of neither fold and kept at each
   length; a classifier of its codes scores the patients of the other fold. The length whose
   scores rank these patients best is taken, the shortest of equals. What is left out for one of two
   folds is left out for the other, so their pair shares its network.
2. So many members, of different random numbers, are trained to that length on all training
   patients of the fold. A patient's score is the mean logit over members.

A patient has one score of each partition, and their mean over partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import ModelError
from models.evaluation.intervals import area
from models.lesion import training
from models.lesion.config import Config
from models.lesion.crossvalidation import (
    FOLDS,
    CrossValidated,
    Fold,
    Given,
    PatientScores,
    Split,
    by_patient,
    fold,
    gathered,
    splits,
)
from models.lesion.lesions import Lesion, labels
from models.training.loop import Run, quiet

_T = TypeVar("_T")

_PARTITION_SEEDS, _MEMBER_SEEDS, _INNER_SEED = 10_000, 100, 5_000


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is repeated.

    Attributes:
        lengths: steps of the autoencoder to choose from; of one, nothing is chosen.
        members: networks of an ensemble.
        partitions: of the patients into folds.
        jobs: processes; they change nothing but the time.
    """

    lengths: tuple[int, ...]
    members: int = 1
    partitions: int = 1
    jobs: int = 1

    def check(self) -> None:
        """Refuse a protocol that is none.

        Raises:
            ModelError: naming the rule broken.
        """
        if not self.lengths or min(self.lengths) < 1 or len(set(self.lengths)) < len(self.lengths):
            raise ModelError("lengths of training are different and at least 1 step")
        if min(self.members, self.partitions, self.jobs) < 1:
            raise ModelError("members, partitions and jobs are at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """What ensembles did in the folds of one partition.

    Attributes:
        lengths: chosen in each fold.
        inner: AUROC of each length, shortest first, among each fold's inner patients, (folds,
            lengths); NaN where there was nothing to choose.
        frozen, joint: each member's logits, (members, n), by codes alone and jointly tuned.
        similarity, error, divergence: SSIM, mean squared error and KL in nats of each patch, mean
            over members, (n,).
        codes: of each network, all patches, before any label.
    """

    lengths: tuple[int, ...]
    inner: NDArray[np.float64]
    frozen: NDArray[np.float64]
    joint: NDArray[np.float64]
    similarity: NDArray[np.float64]
    error: NDArray[np.float64]
    divergence: NDArray[np.float64]
    codes: tuple[NDArray[np.float64], ...]


def repeat(
    lesions: Sequence[Lesion],
    unlabelled: Sequence[Lesion],
    config: Config,
    run: Run,
    protocol: Protocol,
    folds: int = FOLDS,
    trials: int = 0,
) -> tuple[CrossValidated, tuple[Partition, ...]]:
    """Return how ensembles of a kind do on patients they have not seen, and each partition.

    Args:
        lesions, unlabelled, run, folds, trials: as `crossvalidation.cross_validate`.
        config: settings; the rate falls over the longest of the lengths, not over its steps.
        protocol: what is repeated.

    Raises:
        ModelError: as `cross_validate`, or if the protocol is none.
    """
    protocol.check()
    if len(protocol.lengths) > 1 and folds < 3:
        raise ModelError("a length is chosen by other folds: three folds at least")
    own = replace(config, steps=max(protocol.lengths))
    given = gathered(lesions, unlabelled, own)
    found: list[Partition] = []
    for number in range(protocol.partitions):
        parts = splits(lesions, folds, run.seed + number)
        seeded = replace(run, seed=run.seed + number * _PARTITION_SEEDS)
        found.append(partition(given, parts, own, seeded, protocol, trials))
        run.progress("partitions", number + 1, protocol.partitions)

    def over(values: Callable[[Partition], NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.mean([values(one) for one in found], axis=0)

    joint = over(lambda one: one.joint.mean(axis=0))
    whole = CrossValidated(
        own,
        by_patient(lesions, over(lambda one: one.frozen.mean(axis=0))),
        by_patient(lesions, joint),
        joint,
        over(lambda one: one.similarity),
        over(lambda one: one.error),
        over(lambda one: one.divergence),
        tuple(codes for one in found for codes in one.codes),
        tuple(replace(own, steps=length) for one in found for length in one.lengths),
    )
    return whole, tuple(found)


def partition(
    given: Given,
    parts: Sequence[Split],
    config: Config,
    run: Run,
    protocol: Protocol,
    trials: int = 0,
) -> Partition:
    """Return what ensembles do in the folds of one partition.

    Args:
        given: all patches.
        parts: the folds.
        config: settings; its steps are the longest length.
        run: seed of the partition; the scale of steps.
        protocol: lengths, members, jobs.
        trials: of each network's search for the classifier's settings.
    """
    silent = replace(run, progress=quiet, log=quiet)
    lengths = tuple(sorted(protocol.lengths))
    inner = np.full((len(parts), len(lengths)), np.nan)
    with _Workers(protocol.jobs) as workers:
        if len(lengths) > 1:
            pairs = list(combinations(range(len(parts)), 2))
            seeds = [run.seed + _INNER_SEED + place for place in range(len(pairs))]
            scored = workers.map(
                _both_left_out,
                [
                    (given, parts[a][1], parts[b][1], config, replace(silent, seed=seed), lengths)
                    for (a, b), seed in zip(pairs, seeds, strict=True)
                ],
            )
            by_pair = dict(zip(pairs, scored, strict=True))
            inner = np.array([_ranked(given, parts, by_pair, own) for own in range(len(parts))])
        chosen = tuple(lengths[int(np.argmax(row))] for row in inner)
        asked = [
            (given, split, config,
             replace(silent, seed=run.seed + _MEMBER_SEEDS * member + place), trials, length)
            for place, (split, length) in enumerate(zip(parts, chosen, strict=True))
            for member in range(protocol.members)
        ]  # fmt: skip
        done = workers.map(fold, asked)
    return _joined(given, parts, protocol.members, chosen, inner, done)


def members(lesions: Sequence[Lesion], logits: NDArray[np.float64]) -> tuple[PatientScores, ...]:
    """Return the scores of each member alone, of logits (members, n)."""
    return tuple(by_patient(lesions, row) for row in logits)


def _both_left_out(
    given: Given,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    config: Config,
    run: Run,
    lengths: Sequence[int],
) -> NDArray[np.float64]:
    """Return logits of two folds by a network that saw neither, (lengths, n); NaN elsewhere."""
    held = np.concatenate([first, second])
    seen = np.setdiff1d(np.arange(len(given.lesions)), held)
    labelled = [given.lesions[index] for index in seen]
    truth, weights = torch.from_numpy(labels(labelled)), training.balanced(labelled)
    stages = training.fit_stages(
        torch.cat([given.patches[seen], given.extra]),
        training.by_patient([*labelled, *given.unlabelled]),
        config,
        run,
        lengths,
    )
    found = np.full((len(lengths), len(given.lesions)), np.nan)
    for row, network in enumerate(stages):
        codes = training.encoded(network, given.patches)
        classifier = training.fit_classifier(codes[seen], truth, weights, config, run.seed)
        with torch.inference_mode():
            found[row, held] = classifier(codes[held]).double().numpy()
    return found


def _ranked(
    given: Given,
    parts: Sequence[Split],
    by_pair: dict[tuple[int, int], NDArray[np.float64]],
    own: int,
) -> list[float]:
    """Return the AUROC of each length among the patients of a fold's training side."""
    train = parts[own][0]
    logits = np.full_like(next(iter(by_pair.values())), np.nan)
    for other, (_, test) in enumerate(parts):
        if other != own:
            logits[:, test] = by_pair[min(own, other), max(own, other)][:, test]
    lesions = [given.lesions[index] for index in train]
    scores = [by_patient(lesions, row[train]) for row in logits]
    return [area(one.logits[~one.truth], one.logits[one.truth]) for one in scores]


def _joined(
    given: Given,
    parts: Sequence[Split],
    count: int,
    chosen: tuple[int, ...],
    inner: NDArray[np.float64],
    done: Sequence[Fold],
) -> Partition:
    shape = (count, len(given.lesions))
    frozen, joint, similarity, error, divergence = (np.zeros(shape) for _ in range(5))
    for place, one in enumerate(done):
        member, test = place % count, parts[place // count][1]
        frozen[member, test], joint[member, test] = one.frozen, one.joint
        similarity[member, test], error[member, test] = one.similarity, one.error
        divergence[member, test] = one.divergence
    return Partition(
        chosen,
        inner,
        frozen,
        joint,
        similarity.mean(axis=0),
        error.mean(axis=0),
        divergence.mean(axis=0),
        tuple(one.codes for one in done),
    )


class _Workers:
    """Processes that each train one network at a time; this process itself where there is one."""

    def __init__(self, jobs: int) -> None:
        self._pool = (
            ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,))
            if jobs > 1
            else None
        )

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[..., _T], asked: Sequence[tuple[object, ...]]) -> list[_T]:
        """Return the work on each of what is asked, in its order."""
        if self._pool is None:
            return [work(*one) for one in asked]
        return [future.result() for future in [self._pool.submit(work, *one) for one in asked]]
