"""`gatekeeper model multimodal`: from a table to report and bundle."""

from __future__ import annotations

from pathlib import Path

from support.command_line import read, run

from models.multimodal import bundle

QUICK = ("--set", "steps=40", "--set", "folds=2")


def test_simulated_patients_are_fitted_and_marked(tmp_path: Path) -> None:
    """Report, bundle and answer all say that nobody was measured; the table can be fitted again."""
    out, made, table = tmp_path / "r.html", tmp_path / "lung-trial", tmp_path / "t.csv"
    paths = ("--out", str(out), "--bundle", str(made), "--table", str(table))
    found = read("model", "multimodal", "simulate", *paths, *QUICK)
    assert found["notice"].startswith("SIMULATED")
    assert len(found["patients"]) == 41
    assert "SIMULATED" in out.read_text(encoding="utf-8")
    assert bundle.read(made).simulated
    again = run("model", "multimodal", "fit", "--table", str(table), "--severity", "dlco", *QUICK)
    assert "dlco: rho" in again


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    """The command ends before any work."""
    out = tmp_path / "r.html"
    out.write_text("mine")
    assert "exists" in run("model", "multimodal", "simulate", "--out", str(out), code=1)
    assert out.read_text() == "mine"


def test_a_setting_that_is_not_known_is_named(tmp_path: Path) -> None:
    """The sentence says so, and nothing is written."""
    answer = run("model", "multimodal", "simulate", "--set", "stepz=4", code=1)
    assert "settings" in answer
