"""Clinical table: a CSV of truth and scores becomes a cohort, or says which rule it breaks."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.evaluation.association import partial_spearman, spearman, with_outcome
from models.evaluation.clinical import Clinical, Cohort, Terms, measured
from models.evaluation.clinical_classes import Classes, several
from models.evaluation.clinical_report import Overlap

MISSING = frozenset({"", "NA", "NaN", "nan", "null", "."})
"""What a table writes where nothing was measured; such a row is left out and counted."""
MOST_ROWS = 200_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table that have every wanted column.

    Attributes:
        columns: name -> cells.
        left_out: rows in which one of the columns is missing.
    """

    columns: Mapping[str, tuple[str, ...]]
    left_out: int

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers.

        Raises:
            ModelError: if a cell is no finite number.
        """
        try:
            found = np.array([float(cell) for cell in self.columns[name]], dtype=np.float64)
        except ValueError:
            raise ModelError(f"column {name!r}: a cell is no number, with a point as 0.5") from None
        if not np.isfinite(found).all():
            raise ModelError(f"column {name!r}: a number is not finite")
        return found

    def positives(self, name: str, positive: str) -> NDArray[np.bool_]:
        """Return where a column of two values says `positive`.

        Raises:
            ModelError: if it has not two values, one of them `positive`.
        """
        cells = self.columns[name]
        values = sorted(set(cells))
        if len(values) != 2 or positive not in values:
            few = ", ".join(values[:4]) + (", ..." if len(values) > 4 else "")
            raise ModelError(
                f"column {name!r} must have two values, one of them {positive!r}; it has {few}"
            )
        return np.array([cell == positive for cell in cells])

    def patients(self, name: str | None) -> tuple[str, ...]:
        """Return whose row each is; without a column every row is a patient."""
        if name is None:
            return tuple(str(number) for number in range(len(self)))
        return self.columns[name]


def read(path: Path, names: Sequence[str]) -> Rows:
    """Return the rows of a CSV file (UTF-8, comma, a header) that have all the columns.

    Raises:
        ModelError: if it cannot be read, lacks a column, is too long, or no row is whole.
    """
    found: list[tuple[str, ...]] = []
    left_out = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            head = list(reader.fieldnames or ())
            if len(set(head)) < len(head):
                raise ModelError(f"{path.name}: two columns have one name")
            missing = [name for name in names if name not in head]
            if missing:
                raise ModelError(
                    f"{path.name} has no column {missing[0]!r}; it has {', '.join(head)}"
                )
            for row in reader:
                cells = tuple((row[name] or "").strip() for name in names)
                if MISSING.intersection(cells):
                    left_out += 1
                else:
                    found.append(cells)
                if len(found) + left_out > MOST_ROWS:
                    raise ModelError(f"{path.name} has more than {MOST_ROWS:,} rows")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"{path.name} cannot be read as CSV in UTF-8") from error
    if not found:
        raise ModelError(f"{path.name}: no row has every column that was named")
    return Rows(dict(zip(names, zip(*found, strict=True), strict=True)), left_out)


def stated_terms(
    threshold: float | None,
    prevalences: Sequence[float],
    cuts: Sequence[float],
    seed: int,
    resamples: int,
) -> Terms:
    """Return what is stated beforehand.

    Raises:
        ModelError: naming the rule that a number breaks.
    """
    try:
        return Terms(threshold, tuple(prevalences), tuple(cuts), seed, resamples)
    except ValueError as error:
        raise ModelError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Binary:
    """The columns of normal against abnormal.

    Attributes:
        truth: column; abnormal where it says `positive`.
        positive: the value.
        score: column.
        probability: whether the score is a probability.
        against: column of the older model's; None without.
        patient: column; None where every row is one.
    """

    truth: str
    positive: str
    score: str
    probability: bool
    against: str | None = None
    patient: str | None = None


def binary(path: Path, columns: Binary, terms: Terms) -> tuple[Cohort, Clinical, int]:
    """Return the cohort, its statistics, and the rows left out.

    Raises:
        ModelError: naming the rule that the table breaks.
    """
    rows = read(path, _named(columns.truth, columns.score, columns.against, columns.patient))

    def made() -> tuple[Cohort, Clinical]:
        cohort = Cohort(
            rows.positives(columns.truth, columns.positive),
            rows.numbers(columns.score),
            rows.patients(columns.patient),
            columns.probability,
            None if columns.against is None else rows.numbers(columns.against),
        )
        return cohort, measured(cohort, terms)

    return (*_ruled(path, made), rows.left_out)


def classes(
    path: Path,
    truth: str,
    scores: Mapping[str, str],
    patient: str | None,
    seed: int,
    resamples: int,
) -> tuple[Classes, int]:
    """Return the measures of several classes, and the rows left out.

    Args:
        path: of the table.
        truth: column with each row's class.
        scores: class -> column of its score.
        patient: column; None where every row is one.
        seed: of the resampling.
        resamples: how many.

    Raises:
        ModelError: naming the rule that the table breaks.
    """
    rows = read(path, _named(truth, *scores.values(), patient))
    values = np.stack([rows.numbers(column) for column in scores.values()], axis=1)

    def made() -> Classes:
        labels, owners = rows.columns[truth], rows.patients(patient)
        return several(values, labels, tuple(scores), owners, seed, resamples)

    return _ruled(path, made), rows.left_out


def overlap(
    path: Path, dice: str, outcome: str, positive: str, size: str | None, patient: str | None
) -> tuple[Overlap, int]:
    """Return a Dice held against an outcome, patients with several rows by their mean.

    An outcome of two values, one of them `positive`, is one that patients had or not; else it is a
    number.

    Raises:
        ModelError: naming the rule that the table breaks.
    """
    rows = read(path, _named(dice, outcome, size, patient))
    values = set(rows.columns[outcome])
    kinds = len(values) == 2 and positive in values
    ends = rows.positives(outcome, positive).astype(np.float64) if kinds else rows.numbers(outcome)
    _, first, owner = np.unique(
        np.asarray(rows.patients(patient)), return_index=True, return_inverse=True
    )
    if (ends != ends[first][owner]).any():
        raise ModelError(f"column {outcome!r}: a patient has one outcome, here one has two")

    def means(name: str) -> NDArray[np.float64]:
        return np.bincount(owner, rows.numbers(name)) / np.bincount(owner)

    own, end = means(dice), ends[first]
    if own.min() < 0 or own.max() > 1:
        raise ModelError(f"column {dice!r}: a Dice lies in [0, 1]")

    def made() -> Overlap:
        return Overlap(
            (dice, outcome),
            own,
            end,
            with_outcome(own, end == 1.0) if kinds else None,
            spearman(own, end),
            None if size is None else partial_spearman(own, end, means(size)),
        )

    return _ruled(path, made), rows.left_out


def _named(*names: str | None) -> list[str]:
    return list(dict.fromkeys(name for name in names if name is not None))


def _ruled(path: Path, made: Callable[[], T]) -> T:
    try:
        return made()
    except ValueError as error:
        raise ModelError(f"{path.name}: {error}") from error
