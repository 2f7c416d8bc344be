"""Replay: past studies under other terms, what cannot be replayed counted, nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support.past import PRISMA, SKYRA, Archive, Series
from support.rules import a_rule

from gatekeeper.backtest.candidate import IN_FORCE, Candidate, of_configuration, of_policy
from gatekeeper.backtest.comparison import Comparison
from gatekeeper.backtest.past import Past
from gatekeeper.backtest.rates import ABOVE, WITHIN, Said, counted
from gatekeeper.backtest.replay import CHANGED, OTHER_SERIES, REMOVED, Ground, Replay, compared
from gatekeeper.backtest.reviews import said_of
from gatekeeper.errors import ConfigurationError
from gatekeeper.rules.document import write_rule
from gatekeeper.settings import RuleSettings, Settings
from storage import feedback, policies
from storage.engine import Database
from storage.schema import instance, metadata, outcome


@pytest.fixture
def archive(database: Database, tmp_path: Path) -> Archive:
    return Archive(database, tmp_path)


def replayed(archive: Archive, candidate: Candidate, **past: Any) -> Comparison:
    with archive.database.read() as tx:
        now, then = (one.terms(tx, Settings()) for one in (IN_FORCE, candidate))
    ground = Ground(archive.database, archive.spool, RuleSettings())
    found = Past(archive.database, **past)
    return compared(Replay(ground, now, then), found, candidate.in_words)


def everything(database: Database, *without: str) -> dict[str, list[Any]]:
    """Return every row of every table."""
    with database.read() as tx:
        return {
            table.name: [tuple(row) for row in tx.execute(select(table))]
            for table in metadata.sorted_tables
            if table.name not in without
        }


def test_a_lower_threshold_passes_what_lies_between_by_device(archive: Archive) -> None:
    """Each device has its own counts; what lies between the two rates passes newly."""
    archive.judge_all((0.01, 0.03, 0.04, 0.5))
    archive.judge_all((0.02, 0.03), device=PRISMA)
    found = replayed(archive, of_policy({"models.false_hold_rate": 0.02}))

    total = found.total
    assert (total.studies, total.held_before, total.held_after) == (6, 5, 2)
    assert (total.newly_held, total.newly_passed) == (0, 3)
    by_device = {origin.device: counts.held_after for origin, counts in found.groups.items()}
    assert by_device == {SKYRA: 1, PRISMA: 1}
    assert found.candidate == "models.false_hold_rate = 0.02"
    assert all("hold at 0.02 or less" in pair.after.reason for pair in found.changed)


def test_a_policy_passes_or_holds_by_verdict(archive: Archive) -> None:
    """What is not calibrated is held once the policy says so, the reason in words."""
    archive.judged(Series(0.5, size=9))
    found = replayed(archive, of_policy({"gate.uncalibrated": "hold"}))
    (pair,) = found.changed
    assert (pair.before.held, pair.after.held) == (False, True)
    assert pair.after.reason.startswith("Held by policy as UNCALIBRATED.")


def test_a_candidate_goes_over_what_is_set_in_the_database(archive: Archive) -> None:
    """And a whole configuration that leaves a key out takes it back to the settings file's."""
    archive.judged(Series(0.5, size=9))
    with archive.database.begin() as tx:
        policies.save(tx, "gate.uncalibrated", "hold")

    (pair,) = replayed(archive, of_policy({"gate.uncalibrated": "forward"})).changed
    assert (pair.before.held, pair.after.held) == (True, False)
    (pair,) = replayed(archive, Candidate(whole=True)).changed
    assert (pair.before.held, pair.after.held) == (True, False)


def test_rules_hold_by_what_the_verdict_and_the_source_are(archive: Archive) -> None:
    """A rule of the candidate holds a clear study; files that are there are read for it."""
    archive.judge_all((0.5, 0.01))
    rule = write_rule(a_rule("all", "verdict is CLEAR", then=[{"hold": "*"}]))
    found = replayed(archive, Candidate(rules=[rule]))
    (pair,) = found.changed
    assert pair.after.reason.startswith("Held by rule all as CLEAR.")
    assert found.not_replayable == {}


def test_studies_that_cannot_be_replayed_are_counted_by_their_reason(archive: Archive) -> None:
    """Removed files, other content, other series and old evidence: each is named."""
    jobs = archive.judge_all((0.5, 0.5, 0.01, 0.01))
    skip = write_rule(a_rule("skip", "modalities is CT", then=[{"skip": True}]))
    archive.judged(Series(0.5), modality="CT")
    with archive.database.begin() as tx:
        studies = [f"1.2.826.0.1.19.{number}" for number in (1, 2)]
        for study, change in zip(studies, ({"removed_at": 5.0}, {"digest": "e" * 64}), strict=True):
            own = instance.c.study_instance_uid == study
            tx.execute(update(instance).where(own).values(**change))
        tx.execute(update(outcome).where(outcome.c.job_id == jobs[2]).values(evidence={}))
    found = replayed(archive, Candidate(rules=[skip]))
    assert found.not_replayable == {
        REMOVED: 1,
        CHANGED: 1,
        OTHER_SERIES: 1,
        "evidence of another version": 1,
    }
    assert found.total.studies == 1


