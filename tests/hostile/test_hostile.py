"""Hostile input at both doors: a small seeded share of `gatekeeper bench hostile`."""

from __future__ import annotations

from pathlib import Path

from support.hostile import run
from support.mutants import Kind, mutant
from support.originals import corpus, scans


def test_mutants_and_bombs_break_no_promise(tmp_path: Path) -> None:
    """Every object gets a status, every study an outcome; nothing ends, leaks, hangs or swells."""
    received, read = run(tmp_path, seed=5, mutants=150, every=10, slices_read=0, bombs=2)

    assert received.broken == []
    assert read.broken == []
    assert received.outcomes.total() == 150 + 2 * 3
    assert received.outcomes["0000"] > 50
    assert received.outcomes["C000"] > 30
    assert read.outcomes.total() > 5


def test_a_mutant_is_made_again_from_its_seed_and_number() -> None:
    """What a run found can be looked into."""
    for kind in Kind:
        among = scans() if kind in {Kind.CODESTREAM, Kind.RLE_BOMB} else corpus()
        if kind is not Kind.DEFLATE_BOMB:
            assert mutant(1, 7, among, kind) == mutant(1, 7, among, kind)
            assert mutant(1, 7, among, kind) != mutant(2, 7, among, kind)
