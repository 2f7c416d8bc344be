"""Training: deterministic, by subject, on real scans where they are beside the project."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import ModelError
from models.evaluation.intervals import auroc, proportion
from models.features.config import FeaturesConfig
from models.features.model import Description, global_score
from models.training.fit import Described, coresets, fit
from models.training.sources import lgg, oasis
from models.training.train import train

SMALL = FeaturesConfig(levels=4, blocks=(2,), global_block=2, rows=32, columns=32)


def quiet(step: str, done: int, total: int) -> None:
    """Report progress to nobody."""


def described(seed: int, subject: str, shift: float = 0.0) -> Described:
    """Return a made-up scan of random features."""
    generator = torch.Generator().manual_seed(seed)
    inside = np.ones((4, 8, 8), np.bool_)
    count = int(inside.sum())
    return Described(
        subject,
        Description(
            torch.randn((4, 24), generator=generator) + shift,
            torch.randn((count, 25), generator=generator) + shift,
            torch.rand((count, 3), generator=generator) * 2 - 1,
            inside,
            torch.ones(4, dtype=torch.bool),
        ),
    )


def test_leaving_a_subject_out_leaves_out_all_its_patches() -> None:
    """The memory without a subject holds none of its rows, and the others' unchanged in number."""
    scans = [described(i, f"s{i // 2}") for i in range(8)]
    chosen = coresets(scans, SMALL, memory=40, seed=0)

    whole = fit(scans, chosen, SMALL)
    without = fit([scan for scan in scans if scan.subject != "s1"], chosen, SMALL)

    assert len(whole.memory) == 40
    assert len(without.memory) == 30
    assert {len(index) for index in chosen.values()} == {10}


def test_a_shifted_scan_lies_farther_from_the_reference() -> None:
    """Features moved as a whole give a larger global score."""
    scans = [described(i, f"s{i}") for i in range(12)]
    reference = fit(scans, coresets(scans, SMALL, 60, 0), SMALL)

    near = global_score(described(99, "new").description, reference)
    far = global_score(described(99, "new", shift=1.0).description, reference)

    assert far > 3 * near


def test_levels_that_are_not_usable_do_not_count() -> None:
    """What a reference scan shows at an unusable level changes nothing."""
    scans = [described(i, f"s{i}") for i in range(6)]
    usable = torch.tensor([True, False, True, True])
    spoiled: list[Described] = []
    clean: list[Described] = []
    for scan in scans:
        marked = replace(scan.description, usable=usable)
        pooled = marked.pooled.clone()
        pooled[1] = 1e6
        clean.append(Described(scan.subject, marked))
        spoiled.append(Described(scan.subject, replace(marked, pooled=pooled)))
    always = described(50, "always")  # keeps level 1 usable somewhere

    chosen = coresets([*clean, always], SMALL, 35, 0)

    assert torch.equal(
        fit([*clean, always], chosen, SMALL).precision,
        fit([*spoiled, always], chosen, SMALL).precision,
    )


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    """Only known detectors and profiles are trained."""
    with pytest.raises(ModelError, match="no recipe"):
        train("features", "ct-chest", tmp_path, tmp_path, 0, quiet)
    with pytest.raises(ModelError, match="no recipe"):
        train("oracle", "mr-brain-t1", tmp_path, tmp_path, 0, quiet)


@pytest.fixture(scope="module")
def few(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a reference set of the first five scans of the training split."""
    source = shared_data / "brain_t1_healthy_oasis"
    target = tmp_path_factory.mktemp("few") / "brain_t1_healthy_oasis"
    (target / "vol").mkdir(parents=True)
    with (source / "scans.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"][:5]
    with (target / "scans.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        shutil.copy(source / "vol" / f"{row['scan']}.zip", target / "vol")
    return target.parent


def test_reference_scans_are_read_with_their_place(shared_data: Path) -> None:
    """OASIS is axial, 1 x 1 x 2 mm, back to the front of the array's rows; splits share no one."""
    train_scans = list(oasis(shared_data, "train"))
    first = train_scans[0].volume

    assert len({scan.subject for scan in train_scans}) == 19
    assert first.spacing == (2.0, 1.0, 1.0)
    assert first.to_patient((1, 0, 0))[2] > first.to_patient((0, 0, 0))[2]
    dev = {scan.subject for scan in oasis(shared_data, "dev")}
    assert len(dev) == 5
    assert not dev & {scan.subject for scan in train_scans}


def test_flair_scans_carry_their_normal_slices_and_lesions(shared_data: Path) -> None:
    """No slice is both normal and lesioned, and a lesion lies inside the head."""
    scan = next(iter(lgg(shared_data, "dev")))

    assert scan.normal.shape == (len(scan.volume.array),)
    assert scan.lesion.shape == scan.volume.array.shape
    assert scan.lesion.any()
    assert not (scan.normal & scan.lesion.any(axis=(1, 2))).any()
    assert (scan.volume.array[scan.lesion] > 0).mean() > 0.99


def test_intervals_are_as_wide_as_few_patients_make_them() -> None:
    """Five of five is not certainty, and an AUROC of identical groups is a half."""
    all_five = proportion([True] * 5)

    assert all_five.value == 1.0
    assert all_five.low == pytest.approx(0.478, abs=0.001)
    assert auroc([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).value == 0.5
    assert auroc([0.0, 1.0], [2.0, float("inf")]).value == 1.0
