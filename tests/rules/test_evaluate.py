"""Evaluation: which rules apply, in which order, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest
from support.rules import a_rule, a_study

from gatekeeper.rules.evaluate import on_receipt, when_judged
from gatekeeper.rules.facts import Judged, StudyFacts
from gatekeeper.rules.plan import Fetching, Forwarding, Holding, Telling
from gatekeeper.rules.rule import Rule


def applies(test: Any, facts: StudyFacts) -> bool:
    return bool(on_receipt([a_rule("rule", test)], facts).forwards)


@pytest.mark.parametrize(
    ("test", "value", "expected"),
    [
        ("Modality is mr", "MR", True),
        ("Modality is MR", "MR ", True),
        ("Modality is not CT", "MR", True),
        ("Modality is not MR", "MR", False),
        ("Modality one of CT, mr", "MR", True),
        ("Modality one of CT, PT", "MR", False),
        ("SeriesDescription contains FLAIR", "Ax t2 flair FS", True),
        ("SeriesDescription starts with ax", "Ax T2", True),
        ("SeriesDescription starts with T2", "Ax T2", False),
        ("SeriesDescription like *t?_mpr*", "sag T1_MPRAGE", True),
        ("SeriesDescription like t1*", "sag T1", False),
        ("SeriesDescription like [ax]*", "ax T1", False),
        ("SliceThickness is 1.5", "1.50", True),
        ("SliceThickness < 3", "2.9999", True),
        ("SliceThickness >= 3", "2.9999", False),
        ("SliceThickness between 1 and 3", "3", True),
        ("SliceThickness one of 1, 3", "3.0", True),
        ("PatientAge < 18Y", "017Y", True),
        ("PatientAge < 18Y", "018M", True),
        ("PatientAge >= 18Y", "018Y", True),
        ("PatientAge < 18Y", "nonsense", False),
        ("StudyDate >= 2024-02-01", "20240201", True),
        ("StudyDate is 20240201", "2024.02.01", True),
        ("StudyDate < 2024-02-01", "20240201", False),
        ("StudyTime between 22:00 and 06:00", "0130", True),
        ("StudyTime between 22:00-06:00", "120000", False),
        ("AcquisitionDateTime > 2024-02-01T12:00", "20240201120001.5+0100", True),
        ("PatientName is doe^john", "Doe^John^^^", True),
        ("PatientName is Doe^John", "Yamada^Tarou=Doe^John", True),
        ("PatientName is Doe", "Doe^John", False),
        ("PatientName starts with doe^", "Doe^John", True),
        ("PatientName starts with 'doe^'", "Doe^John", True),
        ("series.kind is Volume", "volume", True),
        ("ContrastBolusAgent present", "Gd", True),
        ("ContrastBolusAgent is present", "", False),
        ("ContrastBolusAgent absent", "", True),
        ("ContrastBolusAgent absent", "Gd", False),
    ],
)
def test_a_value_is_compared_as_its_kind_is(test: str, value: str, expected: bool) -> None:
    """Text without case and padding, names by component, numbers, dates, times and ages typed."""
    name = test.split(maxsplit=1)[0]
    series = {name: value}

    assert applies(test, a_study(series, **series)) is expected


def test_one_value_of_several_is_enough_unless_every_is_asked() -> None:
    """A multi-valued attribute meets a test by any value; `is not` asks that none is equal."""
    facts = a_study({"ImageType": ["ORIGINAL", "PRIMARY", "M"]})

    assert applies("ImageType is PRIMARY", facts)
    assert not applies("every ImageType is PRIMARY", facts)
    assert applies("every ImageType like *R* ", a_study({"ImageType": ["ORIGINAL", "PRIMARY"]}))
    assert not applies("ImageType is not PRIMARY", facts)
    assert applies("ImageType is not DERIVED", facts)


@pytest.mark.parametrize("key", ["source", "time", "weekday", "instances", "series", "modalities"])
def test_what_is_not_known_meets_no_test_but_absent(key: str) -> None:
    """So a study with nothing in it is planned without an error."""
    assert applies(f"{key} absent", StudyFacts("1"))
    assert not applies(f"{key} present", StudyFacts("1"))


def test_series_are_asked_one_by_one_and_never_the_first_alone() -> None:
    """All tests about series have to be met by one and the same series."""
    facts = a_study(
        {"Modality": "MR", "series.kind": "localizer"},
        {"Modality": "CT", "series.kind": "volume"},
        {"Modality": "MR", "series.kind": "volume"},
    )
    then = [{"skip": True}]

    both = a_rule("both", "Modality is MR", "series.kind is volume", then=then)
    either = a_rule("either", {"any": ["Modality is CT", "series.kind is localizer"]}, then=then)

    assert on_receipt([both], facts).skipped == {"1.3": "both"}
    assert on_receipt([either], facts).skipped == {"1.1": "either", "1.2": "either"}


def test_a_rule_about_series_needs_a_series() -> None:
    """Without one it does not apply, negated or not; a rule about the study does."""
    empty = a_study(source="CT1")

    assert not applies({"none": ["Modality is MR"]}, empty)
    assert applies({"none": ["source is CT2"]}, empty)


def test_skip_without_facts_of_series_leaves_out_the_whole_study() -> None:
    """Every series is named, so that nothing of it is analysed."""
    facts = a_study({"Modality": "MR"}, {"Modality": "SR"}, source="CT1")

    plan = on_receipt([a_rule("all", "source is CT1", then=[{"skip": True}])], facts)

    assert plan.skipped == {"1.1": "all", "1.2": "all"}


def test_the_first_rule_that_says_something_is_the_one_that_counts() -> None:
    """Of series, nodes, channels and priority alike; each node is named once."""
    facts = a_study({"Modality": "MR"}, {"Modality": "CT"})
    rules = [
        a_rule("ct", "Modality is CT", then=[{"skip": True}, {"priority": 7}]),
        a_rule("all", then=[{"analyse": "a"}, {"forward": "AI"}, {"notify": "ward"}]),
        a_rule("late", then=[{"forward": "AI"}, {"notify": "ward"}, {"priority": "urgent"}]),
        a_rule("last", "Modality is MR", then=[{"analyse": "b"}, {"forward": "PACS"}]),
    ]

    plan = on_receipt(rules, facts)

    assert plan.skipped == {"1.2": "ct"}
    assert plan.models == {"1.1": "a"}
    assert plan.forwards == (Forwarding("AI", "all"), Forwarding("PACS", "last"))
    assert plan.tells == (Telling("ward", "all"),)
    assert plan.priority == 7


def test_a_rule_that_stops_keeps_later_rules_from_being_asked() -> None:
    """Only where it applies; the trace says which rule stopped."""
    rules = [
        a_rule("first", "source is CT1", stop=True),
        a_rule("second", then=[{"forward": "PACS"}]),
    ]

    stopped = on_receipt(rules, a_study(source="CT1"), trace=True)
    not_stopped = on_receipt(rules, a_study(source="CT2"), trace=True)

    assert stopped.forwards == (Forwarding("AI", "first"),)
    assert stopped.matches[1].because == ("not asked: rule 'first' stops",)
    assert not_stopped.forwards == (Forwarding("PACS", "second"),)


def test_a_disabled_rule_is_not_asked() -> None:
    """It is not in the trace either."""
    plan = on_receipt([a_rule("off", enabled=False)], a_study(), trace=True)

    assert plan.forwards == ()
    assert plan.matches == ()


def test_a_rule_about_the_verdict_is_asked_once_there_is_one() -> None:
    """It has no part in the plan on receipt."""
    rules = [
        a_rule(
            "suspect",
            "verdict is suspect",
            "p_value < 0.01",
            "device_calibrated is yes",
            then=[{"hold": "*", "hours": 4}, {"notify": "ward"}],
        ),
        a_rule("gate", "detector contains gate", then=[{"forward": "AI"}]),
    ]
    judged = Judged("SUSPECT", 0.005, ("mr-brain-gate",), device_calibrated=True)

    assert on_receipt(rules, a_study(), trace=True).matches == ()
    plan = when_judged(rules, a_study(), judged)

    assert plan.holds == (Holding("", "suspect", 4),)
    assert plan.tells == (Telling("ward", "suspect"),)
    assert plan.forwards == (Forwarding("AI", "gate"),)


def test_nothing_is_said_twice_but_holds_of_both_kinds_of_rule_count_once_judged() -> None:
    """Forwards, tells, priors and priority of a rule about what was received are for receipt."""
    then = [
        {"forward": "AI"},
        {"notify": "ward"},
        {"priority": "urgent"},
        {"priors": "PACS", "count": 2, "modality": "MR"},
        {"hold": "AI"},
    ]
    rules = [a_rule("night", "source is CT1", then=then)]

    early = on_receipt(rules, a_study(source="CT1"))
    late = when_judged(rules, a_study(source="CT1"), Judged("CLEAR", 0.5))

    assert early.holds == ()
    assert early.fetches == (Fetching("PACS", "night", 2, "MR"),)
    assert late.holds == (Holding("AI", "night"),)
    assert (late.forwards, late.tells, late.fetches, late.priority) == ((), (), (), 0)


@pytest.mark.parametrize("p_value", [None, float("nan"), float("inf")])
def test_a_p_value_that_is_none_meets_no_test(p_value: float | None) -> None:
    """Neither under nor over anything."""
    rules = [a_rule("low", "p_value < 2"), a_rule("high", "p_value >= 0")]

    assert when_judged(rules, a_study(), Judged("UNREADABLE", p_value)).forwards == ()


def test_the_trace_names_the_tests_that_decided() -> None:
    """Those that were met where it applies, else those that were not."""
    rules: list[Rule] = [
        a_rule("ct", "source is CT1", "Modality is CT"),
        a_rule("mr", {"any": ["Modality is MR", "Modality is PT"]}),
        a_rule("nested", {"any": [{"all": ["source is CT1", "source is CT2"]}, "Rows > 100"]}),
        a_rule("always"),
    ]
    facts = a_study({"Modality": "MR", "Rows": 512}, {"Modality": "SR"}, source="CT1")

    ct, mr, nested, always = on_receipt(rules, facts, trace=True).matches

    assert (ct.matched, ct.because) == (
        False,
        ("Modality is CT: it is MR", "Modality is CT: it is SR"),
    )
    assert (mr.matched, mr.because, mr.series) == (True, ("Modality is MR: it is MR",), ("1.1",))
    assert nested.because == ("Rows > 100: it is 512",)
    assert always.because == ("it has no condition",)


def test_reasons_are_bounded_however_long_values_are() -> None:
    """Long values are cut, many are counted, and control characters are not printed."""
    names = [f"{number}\x1b" + "x" * 500 for number in range(200)]
    facts = a_study(*({"ImageType": names, "Rows": n} for n in range(50)))
    rule = a_rule("long", "ImageType present", {"any": ["ImageType is a", "Rows < 100"]})

    [match] = on_receipt([rule], facts, trace=True).matches

    assert len(match.because) <= 9
    assert all(len(reason) < 400 and reason.isprintable() for reason in match.because)
