"""One-class support vector machines as tensors: fitted by scikit-learn, judged in torch.

The one-class machine (Schoelkopf et al., Estimating the support of a high-dimensional distribution,
Neural Computation 2001) puts its sample z_i on one side of a plane in the space of a kernel,
k(z, z') = exp(-gamma |z - z'|^2), as far from the origin as it can, all but a part `nu` of it:

    f(z) = <w, phi(z)> - rho,   w = sum_i a_i phi(z_i).

f is scikit-learn's `decision_function`; -f / |w| is the signed distance to the plane, positive
outside. As |phi(z)| = 1, it is never under -1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.tensors import take

_ROWS = 4096
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Boundary:
    """One machine.

    Attributes:
        support: float32, (vectors, dimensions).
        dual: float32, (vectors,): a, over 0.
        rho: offset of the plane.
        gamma: width of the kernel.
    """

    support: NDArray[np.float32]
    dual: NDArray[np.float32]
    rho: float
    gamma: float


def fit_boundary(sample: NDArray[np.float32], nu: float) -> Boundary:
    """Return the machine of a sample, (n, dimensions), gamma as scikit-learn's ``scale``.

    Raises:
        ModelError: if scikit-learn is not installed.
    """
    machine = _machine()
    spread = float(sample.var(dtype=np.float64))
    gamma = 1.0 / (sample.shape[1] * spread) if spread > 0 else 1.0
    gamma = float(np.float32(gamma))  # as it is stored
    machine.set_params(kernel="rbf", nu=nu, gamma=gamma, tol=_TOLERANCE)
    machine.fit(sample.astype(np.float64))
    return Boundary(
        cast("NDArray[np.float64]", machine.support_vectors_).astype(np.float32),
        cast("NDArray[np.float64]", machine.dual_coef_)[0].astype(np.float32),
        float(cast("NDArray[np.float64]", machine.offset_)[0]),
        gamma,
    )


def _machine() -> Any:
    # Only who fits needs scikit-learn; it has no types.
    try:
        from sklearn.svm import OneClassSVM
    except ImportError as error:
        raise ModelError("one-class machines cannot be fitted without scikit-learn") from error
    return OneClassSVM()


class Boundaries:
    """Many machines of one dimension, judged together.

    Args:
        support: (all vectors, dimensions), machine after machine.
        dual: (all vectors,).
        count: (machines,), vectors of each.
        rho: (machines,).
        gamma: (machines,).
        device: where they are judged.
    """

    def __init__(
        self,
        support: Tensor,
        dual: Tensor,
        count: Tensor,
        rho: Tensor,
        gamma: Tensor,
        device: str = "cpu",
    ) -> None:
        largest = int(count.max())
        machine = torch.repeat_interleave(torch.arange(len(count)), count)
        place = torch.arange(len(support)) - (count.cumsum(0) - count)[machine]
        self._support = torch.zeros(len(count), largest, support.shape[1])
        self._dual = torch.zeros(len(count), largest)  # 0: no vector
        self._support[machine, place] = support.float()
        self._dual[machine, place] = dual.float()
        self._support, self._dual = self._support.to(device), self._dual.to(device)
        self._rho, self._gamma = rho.float().to(device), gamma.float().to(device)
        kernel = torch.cdist(self._support, self._support, compute_mode=_EXACT) ** 2
        kernel = torch.exp(-self._gamma[:, None, None] * kernel)  # (machines, vectors, vectors)
        squared = torch.einsum("mi,mij,mj->m", self._dual, kernel, self._dual)
        self._length = squared.sqrt()

    def __len__(self) -> int:
        return len(self._rho)

    @classmethod
    def of(cls, boundaries: Sequence[Boundary], device: str = "cpu") -> Boundaries:
        """Return `boundaries` as one."""
        tensors = packed(boundaries)
        return cls(*(tensors[name] for name in _NAMES), device=device)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], dimensions: int, prefix: str, device: str
    ) -> Boundaries:
        """Return what `packed` gave under `prefix`.

        Raises:
            ModelError: if a tensor is missing or of another shape, or the counts do not add up.
        """
        support = take(tensors, f"{prefix}support", (None, dimensions))
        dual = take(tensors, f"{prefix}dual", (len(support),))
        count = take(tensors, f"{prefix}count", (None,)).long()
        rho = take(tensors, f"{prefix}rho", (len(count),))
        gamma = take(tensors, f"{prefix}gamma", (len(count),))
        counted = len(count) > 0 and bool((count > 0).all()) and int(count.sum()) == len(support)
        if not counted:
            raise ModelError("weights: the support vectors are not those that were counted")
        if not bool((gamma > 0).all()) or not bool((dual > 0).all()):
            raise ModelError("weights: a one-class machine's coefficients are not positive")
        return cls(support, dual, count, rho, gamma, device)

    def decision(self, latents: Tensor, machine: Tensor) -> Tensor:
        """Return f, (n,), of latents, (n, dimensions), each judged by its `machine`, (n,)."""
        found: list[Tensor] = []
        for rows, own in zip(latents.split(_ROWS), machine.split(_ROWS), strict=True):
            apart = torch.cdist(rows[:, None], self._support[own], compute_mode=_EXACT)[:, 0]
            kernel = torch.exp(-self._gamma[own, None] * apart**2)  # (rows, vectors)
            found.append((kernel * self._dual[own]).sum(1) - self._rho[own])
        return torch.cat(found)

    def distance(self, latents: Tensor, machine: Tensor) -> Tensor:
        """Return the signed distance -f / |w|, (n,): positive outside, never under -1."""
        return -self.decision(latents, machine) / self._length[machine]


# The quick way to distances loses what a latent near its support vector needs.
_EXACT = "donot_use_mm_for_euclid_dist"
_NAMES = ("support", "dual", "count", "rho", "gamma")


def packed(boundaries: Sequence[Boundary], prefix: str = "") -> dict[str, Tensor]:
    """Return machines as tensors under `prefix`; support vectors in float16.

    Nothing is lost where the sample was float16 before it was fitted.
    """
    values = {
        "support": np.concatenate([one.support for one in boundaries]).astype(np.float16),
        "dual": np.concatenate([one.dual for one in boundaries]),
        "count": np.array([len(one.dual) for one in boundaries], dtype=np.int32),
        "rho": np.array([one.rho for one in boundaries], dtype=np.float32),
        "gamma": np.array([one.gamma for one in boundaries], dtype=np.float32),
    }
    return {f"{prefix}{name}": torch.from_numpy(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The reference's latents, ordered by the lattice node they are of.

    Attributes:
        values: float32, (n, dimensions).
        owner: (n,): number of the subject of each.
        starts: (nodes + 1,): the latents of node k are those from starts[k] to starts[k + 1].
        shape: of the lattice: levels, rows, columns.
    """

    values: NDArray[np.float32]
    owner: NDArray[np.intp]
    starts: NDArray[np.intp]
    shape: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        scans: Sequence[tuple[NDArray[np.bool_], NDArray[np.float32]]],
        subjects: Sequence[str],
    ) -> Sample:
        """Return the latents of scans, each given as which nodes and, in order, their latents."""
        levels, rows, columns = scans[0][0].shape
        node = np.concatenate([np.flatnonzero(inside) for inside, _ in scans])
        order = np.argsort(node, kind="stable")
        names = sorted(set(subjects))
        numbers = np.array([names.index(name) for name in subjects])
        owner = np.repeat(numbers, [len(values) for _, values in scans])
        starts = np.searchsorted(node[order], np.arange(levels * rows * columns + 1))
        values = np.concatenate([values for _, values in scans])
        return cls(values[order], owner[order], starts, (levels, rows, columns))

    def within(
        self, level: int, row: int, column: int, width: int, margin: int
    ) -> NDArray[np.intp]:
        """Return which latents lie in a place of `width` nodes, `margin` nodes and level around."""
        beside = min(margin, 1)
        box = (
            np.arange(max(0, level - beside), min(self.shape[0], level + beside + 1)),
            np.arange(max(0, row * width - margin), min(self.shape[1], (row + 1) * width + margin)),
            np.arange(
                max(0, column * width - margin), min(self.shape[2], (column + 1) * width + margin)
            ),
        )
        nodes = np.ravel_multi_index(np.ix_(*box), self.shape).ravel()
        runs = [np.arange(self.starts[node], self.starts[node + 1]) for node in nodes.tolist()]
        return np.concatenate(runs)


