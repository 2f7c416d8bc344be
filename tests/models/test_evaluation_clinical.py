"""Clinical statistics of a cohort: all together, patients with several rows, bad tables."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from models.errors import ModelError
from models.evaluation.association import partial_spearman, spearman, with_outcome
from models.evaluation.classes import decided, one_against_rest
from models.evaluation.clinical import Cohort, Terms, measured
from models.evaluation.clinical_classes import MACRO, MICRO, several
from models.evaluation.clinical_report import Found, as_plain, render
from models.evaluation.clinical_table import Binary, binary, overlap, read, stated_terms
from models.evaluation.clustered import draws

QUICK = Terms(0.5, (0.05, 0.3), (0.2, 0.5), seed=1, resamples=120)


def _rows(count: int = 60, seed: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.float64], Any]:
    generator = np.random.default_rng(seed)
    truth = np.arange(count) % 5 < 2
    new = 1 / (1 + np.exp(-(generator.normal(size=count) + 1.5 * truth - 0.7)))
    return truth, new, 1 / (1 + np.exp(-(generator.normal(size=count) + 0.4 * truth - 0.5)))


def _patients(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def test_one_row_a_patient_has_the_intervals_of_the_literature() -> None:
    """DeLong, Clopper and Pearson: the cohort has what the functions alone give."""
    from models.evaluation.benefit import discrimination
    from models.evaluation.comparison import delong_test
    from models.evaluation.patients import delong_auroc

    truth, new, old = _rows()
    found = measured(Cohort(truth, new, _patients(60), True, old), QUICK)
    assert found.auroc == delong_auroc(new[~truth], new[truth])
    assert found.against == delong_test((new[~truth], old[~truth]), (new[truth], old[truth]))
    assert found.decided is not None
    assert found.decided.sensitivity == found.decided.table.sensitivity
    assert [one.prevalence for one in found.decided.predictive] == [0.05, 0.3]
    assert found.improved is not None
    assert found.improved.discrimination == discrimination(old, new, truth)
    assert found.calibrated is not None
    assert found.calibrated.brier.low < found.calibrated.brier.value < found.calibrated.brier.high
    assert len(found.curve) == len(found.curve_against) == 99


def test_repeated_rows_do_not_narrow_an_interval() -> None:
    """Every row four times under its patient's name: same values, intervals as wide as before."""
    truth, new, old = _rows()
    own = measured(Cohort(truth, new, _patients(60), True, old), QUICK)
    again = measured(
        Cohort(
            np.repeat(truth, 4),
            np.repeat(new, 4),
            tuple(np.repeat(_patients(60), 4).tolist()),
            True,
            np.repeat(old, 4),
        ),
        QUICK,
    )
    assert own.improved and again.improved and own.decided and again.decided
    assert own.against and again.against
    pairs = [
        (own.auroc, again.auroc),
        (own.against.difference, again.against.difference),
        (own.decided.sensitivity, again.decided.sensitivity),
        (own.decided.predictive[0].positive, again.decided.predictive[0].positive),
        (own.improved.continuous.total, again.improved.continuous.total),
        (own.improved.discrimination.total, again.improved.discrimination.total),
    ]
    for alone, repeated in pairs:
        assert repeated.value == pytest.approx(alone.value)
        assert repeated.high - repeated.low > 0.6 * (alone.high - alone.low)
    assert again.decided.ratios is None


def test_a_mere_score_has_no_calibration_and_no_net_benefit() -> None:
    """A score is ranked and decided by; nothing that needs a probability is said of it."""
    truth, new, old = _rows()
    found = measured(Cohort(truth, 7 * new, _patients(60), against=7 * old), Terms())
    assert found.decided is found.calibrated is found.improved is None
    assert found.curve == ()
    page = render("A", Found({}, cohort=Cohort(truth, 7 * new, _patients(60)), clinical=found))
    assert "no probability" in page
    assert "No threshold was stated" in page


