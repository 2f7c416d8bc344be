"""`gatekeeper model statistics`: from a table to a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_line import read, run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a table of forty patients with everything that can be asked for."""
    generator = np.random.default_rng(0)
    lines = ["who,ill,p,old,kind,a,b,c,dice,ml"]
    for number in range(40):
        ill, kind = int(number % 5 < 2), number % 3
        new, old = np.clip(generator.uniform(0, 0.7, 2) + np.array((0.3, 0.1)) * ill, 0, 1)
        scores = generator.normal(size=3) + (np.arange(3) == kind)
        cells = (new, old, "xyz"[kind], *scores, generator.uniform(), generator.uniform(1, 9))
        lines.append(f"P{number},{ill}," + ",".join(str(cell) for cell in cells))
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_table_becomes_a_page_and_a_file_of_figures(table: Path, tmp_path: Path) -> None:
    """The page has all parts and needs no other file; the JSON has what the page shows."""
    out = tmp_path / "out"
    classes = [word for one in ("x=a", "y=b", "z=c") for word in ("--class", one)]
    found = read(
        "model", "statistics", str(table), "--out", str(out), "--truth", "ill",
        "--probability", "p", "--against", "old", "--prevalence", "0.02", "--cut", "0.3",
        "--dice", "dice", "--outcome", "ill", "--size", "ml", "--resamples", "100",
    )  # fmt: skip
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page
    for words in ("DeLong", "PPV", "Brier score", "Net benefit", "reclassification", "size held"):
        assert words in page
    predictive = found["statistics"]["decided"]["predictive"][0]
    assert (predictive["prevalence"], found["statistics"]["decided"]["threshold"]) == (0.02, 0.5)
    assert "exists" in run(
        "model", "statistics", str(table), "--out", str(out), "--truth", "ill",
        "--score", "p", code=1,
    )  # fmt: skip
    said = run(
        "model", "statistics", str(table), "--out", str(tmp_path / "k"), "--truth", "kind",
        *classes, "--resamples", "100",
    )  # fmt: skip
    assert "AUROC, macro average" in said


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("--truth", "ill"), "--probability or --score"),
        (("--truth", "ill", "--score", "p", "--probability", "p"), "not both"),
        (("--score", "p"), "--truth"),
        (("--dice", "dice"), "--outcome"),
        (("--truth", "kind", "--class", "x"), "NAME=COLUMN"),
        (("--truth", "ill", "--score", "p", "--prevalence", "1.5"), "inside"),
        (("--truth", "ill", "--score", "q"), "no column 'q'"),
    ],
)
def test_what_cannot_be_asked_ends_the_command(
    table: Path, tmp_path: Path, words: tuple[str, ...], rule: str
) -> None:
    """One sentence that names the rule, and no folder."""
    out = tmp_path / "out"
    answer = run("model", "statistics", str(table), "--out", str(out), *words, code=1)
    assert rule in " ".join(answer.split())
    assert not out.exists()
