"""The siamese autoencoder with one-class support vector machines: its promises, on phantoms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.svm import OneClassSVM
from torch import Tensor

from models.detectors.siamese import (
    QUESTIONS,
    Config,
    SiameseAutoencoder,
    encode,
    fit,
    mean_rank,
    patient_boundary,
    scorer,
)
from models.detectors.siamese_boundary import Boundaries, fit_boundary
from models.detectors.siamese_network import FORMS, siamese_loss
from models.detectors.siamese_patches import Pairs, cerebrospinal_fluid, from_lattice, on_lattice
from models.errors import ModelError
from models.finding import Region
from models.grid import Canonical
from models.prepare import Prepared
from models.regions import regions
from models.scoring import Example
from models.training.loop import Run
from models.volume import Volume

LEVELS, ROWS, COLUMNS = 3, 48, 48
SHAPE = (LEVELS, ROWS, COLUMNS)
CONFIG = Config(
    levels=LEVELS, rows=ROWS, columns=COLUMNS, steps=80, batch_size=16, learning_rate=8e-3
)
BLOB = (slice(1, 2), slice(18, 28), slice(20, 30))
BRAIN = (np.hypot(*np.mgrid[-23.5:24, -23.5:24]) < 20) & np.ones((LEVELS, 1, 1), dtype=np.bool_)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def phantom(number: int) -> Prepared:
    """Return a disc with a soft rim and two hemispheres, a little different for each subject."""
    chance = np.random.default_rng(number)
    y, x = np.mgrid[-23.5:24, -23.5:24] + chance.normal(0, 0.3, (2, 1, 1))
    rim = 0.4 * np.tanh((np.hypot(y, x) - 15) / 2)
    fold = 0.3 * np.cos(np.abs(x) / 3) + 0.02 * y
    images = rim + fold + chance.normal(0, 0.03, SHAPE) + chance.normal(0, 0.02)
    return prepared(np.where(BRAIN, images, -1).astype(np.float32))


def prepared(images: NDArray[np.float32]) -> Prepared:
    positions = (np.linspace(0, 2, 3), np.linspace(0, 47, 48), np.linspace(0, 47, 48))
    axes, flipped = (2, 1, 0), (False, False, False)
    volume = images.reshape(-1, *SHAPE)[0]
    return Prepared(images, BRAIN, positions, Canonical(volume.T, (1.0, 1.0, 1.0), axes, flipped))


def with_blob() -> Prepared:
    """Return a new subject with a blob brighter than anything in the reference."""
    images = phantom(100).images.copy()
    images[BLOB] = 1.4
    return prepared(images)


def examples(count: int = 6) -> list[Example]:
    usable = np.ones(LEVELS, dtype=np.bool_)
    return [Example(f"s{number}", "", phantom(number), usable) for number in range(count)]


@pytest.fixture(scope="module")
def fitted() -> Mapping[str, Tensor]:
    return fit(examples(), CONFIG, Run())


def sample(count: int, dimensions: int, seed: int = 0) -> NDArray[np.float32]:
    """Return latents of several scales whose values float16 holds."""
    chance = np.random.default_rng(seed)
    values = chance.normal(0, 2, (count, dimensions)) * chance.uniform(0.1, 3, dimensions)
    return values.astype(np.float16).astype(np.float32)


def decisions(train: NDArray[np.float32], nu: float, query: NDArray[np.float32]) -> Tensor:
    """Return scikit-learn's own answer, with its own gamma."""
    machine = OneClassSVM(kernel="rbf", nu=nu, gamma="scale", tol=1e-4).fit(train.astype(float))
    return torch.from_numpy(np.asarray(machine.decision_function(query.astype(float))))


def test_population_decision_is_that_of_scikit_learn() -> None:
    """Many machines judged at once answer as each of scikit-learn's does, to 1e-5."""
    trains = [sample(60 + 40 * number, 64, number) for number in range(4)]
    query = np.concatenate([sample(50, 64, 9), *[train[:5] for train in trains]])
    boundaries = Boundaries.of([fit_boundary(train, 0.03) for train in trains])
    for number, train in enumerate(trains):
        machine = torch.full((len(query),), number)
        found = boundaries.decision(torch.from_numpy(query), machine).double()
        assert (found - decisions(train, 0.03, query)).abs().max() < 1e-5


