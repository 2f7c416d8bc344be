"""The quality gate's measurement: one patient one vote, refusals held, figures that add up."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.intensity_floor import IntensityFloor

from models.artefacts import Strength
from models.evaluation.faults import FAULTS, Fault
from models.evaluation.quality_gate import FALSE_HOLDS, calibration_scores, measure
from models.scan import Scan
from models.volume import Volume

STATED = dict.fromkeys(Strength, "as said")


def _scan(number: int, subject: str = "") -> Scan:
    """Return a head whose brightest part differs a little from scan to scan."""
    generator = np.random.default_rng(number)
    grid = np.moveaxis(np.indices((18, 40, 36)), 0, -1)
    inside = (((grid - np.array([9, 20, 18])) / np.array([7, 16, 14])) ** 2).sum(axis=-1) < 1
    array = np.where(inside, 100 + 10 * generator.normal(size=inside.shape), 0)
    volume = Volume(array.astype(np.float32), np.diag([4.0, 2.0, 2.0, 1.0]), "MR", "BRAIN", "T1")
    flags = np.ones(18, dtype=np.bool_)
    return Scan(
        f"scan {number}", subject or f"subject {number}", volume, flags, np.zeros_like(inside)
    )


def _bright(volume: Volume, strength: Strength, seed: int) -> Volume:
    """Return the scan with a bright block, brighter with the strength."""
    array = volume.array.copy()
    array[8:11, 18:24, 14:20] *= 1.5 + list(Strength).index(strength)
    return replace(volume, array=array)


BRIGHT = Fault("bright", STATED, _bright)
NOTHING = Fault("nothing", STATED, lambda volume, _strength, _seed: volume)
EMPTY = Fault(
    "empty",
    STATED,
    lambda volume, _strength, _seed: replace(volume, array=np.zeros_like(volume.array)),
)


@pytest.fixture(scope="module")
def floor() -> IntensityFloor:
    """Return a calibrated detector that fits nothing."""
    plain = IntensityFloor("bright")
    return IntensityFloor(
        "bright", calibration=[plain.score(_scan(100 + n).volume) for n in range(30)]
    )


SCANS = [_scan(number) for number in range(5)]


def test_a_visible_fault_is_told_apart_and_nothing_is_not(floor: IntensityFloor) -> None:
    """AUROC is 1 for a bright block, and the clean figure for a fault that does nothing."""
    record = measure({"floor": floor}, SCANS, [BRIGHT, NOTHING], [Strength.STRONG], resamples=200)
    bright, nothing = record.rows
    (clean,) = record.clean

    assert bright.auroc.value == 1.0
    assert np.isnan(bright.auroc.low)  # five patients all apart are no certainty
    assert str(bright.auroc) == "1.00 (no interval)"
    assert [figure.value for figure in bright.sensitivity] == [1.0, 1.0]
    assert nothing.scores == clean.scores
    assert nothing.sensitivity == clean.held
    assert nothing.auroc.low <= nothing.auroc.value <= nothing.auroc.high < 1
    assert clean.calibration == 30
    (mean,) = record.means
    assert mean.auroc.value == pytest.approx((bright.auroc.value + nothing.auroc.value) / 2)
    assert mean.auroc.low <= mean.auroc.value <= mean.auroc.high


def test_doing_nothing_to_the_scans_has_an_auroc_of_a_half() -> None:
    """Without calibration scores the two sides are the same scans, in every resample."""
    plain = IntensityFloor("bright")

    record = measure({"plain": plain}, SCANS, [NOTHING], [Strength.MILD], resamples=200)

    assert record.rows[0].auroc.value == 0.5
    assert np.isnan(record.rows[0].auroc.low)  # no resample differs
    assert record.clean[0].calibration == 0


def test_a_refused_scan_is_held_and_counted(floor: IntensityFloor) -> None:
    """Refusal of a faulty scan is the strongest answer, and is told from a score."""
    record = measure({"floor": floor}, SCANS, [EMPTY], [Strength.MILD], resamples=50)
    (row,) = record.rows

    assert row.refused == len(SCANS)
    assert row.scores == (None,) * len(SCANS)
    assert row.p_values == (0.0,) * len(SCANS)
    assert row.auroc.value == 1.0
    assert row.sensitivity[0].value == 1.0


def test_a_clean_scan_that_is_refused_is_left_out(floor: IntensityFloor) -> None:
    """It is named, and its faulty copies are no evidence; all refused is an error."""
    blank = replace(SCANS[0], name="blank", subject="blank")
    blank = replace(blank, volume=EMPTY.apply(blank.volume, Strength.MILD, 0))

    record = measure({"floor": floor}, [blank, *SCANS], [BRIGHT], [Strength.MILD], resamples=50)

    assert record.clean[0].refused == ("blank",)
    assert len(record.rows[0].scores) == len(SCANS)
    with pytest.raises(ValueError, match="refuses every clean scan"):
        measure({"floor": floor}, [blank], [BRIGHT], [Strength.MILD], resamples=50)


def test_a_patient_counts_once(floor: IntensityFloor) -> None:
    """Of two scans of a subject the first is used."""
    scans = [_scan(0, "one"), _scan(1, "one"), _scan(2, "two")]

    record = measure({"floor": floor}, scans, [BRIGHT], [Strength.MILD], resamples=50)

    assert record.clean[0].subjects == ("one", "two")
    assert "2 healthy patients" in record.statement


def test_the_order_of_the_scans_does_not_change_a_fault(floor: IntensityFloor) -> None:
    """A scan's fault is drawn from its own name."""
    fault = FAULTS["noise_kspace"]
    forth = measure({"f": floor}, SCANS, [fault], [Strength.MILD], resamples=50).rows[0]
    back = measure({"f": floor}, SCANS[::-1], [fault], [Strength.MILD], resamples=50).rows[0]

    assert forth.scores == back.scores[::-1]
    assert forth.auroc.value == back.auroc.value


def test_the_record_is_json_and_a_table(floor: IntensityFloor) -> None:
    """Every detector, fault and strength has a row; refusals are null, not infinity."""
    steps: list[tuple[int, int, str]] = []
    record = measure(
        {"floor": floor, "plain": IntensityFloor("dark")},
        SCANS[:2],
        [BRIGHT, EMPTY],
        [Strength.MILD, Strength.STRONG],
        lambda done, total, what: steps.append((done, total, what)),
        resamples=50,
    )

    plain = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    text = record.table()

    assert len(plain["rows"]) == 2 * 2 * 2
    assert len(plain["means"]) == 2 * 2
    assert plain["false_holds"] == list(FALSE_HOLDS)
    assert len(plain["rows"][0]["auroc"]) == 3
    assert text.count("| bright |") == 4
    assert "held at 5%" in text
    assert [done for done, _, _ in steps] == list(range(1, 9))
    assert all(total == 8 for _, total, _ in steps)


def test_calibration_scores_are_found_where_offered(floor: IntensityFloor) -> None:
    """A detector with a tuple of them, one with a calibration, and one with neither."""
    assert calibration_scores(floor) == floor.calibration
    assert calibration_scores(IntensityFloor("bright")) == ()
    assert calibration_scores(object()) == ()


def test_measuring_nothing_is_refused(floor: IntensityFloor) -> None:
    """An empty list is a mistake of the caller, not a figure."""
    with pytest.raises(ValueError, match="needs"):
        measure({"floor": floor}, [], [BRIGHT])