@pytest.mark.parametrize(
    ("truth", "score", "rule"),
    [
        ([True, True, True], [0.1, 0.2, 0.3], "2 normal patients"),
        ([True, False, False], [0.1, 0.2, 0.3], "2 abnormal patients"),
        ([True, True, False, False], [0.1, 0.2, 0.3, 1.5], "probability lies in"),
        ([True, True, False, False], [0.1, 0.2, 0.3, float("nan")], "needs a score"),
        ([True, True, False, False], [0.1, 0.2, 0.3], "every row needs"),
    ],
)
def test_a_cohort_that_breaks_a_rule_is_refused(
    truth: list[bool], score: list[float], rule: str
) -> None:
    """The error names the rule."""
    with pytest.raises(ValueError, match=rule):
        Cohort(np.array(truth), np.array(score), _patients(len(truth)), True)


def test_all_tied_scores_know_nothing() -> None:
    """One score for everybody: AUROC 0.5, an empty reliability but for one bin, no error."""
    truth = np.array([True] * 5 + [False] * 5)
    found = measured(Cohort(truth, np.full(10, 0.5), _patients(10), True), QUICK)
    assert found.auroc.value == 0.5
    assert found.calibrated is not None
    assert len(found.calibrated.curve) == 1
    assert found.calibrated.parts.resolution == 0.0


def test_whole_patients_are_resampled() -> None:
    """A patient's rows come together, as often as it is drawn."""
    owners = ["a", "b", "a", "c", "b", "a"]
    sums = draws(lambda rows: [len(rows), sum(owners[row] == "a" for row in rows)], owners, 3, 50)
    assert set(sums[:, 1]) <= {0, 3, 6, 9}
    with pytest.raises(ValueError, match="one patient"):
        draws(lambda rows: [0.0], ["a", "a"])


def test_classes_have_their_averages_with_intervals() -> None:
    """Values are those of the plain functions, intervals hold them."""
    generator = np.random.default_rng(1)
    names = ("a", "b", "c")
    truth = [names[index] for index in generator.choice(3, 60)]
    values = generator.normal(size=(60, 3)) + (np.asarray(truth)[:, None] == np.asarray(names))
    found = several(values, truth, names, _patients(60), resamples=100)
    areas = one_against_rest(values, truth, names)
    assert found.measures["AUROC"][MACRO].value == areas.macro
    assert found.measures["AUROC"]["b"].value == areas.classes["b"]
    said = [names[index] for index in values.argmax(axis=1)]
    assert found.measures["F1"][MICRO].value == decided(said, truth, names).f1.micro
    assert all(one.low <= one.value <= one.high for one in found.measures["AUROC"].values())
    with pytest.raises(ValueError, match="2 patients of each class"):
        several(values[:3], ["a", "a", "b"], names, _patients(3))


def test_a_dice_goes_with_an_outcome_as_mann_and_whitney_say() -> None:
    """AUROC is U / (n m), p is scipy's exact one without ties, medians are of each kind."""
    dice = [0.9, 0.8, 0.75, 0.6, 0.55, 0.4, 0.3]
    outcome = [False, False, True, False, True, True, True]
    found = with_outcome(dice, outcome)
    expected: Any = stats.mannwhitneyu([0.75, 0.55, 0.4, 0.3], [0.9, 0.8, 0.6], method="exact")
    assert found.auroc.value == pytest.approx(expected.statistic / 12)
    assert (found.p_value, found.exact) == (expected.pvalue, True)
    assert (found.with_outcome, found.without) == ((pytest.approx(0.475), 4), (0.8, 3))
    assert not with_outcome([*dice, 0.3], [*outcome, True]).exact
    with pytest.raises(ValueError, match="two patients"):
        with_outcome(dice, [True] + [False] * 6)


