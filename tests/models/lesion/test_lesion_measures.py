"""Candidates, factors, disentanglement, clusters, and what a traversal draws."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.lesions import SMALL, made

from models.lesion import clusters, command, disentanglement, factors, page, training, traversal
from models.lesion.candidates import candidates, chest, patch
from models.lesion.lesions import of_slices, owners
from models.scan import Scan
from models.training.loop import Run
from models.volume import Volume


def _chest_slice(radius: float) -> NDArray[np.float32]:
    """Return a body with two lungs, a ball in the left of the image and a vessel in the right."""
    rows, columns = np.ogrid[:128, :160]
    image = np.full((128, 160), -1000.0, dtype=np.float32)
    image[((rows - 64) / 55) ** 2 + ((columns - 80) / 75) ** 2 <= 1] = 40.0
    for middle in (45, 115):
        image[((rows - 64) / 40) ** 2 + ((columns - middle) / 25) ** 2 <= 1] = -850.0
    image[np.hypot(rows - 70, columns - 45) <= radius] = 50.0
    image[40:90, 115] = 50.0
    return image


def test_the_thickest_tissue_in_the_lungs_is_the_candidate() -> None:
    """A ball is found at its place; a vessel one pixel wide is not."""
    found = candidates(_chest_slice(6), 3)
    assert len(found) == 1
    assert abs(found[0].row - 70) <= 1
    assert abs(found[0].column - 45) <= 1
    assert found[0].mask[70, 45]


def test_a_ball_on_the_wall_is_within_the_chest() -> None:
    """Closing the lung takes in what bulges into it."""
    image = _chest_slice(0)
    rows, columns = np.ogrid[:128, :160]
    image[np.hypot(rows - 64, columns - 24) <= 7] = 50.0
    assert chest(image)[64, 26]


def test_without_a_lung_there_is_no_candidate() -> None:
    """A slice of air, and one of tissue alone, have none."""
    assert candidates(np.full((64, 64), -1000.0, dtype=np.float32)) == []
    assert candidates(np.full((64, 64), 40.0, dtype=np.float32)) == []


def test_a_patch_beyond_the_border_is_filled() -> None:
    """The middle stays the middle."""
    image = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    found = patch(image, 0, 0, 4, -1.0)
    assert found.shape == (1, 4, 4)
    assert found[0, 2, 2] == image[0, 0, 0]
    assert found[0, 0, 0] == -1.0


def test_slices_of_a_class_become_lesions() -> None:
    """Grey is taken as a window of 1,500 HU at -500; normal slices have no label."""
    grey = np.clip((_chest_slice(6) + 1250) / 1500 * 255, 0, 255).astype(np.float32)
    volume = Volume(grey[None], np.eye(4), "CT", "CHEST")
    empty = np.zeros(volume.array.shape, dtype=bool)
    scans = [
        Scan(name, name, volume, np.array([False]), empty, label=name)
        for name in ("benign", "malignant", "normal")
    ]
    found = of_slices(scans, SMALL, 1)
    assert [one.malignant for one in found] == [False, True, None]
    assert found[0].stack.shape == (1, 16, 16)
    assert found[0].stack[0, 8, 8] == pytest.approx(50, abs=6)
    assert len(found[0].frame) == 5


def test_factors_measure_what_they_are_called() -> None:
    """A larger disc is larger, a denser one denser, and a disc is not long."""
    found = factors.measured(made(2))
    by_name = dict(zip(factors.NAMES, found.T, strict=True))
    assert by_name["size"][-1] > by_name["size"][0]
    assert by_name["density"][-1] > by_name["density"][0]
    assert (by_name["elongation"] < 1.5).all()


def test_a_code_of_the_factors_themselves_is_disentangled() -> None:
    """SAP and MIG are high for one number a factor, low when every number mixes all factors."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(400, 3))
    mixed = values @ np.linalg.qr(generator.normal(size=(3, 3)))[0] + 0.0
    names = np.array([str(n // 10) for n in range(400)])
    assert disentanglement.sap(values, values) > 0.9
    found = disentanglement.compare([mixed], [values], values, names, resamples=50)
    assert found.difference.low > 0
    assert found.mig_difference.low > 0


def test_groups_that_lie_apart_are_found_again() -> None:
    """k-means agrees with two blobs, and not with a grouping of chance."""
    generator = np.random.default_rng(0)
    group = np.arange(80) % 2
    codes = generator.normal(size=(80, 3)) + 8 * group[:, None]
    names = np.array([str(n // 4) for n in range(80)])
    chance = generator.permutation(group)
    found = clusters.clusterings(codes, {"malignancy": group, "chance": chance}, names)
    assert found[0].rand.value == 1.0
    assert found[0].silhouette.low > 0.5
    assert abs(found[1].rand.value) < 0.2


def test_a_grouping_of_one_patch_each_or_of_one_group_is_left_out() -> None:
    """Such a set is assessed like any other, without a silhouette that nobody can define."""
    codes = np.random.default_rng(0).normal(size=(12, 3))
    names = np.array([str(n) for n in range(12)])
    groups = {"patient": np.arange(12), "size": np.zeros(12, np.int64), "half": np.arange(12) % 2}
    assert [one.by for one in clusters.clusterings(codes, groups, names)] == ["half"]


@pytest.mark.parametrize("kind", ["gaussian", "dirichlet"])
def test_a_traversal_is_a_strip_and_an_animation(kind: str) -> None:
    """Every row has its steps and its factor; the GIF moves."""
    from dataclasses import replace

    lesions = made(8)
    fitted = training.fit(lesions, [], replace(SMALL, kind=kind), Run())
    rows = traversal.traverse(fitted, lesions, steps=4)
    assert len(rows) == SMALL.latent
    assert all(row.name in factors.NAMES and row.pictures.shape == (4, 16, 16) for row in rows)
    with Image.open(io.BytesIO(traversal.strip(rows, "title"))) as strip:
        assert strip.format == "PNG"
    with Image.open(io.BytesIO(traversal.animation(rows, "title"))) as moving:
        assert getattr(moving, "n_frames", 1) == 6


def test_an_assessment_becomes_a_report(tmp_path: Path) -> None:
    """Both kinds, floors, disentanglement and ablations on one page, with its pictures in files."""
    lesions = tuple(made(8))
    given = command.Set("made discs", lesions, (), ("Discs are no lesions.",))
    found = command.evaluate(
        given, SMALL, Run(steps_scale=0.3), tmp_path, "gatekeeper model lesion evaluate",
        folds=2, trials=1, ablation_scale=0.5, resamples=10,
    )  # fmt: skip
    text = (tmp_path / command.REPORT).read_text(encoding="utf-8")
    for word in ("Discs are no lesions.", "dirichlet, joint", "measured factors", "without SSIM"):
        assert word in text
    assert found.disentanglement is not None
    assert (tmp_path / "gaussian-strip.png").is_file()
    assert (tmp_path / "dirichlet.gif").is_file()
    assert '"ablations"' in page.as_json(found)
    assert set(owners(lesions)) == set(found.kinds["gaussian"].result.joint.names)
