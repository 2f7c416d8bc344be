"""Files of a cohort: embeddings as safetensors, variables as JSON, and both joined with a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.errors import ModelError
from models.multimodal.model import Cohort
from models.multimodal.variables import LUNG, Table, Variable, variables_from


def write_embeddings(path: Path, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
    """Write one embedding a subject."""
    content = save({name: np.ascontiguousarray(one) for name, one in embeddings.items()})
    path.write_bytes(content)


def read_embeddings(*paths: Path) -> dict[str, NDArray[np.float64]]:
    """Return one embedding a subject, (size,) each, all of one size; none without a file.

    Raises:
        ModelError: if a file cannot be read, is not of that form, or has a subject of another.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for path in paths:
        try:
            own = {
                name: np.asarray(one, np.float64) for name, one in load(path.read_bytes()).items()
            }
        except (OSError, SafetensorError, ValueError) as error:
            raise ModelError(f"{path.name}: the embeddings cannot be read") from error
        if own.keys() & found.keys():
            raise ModelError(f"{path.name}: a subject has an embedding in another file")
        found |= own
        shapes = {one.shape for one in found.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ModelError(f"{path.name}: embeddings must be vectors of one size, one a subject")
        if not all(bool(np.isfinite(one).all()) for one in own.values()):
            raise ModelError(f"{path.name}: an embedding is not finite")
    return found


def read_variables(path: Path) -> tuple[Variable, ...]:
    """Return the variables of a JSON file: a list of objects as `Variable.as_dict` gives.

    Only `name` is needed; `unit` is else ``1``, the ends open, `worse` 0.

    Raises:
        ModelError: if it is not one.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name}: the variables cannot be read") from error
    if not isinstance(entries, list):
        raise ModelError(f"{path.name}: the variables must be a list")
    usual: dict[str, Any] = {"unit": "1", "lowest": None, "highest": None, "worse": 0}
    try:
        return variables_from(
            [usual | cast("dict[str, Any]", entry) for entry in cast("list[Any]", entries)]
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path.name}: a variable is not an object of that form") from error


def known_variables(head: Sequence[str]) -> tuple[Variable, ...]:
    """Return those of `LUNG` that a table has as columns."""
    return tuple(variable for variable in LUNG if variable.name in head)


def joined(
    table: Table,
    embeddings: Mapping[str, NDArray[np.float64]],
    subject_of: Callable[[str], str] = str,
) -> Cohort:
    """Return table and embeddings as a cohort; a patient without a scan keeps his row.

    Args:
        table: of the clinical values.
        embeddings: one a subject; none for a cohort without scans.
        subject_of: turns the table's names into the subjects' names.

    Raises:
        ModelError: if there are embeddings, and none of a patient of the table.
    """
    if not embeddings:
        return Cohort(table, np.zeros((len(table.patients), 0)))
    size = len(next(iter(embeddings.values())))
    rows = [embeddings.get(subject_of(name), np.full(size, np.nan)) for name in table.patients]
    found = np.stack(rows)
    if bool(np.isnan(found).all()):
        raise ModelError("no patient of the table has an embedding: the names do not agree")
    return Cohort(table, found)
