"""Clinical variables, and tables of them: one row a patient, NaN where nothing was measured."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

MISSING = frozenset({"", "NA", "NaN", "nan", "null", "."})
"""What a table writes where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One clinical variable, as a bundle states it.

    Attributes:
        name: its column, and how it is named in reports.
        unit: UCUM, case-sensitive; ``1`` for a number without a unit.
        lowest: the smallest value that can be right, in `unit`.
        highest: the largest value that can be right.
        worse: the direction of disease: -1 where lower is worse, 1 where higher is, 0 for neither,
            such as age.
    """

    name: str
    unit: str
    lowest: float = -math.inf
    highest: float = math.inf
    worse: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return it for a manifest; an open end of the range is null."""
        values = asdict(self)
        for end in ("lowest", "highest"):
            values[end] = values[end] if math.isfinite(values[end]) else None
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Variable:
        """Return the variable of a manifest.

        Raises:
            ModelError: if a part is missing or unknown.
        """
        if set(values) != {field.name for field in fields(cls)}:
            raise ModelError("a clinical variable of the bundle is not one of this version")
        low, high = values["lowest"], values["highest"]
        return cls(
            str(values["name"]),
            str(values["unit"]),
            -math.inf if low is None else float(low),
            math.inf if high is None else float(high),
            int(values["worse"]),
        )


LUNG: tuple[Variable, ...] = (
    Variable("age", "a", 0, 120),
    Variable("pack-years", "1", 0, 200, 1),
    Variable("fvc", "%", 10, 160, -1),
    Variable("fev1", "%", 10, 160, -1),
    Variable("dlco", "%", 5, 160, -1),
    Variable("walk-6min", "m", 0, 1000, -1),
    Variable("spo2", "%", 50, 100, -1),
)
"""What a study of fibrotic lungs records: FVC, FEV1 and DLCO in percent of predicted."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Clinical values of a cohort.

    Attributes:
        patients: one name a row, each once.
        variables: one a column.
        values: float64, (patients, variables); NaN where nothing was measured.
    """

    patients: tuple[str, ...]
    variables: tuple[Variable, ...]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.patients), len(self.variables)):
            raise ModelError("a clinical table needs one row a patient and one column a variable")
        if len(set(self.patients)) != len(self.patients):
            raise ModelError("a patient has more than one row in the clinical table")
        for variable, column in zip(self.variables, self.values.T, strict=True):
            known = column[~np.isnan(column)]
            if bool(((known < variable.lowest) | (known > variable.highest)).any()):
                raise ModelError(
                    f"{variable.name}: a value lies outside {variable.lowest:g} to "
                    f"{variable.highest:g} {variable.unit}"
                )

    @property
    def missing(self) -> dict[str, int]:
        """How many patients lack each variable."""
        return {
            variable.name: int(np.isnan(column).sum())
            for variable, column in zip(self.variables, self.values.T, strict=True)
        }

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a variable's values, (patients,).

        Raises:
            ModelError: if there is no such variable.
        """
        for index, variable in enumerate(self.variables):
            if variable.name == name:
                return self.values[:, index]
        raise ModelError(f"{name} is not a variable of this table")

    def rows(self, index: Sequence[int] | NDArray[np.intp]) -> Table:
        """Return the table of some patients."""
        return Table(
            tuple(self.patients[one] for one in index), self.variables, self.values[list(index)]
        )


def read_table(path: Path, variables: Sequence[Variable] = (), patient: str = "patient") -> Table:
    """Return the table of a CSV file with a header line.

    Args:
        path: of the file, UTF-8.
        variables: the columns wanted; every other column of numbers where none is named.
        patient: the column with the patient's name; rows are numbered where there is none.

    Raises:
        ModelError: if a column is missing, a cell is no number, or a value cannot be right.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            head = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"{path.name}: the table cannot be read") from error
    if not rows:
        raise ModelError(f"{path.name}: the table has no rows")
    wanted = tuple(variables) or tuple(Variable(name, "1") for name in head if name != patient)
    absent = [one.name for one in wanted if one.name not in head]
    if absent:
        raise ModelError(f"{path.name}: there is no column {', '.join(absent)}")
    names = tuple(row.get(patient) or str(number) for number, row in enumerate(rows, start=1))
    values = [
        _numbers(path.name, number, row, [one.name for one in wanted])
        for number, row in enumerate(rows, start=2)
    ]
    return Table(names, wanted, np.array(values, dtype=np.float64))


def _numbers(
    file: str, line: int, row: Mapping[str, str | None], names: Iterable[str]
) -> list[float]:
    found: list[float] = []
    for name in names:
        text = (row.get(name) or "").strip()
        try:
            value = math.nan if text in MISSING else float(text)
        except ValueError as error:
            raise ModelError(f"{file}, line {line}: {name} is not a number") from error
        if math.isinf(value):
            raise ModelError(f"{file}, line {line}: {name} is not a number")
        found.append(value)
    return found


def variables_from(entries: object) -> tuple[Variable, ...]:
    """Return the variables of a manifest.

    Raises:
        ModelError: if they are not there, or a name comes twice.
    """
    if not isinstance(entries, list) or not entries:
        raise ModelError("the bundle names no clinical variables")
    found = tuple(
        Variable.from_dict(cast("Mapping[str, Any]", entry)) for entry in cast("list[Any]", entries)
    )
    if len({one.name for one in found}) != len(found):
        raise ModelError("the bundle names a clinical variable twice")
    return found
