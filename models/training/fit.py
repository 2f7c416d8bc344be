"""Fitting and calibrating the `features` detector on reference scans, leaving subjects out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from models.features import model
from models.features.config import FeaturesConfig
from models.features.model import Description, Reference


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """The features of one reference scan, and whose it is."""

    subject: str
    description: Description


def subjects(scans: Sequence[Described]) -> list[str]:
    """Return the subjects, sorted, each once."""
    return sorted({scan.subject for scan in scans})


def coresets(
    scans: Sequence[Described], config: FeaturesConfig, memory: int, seed: int
) -> dict[str, Tensor]:
    """Return for each subject the indices of a coreset of its patches (its scans concatenated).

    Greedy k-centre (Roth et al., CVPR 2022, algorithm 1), run a subject at a time on the subject's
    own scale: so leaving a subject out of the memory leaves out all that it contributed.
    """
    names = subjects(scans)
    count = memory // len(names)
    generator = torch.Generator().manual_seed(seed)
    return {
        name: _farthest_points(_own_scale(scans, name, config), count, generator)
        for name in names
    }


def _of(scans: Sequence[Described], name: str) -> list[Description]:
    return [scan.description for scan in scans if scan.subject == name]


def _own_scale(scans: Sequence[Described], name: str, config: FeaturesConfig) -> Tensor:
    own = _of(scans, name)
    patches = torch.cat([description.patches for description in own])
    mean, scale = patches.mean(0), patches.std(0).clamp_min(1e-6)
    return torch.cat(
        [model.standardise(description, mean, scale, config) for description in own]
    )


def _farthest_points(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    first = int(torch.randint(len(rows), (1,), generator=generator))
    chosen = [first]
    distance = ((rows - rows[first]) ** 2).sum(1)
    while len(chosen) < min(count, len(rows)):
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = torch.minimum(distance, ((rows - rows[farthest]) ** 2).sum(1))
    return torch.tensor(sorted(chosen))


def fit(
    scans: Sequence[Described], chosen: Mapping[str, Tensor], config: FeaturesConfig
) -> Reference:
    """Return the reference of `scans`, every subject weighing the same."""
    names = subjects(scans)
    subject_means = [
        torch.stack([description.pooled for description in _of(scans, name)]).mean(0)
        for name in names
    ]
    level_mean = torch.stack(subject_means).mean(0)
    offsets = torch.cat([scan.description.pooled - level_mean for scan in scans])
    covariance = LedoitWolf(assume_centered=True).fit(offsets.double().numpy())
    patches = [torch.cat([d.patches for d in _of(scans, name)]) for name in names]
    mean = torch.stack([rows.mean(0) for rows in patches]).mean(0)
    square = torch.stack([(rows**2).mean(0) for rows in patches]).mean(0)
    scale = (square - mean**2).clamp_min(1e-12).sqrt()
    memory = [
        torch.cat([model.standardise(d, mean, scale, config) for d in _of(scans, name)])[
            chosen[name]
        ]
        for name in names
    ]
    return Reference(
        level_mean,
        torch.from_numpy(np.asarray(covariance.precision_, dtype=np.float32)),
        mean,
        scale,
        torch.cat(memory).half(),
    )
