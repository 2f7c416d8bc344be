"""Training, cross-validation by patient, calibration, and the model as it is saved and used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.lesions import SMALL, made

from models.errors import ModelError, NotAssessable, TamperedError
from models.lesion import crossvalidation, floors, model, search, training
from models.lesion.lesions import Lesion, labels, owners, tensor
from models.lesion.model import LesionModel
from models.training.loop import Run


@pytest.fixture(scope="module")
def trained() -> LesionModel:
    """A small model of twelve made patients."""
    fitted = training.fit(made(12), [], SMALL, Run(seed=1))
    logits = np.linspace(-2, 2, 12)
    truth = np.array([0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 1, 1], dtype=bool)
    return LesionModel(fitted, model.calibrate(logits, truth), "made")


def test_no_patient_is_on_both_sides_of_a_fold() -> None:
    """Every patch is tested once, and never with another patch of its patient in training."""
    lesions = made(12, each=3)
    whose = owners(lesions)
    folds = crossvalidation.splits(lesions, 3)
    assert sorted(int(n) for _, test in folds for n in test) == list(range(len(lesions)))
    for train, test in folds:
        assert not set(whose[train]) & set(whose[test])


def test_a_patients_label_does_not_reach_its_own_score() -> None:
    """Turning the labels of one fold's tested patients round leaves their scores as they were."""
    lesions = made(12)
    config, run = SMALL, Run(seed=3)
    first_train, first_test = crossvalidation.splits(lesions, 3, run.seed)[0]
    patches = tensor([one.stack for one in lesions], config)

    def scored(given: list[Lesion]) -> NDArray[np.float64]:
        own = [given[index] for index in first_train]
        fitted = training.fit(own, [], config, run)
        return fitted.logits(patches[first_test])

    turned = list(lesions)
    for index in first_test:
        turned[index] = replace(lesions[index], malignant=not lesions[index].malignant)
    assert np.array_equal(scored(list(lesions)), scored(list(turned)))


def test_patients_that_look_apart_are_told_apart() -> None:
    """Large dense discs against small faint ones: the joint model ranks unseen patients."""
    lesions = made(16)
    config = replace(SMALL, steps=40, joint_steps=5, learning_rate=3e-3)
    found = crossvalidation.cross_validate(lesions, [], config, Run(), folds=4)
    assert found.joint.delong.value > 0.9
    assert len(found.joint.names) == 16
    assert np.isfinite(found.similarity).all()


def test_the_same_seed_gives_the_same_scores() -> None:
    """Two runs with one seed are equal to the last bit."""
    lesions = made(8)
    runs = [
        crossvalidation.cross_validate(lesions, [], SMALL, Run(seed=5), folds=2, trials=1)
        for _ in range(2)
    ]
    assert np.array_equal(runs[0].joint.logits, runs[1].joint.logits)


def test_what_cannot_be_cross_validated_is_refused() -> None:
    """Too few patients of a class, a patient with and without a label, a lesion without one."""
    with pytest.raises(ModelError, match="need 5 patients"):
        crossvalidation.splits(made(6), 5)
    with pytest.raises(ModelError, match="labelled and the unlabelled"):
        crossvalidation.cross_validate(made(6), made(1), SMALL, Run(), folds=2)
    with pytest.raises(ModelError, match="benign or malignant"):
        labels([replace(made(1)[0], malignant=None)])


def test_each_class_and_each_patient_weighs_the_same() -> None:
    """A patient with many slices does not count more than one with few."""
    lesions = [*made(4), *made(4)[:2]]  # the first patient has four patches
    weights, whose = training.balanced(lesions).numpy(), owners(lesions)
    totals = [weights[whose == name].sum() for name in np.unique(whose)]
    assert np.allclose(totals, totals[0])