def test_a_replay_writes_nothing(archive: Archive) -> None:
    """Every table is as it was."""
    archive.judge_all((0.01, 0.03, 0.5))
    before = everything(archive.database)
    rule = write_rule(a_rule("all", "verdict is CLEAR", then=[{"hold": "*"}]))
    replayed(archive, Candidate(policy={"gate.suspect": "reject"}, rules=[rule]))
    assert everything(archive.database) == before


def test_only_the_newest_are_read_where_there_is_a_limit(archive: Archive) -> None:
    """A limit takes the newest jobs; a later moment takes none."""
    jobs = archive.judge_all((0.01, 0.02, 0.03))
    found = replayed(archive, IN_FORCE, limit=2)
    assert [pair.job_id for pair in found.pairs] == jobs[:0:-1]
    assert replayed(archive, IN_FORCE, since=9e12).pairs == ()


def test_a_candidate_is_refused_where_the_configuration_would_refuse_it() -> None:
    """A key that may not be set, and a value that breaks its setting's rule."""
    with pytest.raises(ConfigurationError, match="is not set in the database"):
        of_policy({"listen.port": 105})
    with pytest.raises(ConfigurationError, match="false_hold_rate"):
        of_policy({"models.false_hold_rate": 1.5})


def test_a_candidate_is_the_same_after_its_document(archive: Archive) -> None:
    """What is stored of a shadow is the candidate; what it leaves alone is not in it."""
    for one in (
        of_policy({"models.false_hold_rate": 0.02}),
        Candidate(rules=[write_rule(a_rule("all", then=[{"hold": "*"}]))]),
        Candidate(rules=[]),
        Candidate(models={"MR/BRAIN/T1": "other"}, folder="/bundles"),
    ):
        assert Candidate.of(json.loads(json.dumps(one.document))) == one
    assert of_policy({"gate.suspect": "forward"}).document == {
        "policy": {"gate.suspect": "forward"}
    }


def test_rates_count_what_reviewers_said(archive: Archive) -> None:
    """The latest word of each reviewer counts; a hold that is disagreed with is a false hold."""
    held, clear = archive.judge_all((0.01, 0.5))
    with archive.database.begin() as tx:
        for agrees in (True, False):
            feedback.add(tx, held, "Ada", "SUSPECT", agrees=agrees, remark="")
        feedback.add(tx, clear, "Ada", "CLEAR", agrees=True, remark="")
    with archive.database.read() as tx:
        said = said_of(tx)
    assert said == {held: Said(0, 1), clear: Said(1, 0)}
    studies = [study for _, study in Past(archive.database).studies()]
    (rate,) = counted(studies, said)
    assert (rate.line.size, rate.line.rate, rate.line.own) == (99, 0.05, True)
    assert (rate.tally.judged, rate.tally.held) == (2, 1)
    assert (rate.tally.normal, rate.tally.falsely_held) == (2, 1)
    assert rate.false_holds is not None
    assert rate.false_holds.value == 0.5
    assert rate.mark == WITHIN


def test_a_rate_far_over_what_was_promised_is_marked(archive: Archive) -> None:
    """Twenty of forty held is above what 99 calibration studies at 5 % give."""
    archive.judge_all([0.01, 0.5] * 20)
    studies = [study for _, study in Past(archive.database).studies()]
    (rate,) = counted(studies, {})
    assert rate.held_mark == ABOVE
    assert rate.false_holds is None


def test_a_whole_configuration_is_a_candidate_with_its_rules_in_order() -> None:
    """Rules come in the order of their positions; without any, none are asked."""
    rule = write_rule(a_rule("b", then=[{"hold": "*"}]))
    del rule["name"]
    document = {
        "policy": {"models": {"false_hold_rate": 0.02}},
        "rules": {"b": {**rule, "position": 2}, "a": {**rule, "position": 3}, "c": rule},
        "nodes": {"AI": {"roles": ["downstream"]}, "PACS": {"roles": ["archive"]}},
    }
    found = of_configuration(document, rules=True)
    assert found.rules is not None
    assert [one["name"] for one in found.rules] == ["c", "b", "a"]
    assert (dict(found.policy), found.gated) == ({"models.false_hold_rate": 0.02}, ["AI"])
    assert of_configuration({}, rules=True).rules == []
    assert of_configuration({}, rules=False).rules is None
