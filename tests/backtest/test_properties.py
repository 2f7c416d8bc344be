"""What holds of any past: the same terms change nothing, a lower rate never holds more."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from support.past import PRISMA, SKYRA, Series, outcome

from gatekeeper.backtest.comparison import Comparison, Pair, counted
from gatekeeper.backtest.rates import Said
from gatekeeper.backtest.rates import counted as rates_of
from gatekeeper.backtest.stored import StoredStudy, stored_study
from gatekeeper.backtest.terms import Terms
from gatekeeper.gate.policy import Action, Policy
from gatekeeper.rules.verdict import Verdict

RATES = st.sampled_from((0.005, 0.01, 0.02, 0.05, 0.1, 0.2))
SERIES = st.builds(
    Series,
    p_value=st.one_of(st.none(), st.integers(1, 100).map(lambda count: count / 100)),
    size=st.sampled_from((9, 19, 99, 199)),
    defects=st.sampled_from(((), ("Slices 3 and 4 are the same.",))),
    own=st.booleans(),
    device=st.sampled_from(("", SKYRA, PRISMA)),
    verdict=st.sampled_from((Verdict.UNREADABLE, Verdict.UNCALIBRATED)),
)
STUDIES = st.lists(SERIES, max_size=4)
POLICIES = st.builds(
    Policy,
    suspect=st.sampled_from(Action),
    unreadable=st.sampled_from(Action),
    uncalibrated=st.sampled_from(Action),
)


def stored(series: Sequence[Series], rate: float, stands_in: bool, number: int = 1) -> StoredStudy:
    found = outcome(series, rate, stands_in=stands_in, job=number)
    return stored_study(f"1.2.3.{number}", "d" * 64, found)


def pairs_of(
    past: Sequence[Sequence[Series]], now: Terms, then: Terms, stands_in: bool
) -> tuple[Pair, ...]:
    studies = [
        stored(one, now.false_hold_rate, stands_in, number) for number, one in enumerate(past)
    ]
    return tuple(
        Pair(one.study_instance_uid, one.job_id, one.origin, now.decided(one), then.decided(one))
        for one in studies
    )


@given(STUDIES, RATES, st.booleans(), POLICIES)
def test_the_same_terms_change_nothing(
    series: list[Series], rate: float, stands_in: bool, policy: Policy
) -> None:
    """Judged again under the terms it was judged by, a study has its verdict and its reason."""
    study = stored(series, rate, stands_in)
    assert study.judged(rate, reference_stands_in=stands_in) == study.judgement
    terms = Terms(rate, stands_in, policy=policy)
    (pair,) = pairs_of([series], terms, terms, stands_in)
    assert not pair.changed
    assert pair.before == pair.after


@given(STUDIES, RATES, RATES, st.booleans())
def test_a_lower_rate_never_holds_more(
    series: list[Series], one: float, other: float, stands_in: bool
) -> None:
    """What is SUSPECT at a rate is SUSPECT at every higher one."""
    low, high = sorted((one, other))
    study = stored(series, 0.05, stands_in)
    lower = study.judged(low, reference_stands_in=stands_in)
    if lower.verdict is Verdict.SUSPECT:
        again = study.judged(high, reference_stands_in=stands_in)
        assert again.verdict is Verdict.SUSPECT


@given(st.lists(STUDIES, max_size=12), RATES, RATES, POLICIES)
def test_transitions_add_up(
    past: list[list[Series]], before: float, after: float, policy: Policy
) -> None:
    """What was held, less what passes now, with what is newly held, is what would be held."""
    pairs = pairs_of(past, Terms(before, True), Terms(after, True, policy=policy), True)
    comparison = Comparison("", pairs)
    total = comparison.total
    assert total.held_after == total.held_before - total.newly_passed + total.newly_held
    assert total.newly_held + total.newly_passed + total.other_verdict == len(comparison.changed)
    assert sum(comparison.transitions.values()) == total.studies == len(past)
    for count in ("studies", "held_before", "held_after", "newly_held", "newly_passed"):
        groups = comparison.groups.values()
        assert sum(getattr(one, count) for one in groups) == getattr(total, count)
    assert 0.0 < total.mcnemar <= 1.0


@given(st.lists(STUDIES, max_size=12), RATES)
def test_each_scored_series_is_counted_once_in_the_rates(
    past: list[list[Series]], rate: float
) -> None:
    """Decided, faulty or undecided: the lines of the rates have every scored series."""
    studies = [stored(one, rate, True, number) for number, one in enumerate(past)]
    said = {one.job_id: Said(agree=1) for one in studies}
    found = rates_of(studies, said)
    scored = sum(one.p_value is not None for series in past for one in series)
    tallies = [one.tally for one in found]
    assert sum(one.judged + one.faults + one.undecided for one in tallies) == scored
    assert all(one.held <= one.judged for one in tallies)
    reviewed = sum(any(one.p_value is not None for one in series) for series in past)
    assert sum(one.agree for one in tallies) == reviewed


def test_a_bundle_with_a_rate_of_its_own_is_judged_by_it() -> None:
    """The rate of one profile goes over that of all, before and after."""
    study = stored([Series(0.03)], 0.05, True)
    own = Terms(0.05, True, {"mr-brain-t1": 0.02})
    assert own.decided(study).verdict == Verdict.CLEAR
    assert own.decided(study).threshold == 0.02
    assert Terms(0.05, True, {"other": 0.02}).decided(study).verdict == Verdict.SUSPECT


def test_evidence_without_its_faults_is_judged_by_the_reason() -> None:
    """Evidence of an older version names a fault only in its reason; it still holds the study."""
    found = outcome([Series(0.5, defects=("Slices 3 and 4 are the same.",))])
    for one in found.evidence["series"]:
        del one["defects"]
    study = stored_study("1.2.3", "d" * 64, found)
    again = study.judged(0.2, reference_stands_in=True)
    assert again.verdict is Verdict.SUSPECT
    assert again.reason == "Held: the series has a fault. Slices 3 and 4 are the same."


def test_no_change_has_a_p_value_of_one_and_ten_to_none_a_small_one() -> None:
    """McNemar's exact test: 10 of 10 changes in one direction have p = 2 / 2^10."""
    (held,) = pairs_of([[Series(0.03)]], Terms(0.01, True), Terms(0.05, True), True)
    assert counted([]).mcnemar == 1.0
    pairs = [dataclasses.replace(held, job_id=number) for number in range(10)]
    assert counted(pairs).newly_held == 10
    assert counted(pairs).mcnemar == 2 / 2**10