def test_patient_decision_is_that_of_scikit_learn(fitted: Mapping[str, Tensor]) -> None:
    """A patient's machine answers as scikit-learn's on the same patches, to 1e-5."""
    network = trained(fitted)
    found = encode(network, phantom(50), BRAIN, CONFIG).values
    config = replace(CONFIG, patient_sample=len(found))
    boundary = patient_boundary(found, config)
    ours = boundary.decision(torch.from_numpy(found), torch.zeros(len(found), dtype=torch.long))
    assert (ours.double() - decisions(found, config.nu, found)).abs().max() < 1e-5


def test_distance_is_the_decision_over_the_length_of_the_normal() -> None:
    """The distance is -f / |w|, positive outside, and never under -1."""
    train = sample(100, 8)
    query = np.concatenate([train, np.full((1, 8), 60.0, dtype=np.float32)])
    machine = torch.zeros(len(query), dtype=torch.long)
    one = fit_boundary(train, 0.1)
    boundaries = Boundaries.of([one])
    apart = ((one.support[:, None] - one.support[None]) ** 2).sum(2).astype(np.float64)
    length = float(np.sqrt(one.dual @ np.exp(-one.gamma * apart) @ one.dual))
    distance = boundaries.distance(torch.from_numpy(query), machine)
    decision = boundaries.decision(torch.from_numpy(query), machine)
    assert torch.allclose(distance, -decision / length, atol=1e-6)
    assert distance.min() >= -1
    assert distance[-1] > 0 > distance[:-1].median()


def test_pairs_are_one_place_of_two_subjects() -> None:
    """Both patches of a pair are the same voxel's, normal brain in both, of different subjects."""
    usable = np.array([True, False, True])
    several = examples(4)
    several += [replace(one, usable=usable) for one in several]  # each subject scanned twice
    pairs = Pairs(several, SHAPE, 1)
    generator = torch.Generator().manual_seed(0)
    places, scans = pairs.draw(generator, 400)
    (drawn,) = pairs.batch(torch.Generator().manual_seed(0), 400)
    assert (pairs.subject[scans[:, 0]] != pairs.subject[scans[:, 1]]).all()
    for (level, row, column), both, patches in zip(
        places.tolist(), scans.tolist(), drawn, strict=True
    ):
        assert BRAIN[level, row, column]
        for scan, patch in zip(both, patches, strict=True):
            assert several[scan].usable[level]
            centre = several[scan].prepared.images[level, row, column]
            assert abs(float(patch[0, 7, 7]) - centre) < 1e-3


def test_one_subject_makes_no_pair() -> None:
    """Two scans of one subject are no pair."""
    one = examples(1)[0]
    with pytest.raises(ModelError, match="two subjects"):
        Pairs([one, one], SHAPE, 1)


def test_latent_and_image_have_the_published_sizes() -> None:
    """16 filters end in a latent of 64; the image comes back at its own size, also of two."""
    network = SiameseAutoencoder(2, (3, 4, 12, 16))
    latents, again = network(torch.zeros(5, 2, 15, 15))
    assert latents.shape == (5, 64)
    assert again.shape == (5, 2, 15, 15)


def test_loss_is_squared_error_less_similarity() -> None:
    """The loss is the sum over both patches of the squared error, less alpha times the cosine."""
    network = SiameseAutoencoder(1, (3, 4, 12, 16))
    pairs = torch.randn((3, 2, 1, 15, 15), generator=torch.Generator().manual_seed(1))
    expected: list[float] = []
    for pair in pairs:
        latents, again = network(pair)
        cosine = latents[0] @ latents[1] / latents[0].norm() / latents[1].norm()
        expected.append((((again - pair) ** 2).sum() - 2.0 * cosine).item())
    assert siamese_loss(network, pairs, 2.0).item() == pytest.approx(np.mean(expected))


def test_same_seed_same_tensors_and_another_seed_others(fitted: Mapping[str, Tensor]) -> None:
    """A second fit gives the same tensors, bit for bit; another seed gives other ones."""
    quick = replace(CONFIG, steps=3)
    first, again = fit(examples(4), quick, Run()), fit(examples(4), quick, Run())
    assert first.keys() == fitted.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = fit(examples(4), quick, Run(seed=1))
    assert not torch.equal(first["network.encoder.0.weight"], other["network.encoder.0.weight"])


