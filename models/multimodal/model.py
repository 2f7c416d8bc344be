"""The multimodal model: a cohort in; score, contributions and expectations of a patient out.

Score = error of what was measured + beta * KL (Medical Sciences 2026, 14(1):76). Two things are
ours. A variable that was not measured adds the error that it has on average where it was, so that
a patient is neither rare nor usual for what is not known of him. And as the network knows what
'not measured' means, the score of any subset of what is known can be asked: the contributions are
the exact Shapley values of that game (Shapley 1953; Lundberg and Lee, NeurIPS 2017), the scan
being one player. Baseline plus contributions is the score, to rounding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.multimodal.embedding import Projection
from models.multimodal.network import Config, MultimodalVae, loss_of
from models.multimodal.variables import Table, Variable
from models.tensors import take
from models.training.loop import Run, optimise, seeded

IMAGE = "image"
"""The scan's name among the variables."""
MOST_PLAYERS = 13
"""Variables and scan; more would need more than 8,192 subsets a patient."""
FEWEST_PATIENTS = 8
_BATCH = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Scans and clinical values of the same patients.

    Attributes:
        table: the clinical values.
        embeddings: float64, (patients, size), one row a patient of `table`; a row of NaN where a
            patient has no scan; size 0 for a cohort without any.
    """

    table: Table
    embeddings: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.table.patients):
            raise ModelError("every patient of the table needs one embedding")

    def rows(self, index: Sequence[int] | NDArray[np.intp]) -> Cohort:
        """Return the cohort of some patients."""
        return Cohort(self.table.rows(index), self.embeddings[list(index)])


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """Where a patient's score comes from.

    Attributes:
        players: the scan, then the variables.
        baseline: the score of a patient of whom nothing is known.
        values: (patients, players): what each adds; 0 where it was not measured. Negative where
            it is more usual than it is on average.
    """

    players: tuple[str, ...]
    baseline: float
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Multimodal:
    """A fitted model.

    Attributes:
        network: in evaluation mode.
        projection: of embeddings.
        variables: in the order of the columns.
        centre: (variables,), means of what was measured.
        spread: (variables,), standard deviations.
        usual: (features,): mean squared error of each feature where it was measured; image first.
        config: settings.
    """

    network: MultimodalVae
    projection: Projection
    variables: tuple[Variable, ...]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    usual: NDArray[np.float64]
    config: Config

    @property
    def players(self) -> tuple[str, ...]:
        """The scan, then the variables."""
        return (IMAGE, *(variable.name for variable in self.variables))

    def scores(self, cohort: Cohort, hidden: Sequence[str] = ()) -> NDArray[np.float64]:
        """Return each patient's score, (patients,), as if `hidden` had not been measured.

        Raises:
            ModelError: if the cohort's variables are not the model's, or a name is not known.
        """
        values, known = self._features(cohort)
        for name in hidden:
            if name not in self.players:
                raise ModelError(f"{name} is not a variable of this model")
            known = known * (1 - self._groups()[self.players.index(name)])
        return self._scored(values, known)

    def contributions(self, cohort: Cohort) -> Contributions:
        """Return where each patient's score comes from; the Shapley values over all subsets."""
        groups = self._groups()  # (players, features)
        count = len(groups)
        if count > MOST_PLAYERS:
            raise ModelError(f"contributions of more than {MOST_PLAYERS - 1} variables")
        values, known = self._features(cohort)
        subsets = np.array(
            list(itertools.product((0.0, 1.0), repeat=count))
        )  # (2^players, players)
        shown = np.minimum(subsets @ groups, 1.0)  # (2^players, features)
        patients = len(values)
        game = self._scored(
            np.repeat(values, len(shown), axis=0),
            np.repeat(known, len(shown), axis=0) * np.tile(shown, (patients, 1)),
        ).reshape(patients, len(shown))
        sizes = subsets.sum(1).astype(int)
        found = np.zeros((patients, count))
        for player in range(count):
            without = np.flatnonzero(subsets[:, player] == 0)
            joined = without + (1 << (count - 1 - player))  # the same subset and the player
            weight = np.array([_weight(size, count) for size in sizes[without]])
            found[:, player] = (game[:, joined] - game[:, without]) @ weight
        return Contributions(self.players, float(game[0, 0]), found)

    def floor(self, cohort: Cohort) -> NDArray[np.float64]:
        """Return what must be beaten, (patients,): the squared distance from the cohort's mean.

        No network: standardised values squared and added; what was not measured adds its mean.
        """
        values, known = self._features(cohort)
        image = len(self.projection.axes)
        mean = np.ones(values.shape[1])
        if image:
            mean[:image] = self.config.imaging_weight * len(self.variables) / image
        return np.where(known > 0, values**2, mean).sum(1)

    def expected(self, cohort: Cohort) -> NDArray[np.float64]:
        """Return each variable as the scan alone lets expect it, (patients, variables).

        In the variables' own units. The mean of the cohort where a patient has no scan.
        """
        values, known = self._features(cohort)
        only = known * self._groups()[0]
        with torch.inference_mode():
            found = cast("Tensor", self.network(_tensor(values), _tensor(only)).values)
        clinical = found[:, len(self.projection.axes) :].double().numpy()
        return clinical * self.spread + self.centre

    def _groups(self) -> NDArray[np.float64]:
        """Return which features each player has, (players, features), 1 or 0."""
        image = len(self.projection.axes)
        groups = np.zeros((1 + len(self.variables), image + len(self.variables)))
        groups[0, :image] = 1
        for index in range(len(self.variables)):
            groups[1 + index, image + index] = 1
        return groups

    def _features(self, cohort: Cohort) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return standardised values, 0 where not known, and what is known; (n, features) each."""
        if cohort.table.variables != self.variables:
            raise ModelError("the cohort's variables are not those of the model")
        if cohort.embeddings.shape[1] != len(self.projection.mean):
            raise ModelError("the embeddings are of another encoder than the model's")
        return features(cohort, self.projection, self.centre, self.spread)

    def _scored(
        self, values: NDArray[np.float64], known: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        scores: list[NDArray[np.float64]] = []
        for start in range(0, len(values), _BATCH):
            part = slice(start, start + _BATCH)
            error, divergence = _errors(self.network, values[part], known[part])
            total = np.where(known[part] > 0, error, self.usual).sum(1)
            scores.append(total + self.config.beta * divergence)
        return np.concatenate(scores)

    def tensors(self) -> dict[str, Tensor]:
        """Return it for a weight file."""
        state = self.network.state_dict()
        return {
            **{f"network.{key}": value.detach().cpu() for key, value in state.items()},
            **self.projection.tensors(),
            "clinical.centre": _tensor(self.centre),
            "clinical.spread": _tensor(self.spread),
            "usual": _tensor(self.usual),
        }


def restored(
    tensors: Mapping[str, Tensor], variables: tuple[Variable, ...], config: Config
) -> Multimodal:
    """Return the model in a weight file, shapes checked.

    Raises:
        ModelError: if a tensor is missing or of another shape.
    """
    projection = Projection.from_tensors(tensors)
    count = len(projection.axes) + len(variables)
    with seeded(0):
        network = MultimodalVae(count, config)
    state = {
        key: take(tensors, f"network.{key}", tuple(value.shape))
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return Multimodal(
        network.requires_grad_(requires_grad=False).eval(),
        projection,
        variables,
        take(tensors, "clinical.centre", (len(variables),)).double().numpy(),
        take(tensors, "clinical.spread", (len(variables),)).double().numpy(),
        take(tensors, "usual", (count,)).double().numpy(),
        config,
    )


def fit(cohort: Cohort, config: Config, run: Run) -> Multimodal:
    """Return the model of a cohort: standardisation, components and network of it alone.

    Raises:
        ModelError: if there are too few patients, or a variable is constant or hardly measured.
    """
    if len(cohort.table.patients) < FEWEST_PATIENTS:
        raise ModelError(f"a multimodal model needs at least {FEWEST_PATIENTS} patients")
    variables = cohort.table.variables
    centre, spread = _standard(cohort.table)
    scanned = cohort.embeddings[~np.isnan(cohort.embeddings).any(1)]
    projection = Projection.fit(scanned, config.components, config.imaging_weight * len(variables))
    # Rounded as a weight file keeps them, so that a restored model gives the same scores.
    projection = Projection.from_tensors(projection.tensors())
    centre, spread = _single(centre), _single(spread)
    values, known = features(cohort, projection, centre, spread)
    image = len(projection.axes)
    all_values, all_known = _tensor(values), _tensor(known)

    def batch(generator: torch.Generator, size: int) -> tuple[Tensor, ...]:
        picked = torch.randint(len(all_values), (size,), generator=generator)
        players = torch.rand((size, 1 + len(variables)), generator=generator) >= config.hide
        shown = torch.cat([players[:, :1].expand(-1, image), players[:, 1:]], dim=1)
        chosen = all_known[picked]  # (size, features)
        return all_values[picked], chosen, chosen * shown

    with seeded(run.seed):
        network = MultimodalVae(values.shape[1], config)
    optimise(
        "multimodal",
        network,
        loss_of(config),
        batch,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        run=run,
    )
    network.requires_grad_(requires_grad=False).cpu()
    error, _ = _errors(network, values, known)
    usual = (error * known).sum(0) / np.maximum(known.sum(0), 1)  # (features,)
    return Multimodal(network, projection, variables, centre, spread, _single(usual), config)


def features(
    cohort: Cohort,
    projection: Projection,
    centre: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return standardised values, 0 where not known, and what is known; (n, features) each."""
    clinical = (cohort.table.values - centre) / spread
    values = np.concatenate([projection(cohort.embeddings), clinical], axis=1)
    known = ~np.isnan(values)
    return np.where(known, values, 0.0), known.astype(np.float64)


def _standard(table: Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of what was measured of each variable."""
    for variable, column in zip(table.variables, table.values.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known) < 3:
            raise ModelError(f"{variable.name} was measured in fewer than three patients")
        if float(known.std()) < 1e-9:
            raise ModelError(f"{variable.name} is the same in every patient")
    return np.nanmean(table.values, axis=0), np.nanstd(table.values, axis=0)


def _errors(
    network: MultimodalVae, values: NDArray[np.float64], known: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return squared errors, (n, features), 0 where not known, and the divergence, (n,)."""
    with torch.inference_mode():
        found = network(_tensor(values), _tensor(known))
    error = (found.values.double().numpy() - values) ** 2 * known
    return error, found.divergence.double().numpy()


def _weight(size: int, players: int) -> float:
    """Return the weight of a subset of `size` in a player's Shapley value."""
    return math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _single(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.astype(np.float32).astype(np.float64)
