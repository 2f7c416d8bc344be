"""The multimodal model: missing values are modelled, contributions are exact, folds are apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.phantoms import body, volume

from models.errors import ModelError, TamperedError
from models.multimodal import bundle, crossfit, model
from models.multimodal.crossfit import CrossFit, conformal_cut, folds, percentile_cut
from models.multimodal.embedding import Encoder
from models.multimodal.model import Cohort
from models.multimodal.network import Config
from models.multimodal.simulate import NOTICE, simulated
from models.multimodal.variables import Table, Variable
from models.training.loop import Run

QUICK = Config(steps=150, folds=3)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Return simulated patients, a fifth of some variables missing."""
    return simulated(missing=0.2).cohort


@pytest.fixture(scope="module")
def fitted(cohort: Cohort) -> CrossFit:
    """Return them judged twice."""
    return crossfit.cross_fit(cohort, QUICK, Run())


def changed(cohort: Cohort, patient: int, name: str, value: float) -> Cohort:
    """Return one patient with one value changed."""
    table = cohort.table
    values = table.values.copy()
    values[patient, [one.name for one in table.variables].index(name)] = value
    return Cohort(Table(table.patients, table.variables, values), cohort.embeddings).rows([patient])


def test_contributions_and_baseline_add_up_to_the_score(fitted: CrossFit, cohort: Cohort) -> None:
    """Shapley values are efficient: nothing of the score is left unexplained."""
    found = fitted.model.contributions(cohort)
    total = found.baseline + found.values.sum(1)
    assert total == pytest.approx(fitted.model.scores(cohort), abs=1e-4)


def test_what_was_not_measured_contributes_nothing(fitted: CrossFit, cohort: Cohort) -> None:
    """A missing value has no part in a score, whatever stands in its place in memory."""
    missing = np.isnan(cohort.table.values)
    assert missing.any()
    assert (fitted.contributions.values[:, 1:][missing] == 0).all()


def test_a_missing_value_is_not_the_mean(fitted: CrossFit, cohort: Cohort) -> None:
    """'Not measured' and 'measured, and average' are different patients to the network."""
    average = float(np.nanmean(cohort.table.column("dlco")))
    measured = fitted.model.scores(changed(cohort, 0, "dlco", average))
    unknown = fitted.model.scores(changed(cohort, 0, "dlco", np.nan))
    assert abs(float(measured[0] - unknown[0])) > 1e-3


def test_an_impossible_combination_raises_the_score_by_its_own_variable(
    fitted: CrossFit, cohort: Cohort
) -> None:
    """A value far from all others raises the score, and the contributions name it."""
    usual = fitted.model.scores(changed(cohort, 3, "spo2", 95.0))
    strange = changed(cohort, 3, "spo2", 60.0)
    assert fitted.model.scores(strange)[0] > usual[0] + 5
    found = fitted.model.contributions(strange)
    assert found.players[int(found.values[0].argmax())] == "spo2"


def test_a_patient_without_a_scan_is_judged_on_function_alone(
    fitted: CrossFit, cohort: Cohort
) -> None:
    """A missing scan is a missing variable like any other."""
    blind = Cohort(cohort.table, np.full_like(cohort.embeddings, np.nan))
    assert np.isfinite(fitted.model.scores(blind)).all()
    assert (fitted.model.contributions(blind.rows([0])).values[:, 0] == 0).all()


def test_a_cross_fitted_score_does_not_know_its_patient(cohort: Cohort, fitted: CrossFit) -> None:
    """Changing a patient's values changes nothing in the fold's model that judges him."""
    fold = folds(cohort.table.patients, QUICK.folds)
    own = np.flatnonzero(fold == fold[0])
    others = np.flatnonzero(fold != fold[0])
    alone = model.fit(cohort.rows(others), QUICK, Run()).scores(cohort.rows(own))
    assert alone == pytest.approx(fitted.held_out[own], abs=1e-6)


def test_training_patients_score_lower_than_when_held_out(fitted: CrossFit) -> None:
    """The network knows its own patients: in-sample scores are too good."""
    assert np.median(fitted.held_out) > np.median(fitted.in_sample)


def test_folds_do_not_depend_on_the_order_of_patients() -> None:
    """A patient's fold is drawn by his name."""
    names = tuple(f"p{number}" for number in range(20))
    forwards, backwards = folds(names, 4), folds(names[::-1], 4)
    assert (forwards == backwards[::-1]).all()
    assert np.bincount(forwards).tolist() == [5, 5, 5, 5]


def test_the_published_percentile_calls_seven_of_41_atypical() -> None:
    """Numpy's linear 85th percentile of 41 values is the 35th of them: 7 lie at or above."""
    cut = percentile_cut(np.random.default_rng(1).normal(size=41), 85)
    assert cut.atypical == 7