def test_floors_are_measured_in_the_same_folds() -> None:
    """What is told by size is told by the floor of measured factors, and not by noise."""
    lesions = made(16)
    found = floors.floors(lesions, crossvalidation.splits(lesions, 4))
    assert set(found) == set(floors.NAMES)
    assert found["measured factors"].delong.value > 0.9
    assert found["the frame alone"].delong.value < 0.9


def test_the_search_stays_within_its_bounds() -> None:
    """Optuna returns settings for the classifier and for the network."""
    lesions = made(8)
    codes = torch.randn(len(lesions), SMALL.latent)
    assert search.classifier(codes, lesions, SMALL, 2, 0).hidden in (4, 16, 32)
    config, told = search.network(lesions, replace(SMALL, kind="dirichlet", steps=2), 2, Run())
    assert 0.5 <= config.concentration <= 0.99
    assert len(told) == 2


def test_a_prediction_is_a_probability_with_its_calibration(trained: LesionModel) -> None:
    """Probability inside its interval; several patches of a lesion count as their mean logit."""
    stacks = [one.stack for one in made(2)]
    found = trained.predict(stacks)
    assert 0 < found.low <= found.probability <= found.high < 1
    assert found.calibration.patients == (6, 6)
    each = [trained.predict(stack).logit for stack in stacks]
    assert found.logit == pytest.approx(float(np.mean(each)), abs=1e-3)
    assert len(found.code) == SMALL.latent


def test_a_lower_prevalence_lowers_the_probability(trained: LesionModel) -> None:
    """At a screening prevalence the same lesion is less likely malignant."""
    stack = made(2)[-1].stack
    usual, rare = trained.predict(stack), trained.predict(stack, prevalence=0.02)
    assert rare.probability < usual.probability
    assert usual.prevalence == 0.5
    with pytest.raises(ModelError, match="between 0 and 1"):
        trained.predict(stack, prevalence=1.0)


def test_a_patch_that_is_not_one_is_not_assessed(trained: LesionModel) -> None:
    """Another shape, or a value that is no number, is a fact about the patch."""
    with pytest.raises(NotAssessable, match="shape"):
        trained.predict(np.zeros((1, 8, 8), dtype=np.float32))
    with pytest.raises(NotAssessable, match="not numbers"):
        trained.predict(np.full((1, 16, 16), np.nan, dtype=np.float32))
    with pytest.raises(ModelError, match="at least one"):
        trained.predict([])


def test_a_saved_model_says_the_same(trained: LesionModel, tmp_path: Path) -> None:
    """Weights, settings and calibration come back; changed weights are refused."""
    folder = tmp_path / "made"
    model.save(trained, folder, {"data": {"name": "discs"}})
    again = model.load(folder)
    stack = made(1)[0].stack
    expected = trained.predict(stack).probability
    assert again.predict(stack).probability == pytest.approx(expected, abs=1e-4)
    assert again.config == trained.config
    assert len(again.digest) == 64
    path = folder / model.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(TamperedError):
        model.load(folder)
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="manifest"):
        model.load(folder)


def test_platts_scaling_is_that_of_a_regression() -> None:
    """Slope and intercept agree with scikit-learn's logistic regression on Platt's targets."""
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    truth = np.arange(400) % 2 == 0
    logits = generator.normal(0, 1, 400) + truth
    found = model.calibrate(logits, truth)
    expected = LogisticRegression(C=1e6).fit(logits[:, None], truth)
    assert found.slope == pytest.approx(float(expected.coef_[0, 0]), rel=0.05)
    assert found.intercept == pytest.approx(float(expected.intercept_[0]), abs=0.05)
    assert found.prevalence == 0.5


def test_a_score_that_is_the_wrong_way_round_says_the_prevalence() -> None:
    """A calibration never turns the order of the scores round."""
    found = model.calibrate(np.array([3.0, 2.0, 1.0, 0.0]), np.array([False, False, True, True]))
    assert found.slope == 0.0
    assert found.intercept == pytest.approx(0.0)
