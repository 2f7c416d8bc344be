"""What the `features` detector learns of described reference scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
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


def of(scans: Sequence[Described], subject: str) -> list[Description]:
    """Return a subject's scans."""
    return [scan.description for scan in scans if scan.subject == subject]


def coresets(
    scans: Sequence[Described], config: FeaturesConfig, seed: int, memo: dict[Any, Any]
) -> dict[str, Tensor]:
    """Return for each subject the indices of a coreset of its patches (its scans concatenated).

    Greedy k-centre (Roth et al., CVPR 2022, algorithm 1), run a subject at a time on the subject's
    own scale: so leaving a subject out of the memory leaves out all that it contributed. Each
    subject's coreset is kept in `memo`, nested: the first points are those of a smaller one.
    """
    names = subjects(scans)
    count = config.memory // len(names)
    chosen: dict[str, Tensor] = {}
    for name in names:
        key = ("features-coreset", name, tuple(id(one) for one in of(scans, name)))
        if key not in memo or len(memo[key]) < count:
            patches = torch.cat([description.patches for description in of(scans, name)])
            mean, scale = patches.mean(0), patches.std(0).clamp_min(1e-6)
            rows = _rows(of(scans, name), mean, scale, config)
            # A quarter more than wanted: leaving subjects out gives each of the others a few more.
            generator = torch.Generator().manual_seed(seed)
            memo[key] = _farthest_points(rows, count + count // 4 + 1, generator)
        chosen[name] = memo[key][:count]
    return chosen


def _rows(
    own: Sequence[Description], mean: Tensor, scale: Tensor, config: FeaturesConfig
) -> Tensor:
    return torch.cat([model.rows(one, mean, scale, config) for one in own])


def _farthest_points(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    newest = int(torch.randint(len(rows), (1,), generator=generator))
    chosen = [newest]
    distance = torch.full((len(rows),), torch.inf)
    while len(chosen) < min(count, len(rows)):
        distance = torch.minimum(distance, ((rows - rows[newest]) ** 2).sum(1))
        newest = int(distance.argmax())
        chosen.append(newest)
    return torch.tensor(chosen)


def fit_reference(
    scans: Sequence[Described], chosen: Mapping[str, Tensor], config: FeaturesConfig
) -> Reference:
    """Return the reference of `scans`, every subject weighing the same in the means."""
    names = subjects(scans)
    level_mean = _level_mean(scans)
    patches = [torch.cat([one.patches for one in of(scans, name)]) for name in names]
    mean = torch.stack([rows.mean(0) for rows in patches]).mean(0)
    square = torch.stack([(rows**2).mean(0) for rows in patches]).mean(0)
    scale = (square - mean**2).clamp_min(1e-12).sqrt()
    memory = [_rows(of(scans, name), mean, scale, config)[chosen[name]] for name in names]
    return Reference(
        level_mean, _precision(scans, level_mean), mean, scale, torch.cat(memory).half()
    )


def _level_mean(scans: Sequence[Described]) -> Tensor:
    """Return the mean over subjects of each level's pooled features, where usable."""
    total = torch.zeros_like(scans[0].description.pooled)
    count = torch.zeros(len(total))
    for name in subjects(scans):
        own = of(scans, name)
        weight = torch.stack([one.usable.float() for one in own]).sum(0)
        pooled = torch.stack([one.pooled * one.usable.float()[:, None] for one in own]).sum(0)
        total += pooled / weight.clamp_min(1)[:, None]
        count += (weight > 0).float()
    if bool((count == 0).any()):
        raise ValueError("a level is usable in no reference scan")
    return total / count[:, None]


def _precision(scans: Sequence[Described], level_mean: Tensor) -> Tensor:
    """Return the inverse covariance of a scan's mean offset.

    With a score of scans in a hundred dimensions, the covariance between scans is shrunk half way
    to the shape of the covariance between slices (by Ledoit and Wolf, A well-conditioned estimator
    for large-dimensional covariance matrices, 2004), scaled to the same trace.
    """
    # Only fitting needs it; a worker does not.
    from sklearn.covariance import LedoitWolf

    offsets = torch.stack([model.mean_offset(scan.description, level_mean) for scan in scans])
    between = (offsets.T @ offsets / len(offsets)).numpy()
    slices = torch.cat(
        [(scan.description.pooled - level_mean)[scan.description.usable] for scan in scans]
    )
    within = np.asarray(
        LedoitWolf(assume_centered=True).fit(slices.double().numpy()).covariance_,
        dtype=np.float64,
    )
    shape = within * (np.trace(between) / np.trace(within))
    return torch.from_numpy(np.linalg.inv((between + shape) / 2).astype(np.float32))