def test_resumed_fit_equals_an_unbroken_one(tmp_path: Path) -> None:
    """A fit that stops on the way and is started again ends where an unbroken one does."""
    quick = replace(CONFIG, steps=6)
    whole = fit(examples(4), quick, Run())

    def stop(step: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    run = Run(checkpoints=tmp_path, checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(examples(4), quick, replace(run, progress=stop))
    resumed = fit(examples(4), quick, run)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(("form", "step"), [("population", 4), ("patient", 2)])
def test_planted_blob_ranks_first(fitted: Mapping[str, Tensor], form: str, step: int) -> None:
    """A foreign blob in one level is the first region, and the scan's score rises."""
    judge = scorer(fitted, replace(CONFIG, form=form, step=step), "cpu").judge
    normal, planted = judge(phantom(101)), judge(with_blob())
    lesion = np.zeros(SHAPE, dtype=np.bool_)
    lesion[BLOB] = True
    volume = Volume(with_blob().images, np.eye(4), "MR", "BRAIN", "FLAIR")
    threshold = float(np.quantile(normal.map[BRAIN], 0.99))
    found = regions(volume, planted.map, threshold, 1.0)
    assert mean_rank(found, lesion) == 1.0
    level, row, column = np.unravel_index(planted.map.argmax(), SHAPE)
    assert level == 1
    assert 11 <= row < 35  # its patch holds a part of the blob
    assert 13 <= column < 37
    assert planted.scores["focal"] > normal.scores["focal"]
    assert planted.scores.keys() == QUESTIONS.keys()


def test_foreign_contrast_raises_the_global_score(fitted: Mapping[str, Tensor]) -> None:
    """A scan of inverted contrast has a mean latent far from the reference's."""
    judge = scorer(fitted, CONFIG, "cpu").judge
    inverted = prepared(np.where(BRAIN, -phantom(60).images, -1).astype(np.float32))
    ordinary = [judge(phantom(number)).scores["latent_global"] for number in range(60, 64)]
    assert judge(inverted).scores["latent_global"] > 10 * max(ordinary)


@pytest.mark.parametrize("form", FORMS)
def test_tensors_judge_alike_from_disk(
    fitted: Mapping[str, Tensor], tmp_path: Path, form: str
) -> None:
    """Tensors that went through safetensors judge bit for bit as before, and twice alike."""
    config = replace(CONFIG, form=form)
    save_file(dict(fitted), tmp_path / "weights.safetensors")
    restored = scorer(load_file(tmp_path / "weights.safetensors"), config, "cpu")
    first = scorer(fitted, config, "cpu").judge(with_blob())
    for judgement in (restored.judge(with_blob()), restored.judge(with_blob())):
        assert dict(judgement.scores) == dict(first.scores)
        assert np.array_equal(judgement.map, first.map)
    assert first.map.dtype == np.float32
    assert (first.map[~BRAIN] == 0).all()
    assert first.map.min() >= 0


def test_two_contrasts_fit_and_judge() -> None:
    """With two channels, images carry them on their first axis."""
    config = replace(CONFIG, channels=2, steps=3, form="patient")

    def both(number: int) -> Prepared:
        images = phantom(number).images
        return prepared(np.stack([images, np.where(BRAIN, -images, -1)]))

    several = [replace(one, prepared=both(n)) for n, one in enumerate(examples(3))]
    tensors = fit(several, config, Run())
    assert not any(name.startswith("svm.") for name in tensors)
    assert scorer(tensors, config, "cpu").judge(both(9)).map.shape == SHAPE
    with pytest.raises(ModelError, match="shape"):
        scorer(tensors, config, "cpu").judge(phantom(9))


def test_fluid_prior_removes_dark_voxels_only(fitted: Mapping[str, Tensor]) -> None:
    """The map is 0 in the dark, as without the prior elsewhere; single dark voxels stay."""
    images = phantom(70).images.copy()
    images[BLOB] = -0.9
    images[0, 20, 20] = -0.9
    scan = prepared(images)
    config = replace(CONFIG, csf_prior=True, csf_below=-0.7)
    without = scorer(fitted, CONFIG, "cpu").judge(scan)
    prior = scorer(fitted, config, "cpu").judge(scan)
    fluid = cerebrospinal_fluid(images[None], BRAIN, -0.7)
    dark = (images < -0.7) & BRAIN
    assert fluid[BLOB].mean() > 0.9
    assert not (fluid & ~dark).any()
    assert dark[0, 20, 20]
    assert not fluid[0, 20, 20]
    assert (prior.map[fluid] == 0).all()
    assert np.array_equal(prior.map[~fluid], without.map[~fluid])


def test_lattice_returns_to_the_grid_at_its_nodes() -> None:
    """Nodes keep their value, and the brain's edge takes no part of what is unknown."""
    chance = np.random.default_rng(0)
    inside = on_lattice(BRAIN, 4)
    values = np.where(inside, chance.uniform(1, 2, inside.shape), 0).astype(np.float32)
    grid = from_lattice(values, inside, SHAPE, 4)
    assert np.allclose(grid[:, 2::4, 2::4][inside], values[inside])
    assert grid[BRAIN].min() >= 1


def test_wrong_images_are_refused(fitted: Mapping[str, Tensor]) -> None:
    """Another shape, a value that is no number, and no brain are refused."""
    judge = scorer(fitted, CONFIG, "cpu").judge
    good = phantom(0)
    broken = good.images.copy()
    broken[0, 20, 20] = np.nan
    for bad, words in (
        (replace(good, images=good.images[:, :-1]), "shape"),
        (replace(good, brain=good.brain[:-1]), "shape"),
        (replace(good, images=broken), "not numbers"),
    ):
        with pytest.raises(ModelError, match=words):
            judge(bad)
        with pytest.raises(ModelError, match=words):
            fit([replace(one, prepared=bad) for one in examples(2)], CONFIG, Run())
    with pytest.raises(ModelError, match="in the brain"):
        judge(replace(good, brain=np.zeros(SHAPE, dtype=np.bool_)))


def test_wrong_tensors_and_settings_are_refused(fitted: Mapping[str, Tensor]) -> None:
    """Missing, misshapen and contradictory tensors are refused, as are settings of no sense."""
    nan = fitted["network.encoder.0.weight"].clone()
    nan[0] = torch.nan
    changes: list[dict[str, Tensor]] = [
        {"network.encoder.0.weight": nan},
        {"network.encoder.0.weight": nan[:-1]},
        {"global.mean": fitted["global.mean"][:-1]},
        {"svm.dual": fitted["svm.dual"][:-1]},
        {"svm.count": fitted["svm.count"] + 1},
        {"svm.gamma": -fitted["svm.gamma"]},
        {"svm.machine": fitted["svm.machine"] + 10_000},
    ]
    for change in changes:
        with pytest.raises(ModelError):
            scorer({**fitted, **change}, CONFIG, "cpu")
    for missing in fitted:
        with pytest.raises(ModelError, match="missing"):
            scorer({name: fitted[name] for name in fitted if name != missing}, CONFIG, "cpu")
    for config in (
        replace(CONFIG, form="both"),
        replace(CONFIG, filters=(3, 4)),
        replace(CONFIG, location=6),
    ):
        with pytest.raises(ModelError):
            scorer(fitted, config, "cpu")


def test_mean_rank_counts_a_missed_lesion_after_all_regions() -> None:
    """Each lesion takes its first region's rank; a missed one the rank after the last."""
    lesion = np.zeros((2, 8, 8), dtype=np.bool_)
    lesion[0, 1:3, 1:3] = lesion[1, 5:7, 5:7] = True

    def region(rank: int, row: int) -> Region:
        outline = np.zeros((1, 2))
        mask = np.ones((1, 2, 2), dtype=np.bool_)
        return Region(rank, 4.0, (0.0, 0.0, 0.0), 1.0, 1.0, 0, outline, mask, (0, row, 1))

    assert mean_rank([region(1, 5), region(2, 2), region(3, 1)], lesion) == (2 + 4) / 2
    with pytest.raises(ValueError, match="no lesion"):
        mean_rank([], np.zeros_like(lesion))


def test_settings_survive_the_manifest() -> None:
    """The settings come back from plain values as they were."""
    assert Config.from_dict(CONFIG.as_dict()) == CONFIG


def trained(tensors: Mapping[str, Tensor]) -> SiameseAutoencoder:
    network = SiameseAutoencoder(CONFIG.channels, CONFIG.filters)
    names = network.state_dict()
    network.load_state_dict({name: tensors[f"network.{name}"].float() for name in names})
    return network.eval()