def fit_places(
    sample: Sample,
    nu: float,
    *,
    width: int,
    margin: int,
    most: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> tuple[NDArray[np.int32], list[Boundary]]:
    """Return one machine a place, and the number of each place's: int32, (levels, rows, columns).

    -1 where no latent is a place's own, or those of it and `margin` come from one subject, or are
    too few for one of them to lie outside.

    Args:
        sample: the reference's latents.
        nu: part of a machine's sample outside its boundary.
        width: lattice nodes along a place.
        margin: nodes around a place whose latents join its sample; with any, those of the level
            below and above too.
        most: latents of a machine's sample; drawn where there are more.
        seed: of what is drawn.
        progress: told (done, total).
    """
    chance = np.random.default_rng(seed)
    levels, rows, columns = sample.shape
    machine = np.full((levels, -(-rows // width), -(-columns // width)), -1, dtype=np.int32)
    found: list[Boundary] = []
    for number, place in enumerate(np.ndindex(machine.shape)):
        progress(number + 1, machine.size)
        level, row, column = place
        if not len(sample.within(level, row, column, width, 0)):
            continue
        own = sample.within(level, row, column, width, margin)
        if len(own) < 1 / nu or len(np.unique(sample.owner[own])) < 2:
            continue
        drawn = np.sort(chance.permutation(len(own))[:most])
        machine[place] = len(found)
        found.append(fit_boundary(sample.values[own[drawn]], nu))
    return machine, found
