"""The simulated cohort has the published figures, and says everywhere that it is made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from models.evaluation.association import spearman
from models.multimodal.evaluation import Evaluation, evaluate
from models.multimodal.network import Config
from models.multimodal.published import needed, power, recomputed, t_p_value
from models.multimodal.report import render
from models.multimodal.simulate import NOTICE, simulated
from models.multimodal.trials import trial
from models.training.loop import Run


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_cohort_has_the_published_figures(seed: int) -> None:
    """Median, quartiles, cut, its 7 of 41, and both correlations to the published digits."""
    made = simulated(seed)
    assert np.percentile(made.scores, (25, 50, 75, 85)) == pytest.approx(
        (22.87, 26.91, 32.11, 33.85)
    )
    assert (made.scores >= 33.85).sum() == 7
    table = made.cohort.table
    for name, rho in (("dlco", -0.25), ("fev1", -0.22)):
        assert spearman(made.scores, table.column(name)).rho.value == pytest.approx(rho, abs=0.01)
    assert all(name.startswith("simulated-") for name in table.patients)


def test_the_same_seed_makes_the_same_patients() -> None:
    """A cohort is known by its seed."""
    first, second = simulated(3), simulated(3)
    assert np.array_equal(first.cohort.embeddings, second.cohort.embeddings)
    assert np.array_equal(first.cohort.table.values, second.cohort.table.values, equal_nan=True)


def test_p_values_by_t_equal_those_of_scipy() -> None:
    """The p-value from rho and n is the one that scipy gives for data of that rho."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 41))
    found: Any = stats.spearmanr(a, b)
    assert t_p_value(float(found.statistic), 41) == pytest.approx(float(found.pvalue))


def test_the_published_p_values_agree_with_their_rho() -> None:
    """0.115 and 0.165 follow from -0.25 and -0.22 of 41 patients, within rho's rounding."""
    rows = {row.quantity: row for row in recomputed()}
    for name in ("DLCO", "FEV1"):
        assert rows[f"p of rho with {name}"].how.endswith("in agreement")
        assert "not in agreement" not in rows[f"p of rho with {name}"].how


def test_the_patients_needed_reach_the_power_asked_for() -> None:
    """80 % is reached with `needed` patients, and not with one less."""
    count = needed(-0.25)
    assert power(-0.25, count) >= 0.8 > power(-0.25, count - 1) - 1e-3


@pytest.fixture(scope="module")
def found() -> Evaluation:
    """Return a quick evaluation of the simulated cohort."""
    made = simulated()
    marker = {"dlco": made.cohort.table.column("dlco")}
    return evaluate(made.cohort, marker, Config(steps=100, folds=2), Run())


def test_a_marker_that_is_an_input_is_also_judged_hidden(found: Evaluation) -> None:
    """What a score owes to having seen the marker itself is set beside."""
    (one,) = found.associations
    assert one.without is not None
    assert one.held_out.patients == 41


def test_discordance_sets_image_beside_function(found: Evaluation) -> None:
    """Percentiles of both lie in 0 to 1 and their gap names who disagrees."""
    shown = found.discordance
    assert shown is not None
    assert ((shown.image > 0) & (shown.image < 1)).all()
    assert np.nanmax(np.abs(shown.gap)) > 0.3
    assert np.array_equal(shown.gap, shown.image - shown.function)


def test_the_report_says_that_the_patients_are_made_up(found: Evaluation) -> None:
    """The notice stands at the top, and the published table beside ours."""
    marker = {"dlco": found.cohort.table.column("dlco")}
    page = render("Trial", {"Cohort": "x"}, found, marker, notice=NOTICE, published=True)
    assert page.index(NOTICE) < page.index("Scores and thresholds")
    assert "The published statistics, computed again" in page
    assert page.count("data:image/png;base64,") == 3


def test_mean_imputation_makes_patients_of_whom_less_is_known_look_usual() -> None:
    """The score of modelled missing values leans less on how many there are."""
    found = trial(0, Config(steps=150, folds=2))
    imputed = found["rho with missing values, mean-imputed"]
    assert abs(found["rho with missing values, modelled"]) < abs(imputed)
