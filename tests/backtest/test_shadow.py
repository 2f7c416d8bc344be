"""Shadow: terms that decide and do nothing, once each, until they are activated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from backtest.test_replay import everything
from support.past import Archive
from support.pelvis import BUNDLE, judging_bundle, pelvis
from support.small_bundle import small_bundle
from work.phantoms import ROOT, Ward

from gatekeeper import periodic
from gatekeeper.backtest import shadowing
from gatekeeper.backtest.again import Again, models_of
from gatekeeper.backtest.candidate import Candidate, of_model, of_policy
from gatekeeper.backtest.comparison import Comparison
from gatekeeper.backtest.kept import Keeping
from gatekeeper.backtest.past import Past
from gatekeeper.backtest.replay import REMOVED, Ground, Replay, compared
from gatekeeper.settings import Settings
from gatekeeper.work.process import Child, ChildLimits
from gatekeeper.work.worker import Worker
from models.registry import Registry, read_bundle
from storage import outcomes, shadows
from storage.engine import Database
from storage.records import Shadow, ShadowState
from storage.schema import instance

OWN = ("shadow", "shadow_outcome")
LOWER = of_policy({"models.false_hold_rate": 0.02})


def added(database: Database, candidate: Candidate, name: str = "lower") -> Shadow:
    analyses = candidate.models is not None
    with database.begin() as tx:
        assert shadows.add(tx, name, candidate.document, "Ada", "To see.", analyses=analyses)
        found = shadows.get(tx, name)
    assert found is not None
    return found


def context(database: Database, folder: Path) -> periodic.Context:
    return periodic.Context(Settings(), database, Archive(database, folder).spool)


def test_a_shadow_decides_each_job_once_and_touches_nothing_else(
    database: Database, tmp_path: Path
) -> None:
    """Two ticks meet each job once; no other table has a row more, fewer or other."""
    archive = Archive(database, tmp_path)
    archive.judge_all((0.01,))
    shadow = added(database, LOWER)
    archive.judge_all((0.01, 0.03, 0.5))
    before = everything(database, *OWN)

    ticked = [periodic.tick_shadow(context(database, tmp_path)) for _ in range(2)]

    assert ticked == [3, 0]
    assert everything(database, *OWN) == before
    found = shadowing.report(database, shadow)
    assert (found.total.studies, found.total.newly_passed) == (3, 1)
    (changed,) = found.changed
    assert changed.before.held
    assert not changed.after.held


def test_what_a_shadow_cannot_decide_is_counted_by_its_reason(
    database: Database, tmp_path: Path
) -> None:
    """Files that were removed before a rule could ask about them are no silence."""
    archive = Archive(database, tmp_path)
    rule = {"name": "all", "when": ["modalities is MR"], "then": [{"hold": "*"}]}
    shadow = added(database, Candidate(rules=[rule]))
    archive.judge_all((0.5,))
    with database.begin() as tx:
        tx.execute(instance.update().values(removed_at=5.0))
    assert periodic.tick_shadow(context(database, tmp_path)) == 1
    found = shadowing.report(database, shadow)
    assert found.not_replayable == {REMOVED: 1}
    assert found.pairs == ()


def test_an_ended_shadow_decides_nothing_more_and_ends_once(
    database: Database, tmp_path: Path
) -> None:
    """What waits for a worker is given up with its reason."""
    archive = Archive(database, tmp_path)
    shadow = added(database, Candidate(models={"MR/BRAIN/T1": "other"}))
    (job,) = archive.judge_all((0.5,))
    periodic.tick_shadow(context(database, tmp_path))
    with database.begin() as tx:
        assert shadows.waiting(tx)
        assert shadows.end(tx, shadow.name, "Ada", ShadowState.ENDED)
        assert not shadows.end(tx, shadow.name, "Ada", ShadowState.ENDED)
        assert not shadows.waiting(tx)
        assert not shadows.meet(tx, shadow.name, job)
    archive.judge_all((0.5,))
    assert periodic.tick_shadow(context(database, tmp_path)) == 0
    found = shadowing.report(database, shadow)
    assert found.not_replayable == {"the shadow ended before it was analysed": 1}


def test_a_stale_attempt_writes_nothing(database: Database, tmp_path: Path) -> None:
    """A worker that lost its claim cannot write over the one that has it."""
    archive = Archive(database, tmp_path)
    added(database, Candidate(models={"MR/BRAIN/T1": "other"}))
    archive.judge_all((0.5,))
    periodic.tick_shadow(context(database, tmp_path))
    with database.begin() as tx:
        first = shadows.claim(tx, "one", -1.0)
        assert first is not None
        assert shadows.rescue(tx, 3, 0.0).requeued == 1
        second = shadows.claim(tx, "two", 60.0)
        assert second is not None
        assert not shadows.settle(tx, first.id, first.attempt, {})
        assert shadows.heartbeat(tx, second.id, second.attempt, 60.0)
        assert shadows.settle(tx, second.id, second.attempt, {})


@pytest.fixture
def ward(tmp_path: Path, sqlite_url: str) -> Iterator[Ward]:
    """Give a ward in which a bundle of the pelvis judges."""
    made = Ward(tmp_path, sqlite_url)
    bundles = judging_bundle(tmp_path / "bundles")
    models = dataclasses.replace(made.settings.models, directory=str(bundles), false_hold_rate=0.25)
    made.settings = dataclasses.replace(made.settings, models=models)
    yield made
    made.database.dispose()


def test_another_model_is_asked_in_the_child_in_a_backtest_and_in_shadow(
    ward: Ward, tmp_path: Path
) -> None:
    """Both analyse the kept files with the candidate's bundle, and write none of the tables.

    The evidence of each series names scanner and protocol, as calibrations name them.
    """
    folder = tmp_path / "elsewhere"
    small_bundle(folder, "candidate")
    candidate = of_model(read_bundle(folder / "candidate"), folder=str(folder))
    digest = Registry(ward.settings.models.directories).digest
    for number in (1, 2):
        study = ward.receive(pelvis(f"{ROOT}.{number}", number, degraded=number == 2))
        ward.queue(study, digest)
    worker = Worker(ward.settings, ward.database, ward.spool)
    try:
        assert worker.run_once()
        assert worker.run_once()
        with ward.database.read() as tx:
            ((_, outcome),) = outcomes.for_study(tx, f"{ROOT}.1")
        (series,) = outcome.evidence["series"]
        assert series["origin"] == {"device": "", "protocol": "T2_TSE"}
        assert isinstance(series["defects"], list)
        assert series["calibration_size"] == 4
        assert series["realised_rate"] == pytest.approx([0.0063, 0.6024], abs=0.001)
        before = everything(ward.database, *OWN)

        found = _backtested(ward, candidate, tmp_path / "kept.jsonl", worker._child)  # pyright: ignore[reportPrivateUsage]
        assert found.total.studies == 2
        assert found.not_replayable == {}
        assert {pair.origin.detector for pair in found.pairs} == {BUNDLE}
        assert '"profile": "candidate"' in (tmp_path / "kept.jsonl").read_text()
        assert everything(ward.database, *OWN) == before

        shadow = added(ward.database, candidate)
        with ward.database.begin() as tx:
            for one in found.pairs:
                assert shadows.meet(tx, shadow.name, one.job_id)
        assert worker.run_once()
        assert worker.run_once()
        assert not worker.run_once()
    finally:
        worker.close()
    assert everything(ward.database, *OWN) == before
    assert shadowing.report(ward.database, shadow).pairs == found.pairs
    # An interrupted run goes on where it was: no child is started for what is kept.
    idle = Child(ChildLimits(512))
    resumed = _backtested(ward, candidate, tmp_path / "kept.jsonl", idle)
    assert resumed.pairs == found.pairs
    assert idle.pid is None


def _backtested(ward: Ward, candidate: Candidate, kept: Path, child: Child) -> Comparison:
    with ward.database.read() as tx:
        models = models_of(tx, candidate, ward.settings)
        now = Candidate().terms(tx, ward.settings)
    again = Again(ward.database, ward.spool, ward.settings, models, child, Event())
    ground = Ground(ward.database, ward.spool, ward.settings.rules)
    replay = Replay(ground, now, now, Keeping(again, kept).answer)
    return compared(replay, Past(ward.database), candidate.in_words)