def test_a_dice_that_is_only_size_is_seen_through() -> None:
    """Dice and outcome both follow size: rho is high, with size given not; p as statsmodels'."""
    pytest.importorskip("statsmodels")
    regression: Any = importlib.import_module("statsmodels.api")
    generator = np.random.default_rng(2)
    size = generator.normal(size=80)
    dice, outcome = (size + 0.5 * generator.normal(size=80) for _ in range(2))
    assert spearman(dice, outcome).rho.value > 0.6
    found = partial_spearman(dice, outcome, size)
    assert abs(found.rho.value) < 0.25
    ranks = [stats.rankdata(one) for one in (dice, outcome, size)]
    fitted = regression.OLS(ranks[0], regression.add_constant(np.stack(ranks[1:], 1))).fit()
    assert found.p_value == pytest.approx(fitted.pvalues[1])
    with pytest.raises(ValueError, match="five patients"):
        partial_spearman([1, 2, 3], [1, 2, 3], [3, 1, 2])
    with pytest.raises(ValueError, match="follows the third"):
        partial_spearman(size, outcome, size)


TABLE = """patient,ill,p,old,dice,end
a,1,0.9,0.7,0.5,1
b,1,0.6,0.7,0.6,1
c,0,0.2,0.4,0.7,0
d,0,0.7,0.3,0.9,0
e,0,,0.3,0.8,0
a,1,0.8,0.6,0.7,1
"""


def _written(folder: Path, text: str = TABLE) -> Path:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_without_a_score_is_left_out_and_counted(tmp_path: Path) -> None:
    """The empty cell costs its row, and the count says so; a patient twice makes clusters."""
    path = _written(tmp_path)
    cohort, found, left_out = binary(path, Binary("ill", "1", "p", True, "old", "patient"), QUICK)
    assert (len(cohort.truth), left_out, cohort.clustered) == (5, 1, True)
    assert found.auroc.value == pytest.approx(5 / 6)
    shown, _ = overlap(path, "dice", "end", "1", None, "patient")
    assert shown.dice.tolist() == pytest.approx([0.6, 0.6, 0.7, 0.9, 0.8])
    assert shown.separation is not None
    plain = as_plain(Found({}, cohort=cohort, clinical=found, overlap=shown))
    assert plain["statistics"]["decided"]["table"] == {"tp": 3, "fp": 1, "fn": 0, "tn": 1}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (TABLE.replace("ill", "sick"), "no column 'ill'"),
        (TABLE.replace("0.6,0.7,0.6", "x,0.7,0.6"), "'p': a cell is no number"),
        (TABLE.replace("b,1", "b,2"), "two values"),
        (TABLE.replace("ill", "p"), "two columns have one name"),
        ("patient,ill,p,old\n", "no row"),
        ("patient,ill,p,old\na,1,0.5,0.5\nb,0,0.5,0.5\n", "at least 2"),
        (TABLE.replace("0.9,0.7", "inf,0.7"), "not finite"),
    ],
)
def test_a_table_that_breaks_a_rule_names_it(tmp_path: Path, text: str, rule: str) -> None:
    """One sentence with the column and the rule."""
    with pytest.raises(ModelError, match=rule):
        binary(_written(tmp_path, text), Binary("ill", "1", "p", True, "old", "patient"), QUICK)


def test_an_outcome_is_one_a_patient(tmp_path: Path) -> None:
    """A patient with two outcomes, a Dice over 1 and bytes that are no text are refused."""
    with pytest.raises(ModelError, match="one outcome"):
        path = _written(tmp_path, TABLE.replace("0.7,1\n", "0.7,0\n"))
        overlap(path, "dice", "end", "1", None, "patient")
    with pytest.raises(ModelError, match="Dice lies"):
        overlap(_written(tmp_path, TABLE.replace("0.5,1", "5,1")), "dice", "end", "1", None, None)
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="UTF-8"):
        read(tmp_path / "t.csv", ["a"])
    with pytest.raises(ModelError, match="ascend"):
        stated_terms(None, (), (0.5, 0.2), 0, 100)
