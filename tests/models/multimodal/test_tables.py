"""Clinical tables and embeddings as files: what is wrong with one is named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelError
from models.multimodal.files import joined, read_embeddings, read_variables, write_embeddings
from models.multimodal.variables import LUNG, Table, Variable, read_table

DLCO = Variable("dlco", "%", 5, 160, -1)


def write(path: Path, text: str) -> Path:
    """Write a file and return it."""
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_keeps_what_was_not_measured_as_missing(tmp_path: Path) -> None:
    """Empty cells and NA are NaN; other columns are left alone."""
    path = write(tmp_path / "t.csv", "patient,dlco,note\na,40,x\nb,,y\nc,NA,z\n")
    table = read_table(path, (DLCO,))
    assert table.patients == ("a", "b", "c")
    assert np.isnan(table.values[:, 0]).tolist() == [False, True, True]
    assert table.missing == {"dlco": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,dlco\na,forty\n", "t.csv, line 2: dlco is not a number"),
        ("patient,dlco\na,inf\n", "t.csv, line 2: dlco is not a number"),
        ("patient,fev1\na,40\n", "there is no column dlco"),
        ("patient,dlco\na,4000\n", "dlco: a value lies outside 5 to 160 %"),
        ("patient,dlco\na,40\na,41\n", "a patient has more than one row"),
        ("patient,dlco\n", "the table has no rows"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """The sentence names file, line and rule."""
    with pytest.raises(ModelError, match=message):
        read_table(write(tmp_path / "t.csv", text), (DLCO,))


def test_variables_are_read_with_the_usual_for_what_is_left_out(tmp_path: Path) -> None:
    """Only the name is needed; a manifest's form is read back as it was."""
    path = write(tmp_path / "v.json", json.dumps([{"name": "a"}, LUNG[4].as_dict()]))
    assert read_variables(path) == (Variable("a", "1"), LUNG[4])
    with pytest.raises(ModelError, match="not one of this version"):
        read_variables(write(tmp_path / "w.json", '[{"name": "a", "colour": 1}]'))


def test_a_patient_without_a_scan_keeps_his_row(tmp_path: Path) -> None:
    """Embeddings are joined by name; who has none is missing, and no agreement is an error."""
    table = Table(("a", "b"), (DLCO,), np.array([[40.0], [50.0]]))
    path = tmp_path / "e.safetensors"
    write_embeddings(path, {"a": np.ones(4, np.float32), "z": np.zeros(4, np.float32)})
    cohort = joined(table, read_embeddings(path))
    assert np.isnan(cohort.embeddings).all(1).tolist() == [False, True]
    with pytest.raises(ModelError, match="names do not agree"):
        joined(table, read_embeddings(path), lambda name: f"other-{name}")