@pytest.mark.parametrize(("count", "rate", "atypical"), [(41, 0.15, 5), (19, 0.05, 0), (5, 0.1, 0)])
def test_the_conformal_cut_is_where_the_p_value_reaches_the_rate(
    count: int, rate: float, atypical: int
) -> None:
    """At the cut (1 + #{scores >= s}) / (n + 1) is at most the rate; just below it is not."""
    scores = np.arange(count, dtype=np.float64)
    cut = conformal_cut(scores, rate)
    assert cut.atypical == atypical
    if np.isfinite(cut.value):
        assert (1 + (scores >= cut.value).sum()) / (count + 1) <= rate
        below = np.nextafter(cut.value, -np.inf)
        assert (1 + (scores >= below).sum()) / (count + 1) > rate


def test_a_bundle_gives_the_scores_of_the_model_that_was_written(
    fitted: CrossFit, cohort: Cohort, tmp_path: Path
) -> None:
    """Written twice the bytes are the same; read back the scores are."""
    for name in ("a", "b"):
        bundle.write(tmp_path / name / "lung", fitted, NOTICE, simulated=True)
    files = [(tmp_path / name / "lung" / bundle.MANIFEST).read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]
    read = bundle.read(tmp_path / "a" / "lung")
    assert read.simulated
    assert read.model.scores(cohort) == pytest.approx(fitted.in_sample, abs=1e-9)
    judged = read.judge(cohort.embeddings[0], {"dlco": 40.0, "fev1": 95.0})
    assert judged.score == pytest.approx(judged.baseline + sum(judged.contributions.values()), 1e-4)
    assert "spo2" in judged.missing
    with pytest.raises(ModelError, match="dlco: a value lies outside 5 to 160 %"):
        read.judge(cohort.embeddings[0], {"dlco": 400.0})


def test_a_bundle_that_was_tampered_with_is_refused(fitted: CrossFit, tmp_path: Path) -> None:
    """Weights are hashed before they are parsed; a manifest of another form is named."""
    folder = tmp_path / "lung"
    bundle.write(folder, fitted, NOTICE)
    weights = folder / bundle.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(TamperedError):
        bundle.read(folder)
    manifest = json.loads((folder / bundle.MANIFEST).read_text())
    (folder / bundle.MANIFEST).write_text(json.dumps(manifest | {"settings": {}}))
    with pytest.raises(ModelError, match="settings are not those of this version"):
        bundle.read(folder)
    other = {"encoder": manifest["encoder"] | {"weights": {}}}
    (folder / bundle.MANIFEST).write_text(json.dumps(manifest | other))
    with pytest.raises(ModelError, match="made with another encoder of images"):
        bundle.read(folder)


def test_a_cohort_without_scans_is_fitted_on_its_values() -> None:
    """Clinical values alone make a model, with no part for the image."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(30, 3))
    values[:, 2] += values[:, 0]
    values[::5, 1] = np.nan
    variables = tuple(Variable(name, "1") for name in "abc")
    names = tuple(str(number) for number in range(30))
    cohort = Cohort(Table(names, variables, values), np.zeros((30, 0)))
    found = crossfit.cross_fit(cohort, Config(steps=60, folds=2), Run())
    assert np.isfinite(found.held_out).all()
    assert (found.contributions.values[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0] * 10, "a is the same in every patient"),
        ([1.0, 2.0] + [np.nan] * 8, "a was measured in fewer than three patients"),
    ],
)
def test_a_variable_that_says_nothing_is_named(column: list[float], message: str) -> None:
    """A constant or hardly measured variable is refused before training."""
    table = Table(
        tuple(str(number) for number in range(10)), (Variable("a", "1"),), np.array([column]).T
    )
    with pytest.raises(ModelError, match=message):
        model.fit(Cohort(table, np.zeros((10, 0))), QUICK, Run())


def test_the_encoder_gives_one_vector_a_scan_and_ct_its_own_window() -> None:
    """A scan becomes one vector; air far below the CT window changes nothing."""
    encoder = Encoder("body")
    array = body(0, (18, 48, 48))
    first = encoder.embed(volume(array))
    assert first.shape == (encoder.size,)
    assert np.isfinite(first).all()
    assert not np.allclose(first, encoder.embed(volume(body(9, (18, 48, 48)))))
    tissue = replace(volume(array * 4 - 1000), modality="CT")
    padded = replace(tissue, array=np.where(tissue.array > -1000, tissue.array, -3000))
    assert np.allclose(encoder.embed(tissue), encoder.embed(padded))
