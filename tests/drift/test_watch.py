"""Drift watched: each settled job once, in order, and people told once of what was found."""

from __future__ import annotations

import itertools
import random
import threading
from typing import Any

import pytest
from sqlalchemy import Connection
from typer.testing import CliRunner

from gatekeeper import cli
from gatekeeper.drift import overview, watch
from gatekeeper.drift.overview import DriftError, StreamLine
from gatekeeper.settings import DriftSettings
from models.drift.clock import ClockState
from storage import audit, channels, drift, instances, jobs, notifications, studies, study_headers
from storage.engine import Database
from storage.records import Channel, ChannelKind, Details, Instance, Outcome, StudyHeader

SETTINGS = DriftSettings(
    reference_series=20, run_length=20_000.0, clock_series=5, clock_seconds=600.0, jobs_at_once=500
)
SKYRA = "SIEMENS SKYRA 3T"

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Site:
    """Books of a site whose studies are judged as a test says."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.chance = random.Random(4)
        self._numbers = itertools.count(1)
        every = [
            Channel("all", ChannelKind.EMAIL, "a@example.org", (), Details.NONE),
        ]
        with database.begin() as tx:
            for one in every:
                channels.save(tx, one)

    def judge(self, count: int = 1, *, read: bool = True, **given: Any) -> list[str]:
        """Judge studies of one series each; what is not given is as ever."""
        with self.database.begin() as tx:
            return [self._judge(tx, read=read, **given) for _ in range(count)]

    def _judge(
        self,
        tx: Connection,
        *,
        read: bool = True,
        score: float | None = None,
        shift: float = 0.0,
        repetition_time: float = 2300.0,
        software: str = "E11",
        lag: float = 60.0,
        version: str = "1.0.0",
        entry: dict[str, Any] | None = None,
    ) -> str:
        uid = f"1.2.77.{next(self._numbers)}"
        series = f"{uid}.1"
        value = self.chance.gauss(shift, 1.0) if score is None else score
        evidence = {
            "false_hold_rate": 0.05,
            "series": [
                {
                    "series_instance_uid": series,
                    "origin": {"device": SKYRA, "protocol": "T1_MPRAGE"},
                    "profile": "mr-brain-t1",
                    "bundle_version": version,
                    "calibration_digest": "c" * 64,
                    "score": value,
                    "p_value": 0.5,
                    **(entry or {}),
                }
            ],
        }
        acquired = {
            "series_instance_uid": series,
            "modality": "MR",
            "device": SKYRA,
            "protocol": "T1_MPRAGE",
            "serial": "45023",
            "software": software,
            "slices": 160,
            "numbers": {"repetition_time": repetition_time, "slice_thickness": 1.0},
            "made_by": "InstanceCreationDate",
            "made_at": 1_800_000_000.0 - lag,
            "received_at": 1_800_000_000.0,
        }
        instances.record(tx, _instance(uid, series), None)
        study = studies.get(tx, uid)
        assert study is not None
        studies.complete(tx, uid, "a" * 64, study.last_received_at)
        made = jobs.enqueue(tx, uid, "a" * 64, "b" * 64, 1)
        assert made is not None
        claimed = jobs.claim(tx, "test", 1e9)
        assert claimed is not None
        outcome = Outcome(made, "CLEAR", "", value, 0.5, evidence)
        assert jobs.settle(tx, made, claimed.attempt, outcome, [], [])
        if read:
            self.read(tx, uid, acquired)
        return uid

    def read(self, tx: Connection, uid: str, *acquired: dict[str, Any]) -> None:
        """Read a study's headers."""
        study_headers.write(tx, StudyHeader(uid, "a" * 64, 1, 1, series=acquired))
        for due, since in study_headers.due(tx, 10_000):
            if due == uid:
                assert study_headers.take(tx, uid, since)

    def look(self) -> int:
        return watch.look(self.database, SETTINGS)

    @property
    def line(self) -> StreamLine:
        with self.database.read() as tx:
            [line] = overview.streams(tx, SETTINGS)
        return line

    @property
    def told(self) -> list[dict[str, Any]]:
        with self.database.read() as tx:
            found = notifications.listing(tx)
        return [{"event": one.event, **one.facts} for one in reversed(found)]


def _instance(study: str, series: str) -> Instance:
    return Instance(
        f"{series}.1", "1.2.840.10008.5.1.4.1.1.4", "1.2", study, series, "MR", "d" * 64, 1, "MR1"
    )


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


def test_a_shift_of_the_scores_is_found_and_told_once(site: Site) -> None:
    """However often it is looked, and however long it lasts."""
    site.judge(40)
    assert site.look() == 40
    assert site.line.state == overview.STEADY
    assert site.told == []

    site.judge(25, shift=3.0)
    assert site.look() == 25
    assert site.look() == 0
    site.judge(5, shift=3.0)
    site.look()

    assert site.line.state == overview.DRIFTING
    [change] = site.line.changes
    assert change.attribute == "score"
    assert change.bet.startswith("higher")
    assert 36 <= change.since <= 46
    assert site.told == [
        {"event": "drift-found", "device": SKYRA, "attribute": "score", "stream": site.line.number}
    ]


@sqlite_only
def test_a_changed_header_value_is_found(site: Site) -> None:
    """Within a few series, and the score is not blamed."""
    site.judge(30)
    site.judge(15, repetition_time=1900.0)
    site.look()

    assert [one.attribute for one in site.line.changes] == ["repetition_time"]
    assert site.line.changes[0].number <= 45


def test_a_person_acknowledges_and_begins_the_reference_anew(site: Site) -> None:
    """With name and reason on the trail; what was a change is what is usual then."""
    site.judge(30)
    site.judge(20, shift=4.0)
    site.look()
    number = site.line.number
    with site.database.begin() as tx:
        overview.acknowledge(tx, number, "Ada", "service was here")
    assert site.line.state == overview.ACKNOWLEDGED
    with site.database.begin() as tx:
        overview.reset(tx, number, "Ada", "new coil", 5.0)
    assert (site.line.state, site.line.series) == (overview.COLLECTING, 0)

    site.judge(40, shift=4.0)
    site.look()
    assert (site.line.state, site.line.series) == (overview.STEADY, 40)
    with site.database.begin() as tx:
        done = {(one.actor, one.action) for one in audit.listing(tx)}
        with pytest.raises(DriftError, match="nothing was found"):
            overview.acknowledge(tx, number, "Ada", "")
        with pytest.raises(DriftError, match="no stream"):
            overview.reset(tx, 999, "Ada", "", 0.0)
    assert done == {("Ada", "drift acknowledged"), ("Ada", "drift reference reset")}


@sqlite_only
def test_another_model_begins_the_reference_anew(site: Site) -> None:
    """Its scores are not the same scores."""
    site.judge(30)
    site.judge(25, score=99.0, version="2.0.0")
    site.look()

    assert (site.line.state, site.line.series) == (overview.STEADY, 25)
    assert site.told == []


@sqlite_only
def test_jobs_wait_for_headers_and_keep_their_order(site: Site) -> None:
    """What came later is not looked at before what came earlier."""
    first = site.judge(read=False)[0]
    site.judge(3)

    assert site.look() == 0
    with site.database.begin() as tx:
        site.read(tx, first)
    assert site.look() == 4
    with site.database.read() as tx:
        view = overview.show(tx, site.line.number, SETTINGS)
    assert view is not None
    assert len(view.scores) == 4
    assert len(view.attributes[1].reference) == 3


def test_two_that_look_at_once_count_each_series_once(site: Site) -> None:
    """A stream is written only as it was read."""
    site.judge(30)
    done: list[int] = []

    def look() -> None:
        for _ in range(50):
            found = site.look()
            done.append(found)
            with site.database.read() as tx:
                if not drift.due(tx, 1):
                    return

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sum(done) == 30
    assert (site.line.series, site.line.state) == (30, overview.STEADY)
    with site.database.read() as tx:
        stream = drift.get(tx, site.line.number)
        assert stream is not None
        assert [one.number for one in drift.observations(tx, stream)] == list(range(1, 31))


@sqlite_only
def test_a_software_upgrade_is_told_once(site: Site) -> None:
    """Not the first version seen, nor one that it had before."""
    site.judge(2)
    site.judge(2, software="E12")
    site.judge(1)
    site.look()

    with site.database.read() as tx:
        [scanner] = overview.scanners(tx, SETTINGS)
    assert (scanner.name, scanner.software, scanner.versions) == (f"{SKYRA} 45023", "E11", 3)
    assert site.told == [{"event": "software-changed", "device": SKYRA}]


def test_a_clock_that_goes_wrong_is_told_once_and_may_be_accepted(site: Site) -> None:
    """From the future, by the median of the latest images."""
    site.judge(6)
    site.judge(6, lag=-3600.0)
    site.look()

    assert site.told == [{"event": "clock-wrong", "device": SKYRA, "seconds": -3600}]
    with site.database.begin() as tx:
        [scanner] = overview.scanners(tx, SETTINGS)
        assert scanner.clock is ClockState.AHEAD
        overview.accept_clock(tx, scanner.name, "Ada", "it is in another zone")
        with pytest.raises(DriftError, match="no such scanner"):
            overview.accept_clock(tx, "none", "Ada", "")


@sqlite_only
@pytest.mark.parametrize(
    "entry",
    [
        {"defects": ["Repeated slices."]},
        {"score": "high"},
        {"score": float("1e400")},
        {"origin": {"device": SKYRA, "protocol": ""}},
        {"origin": None},
    ],
)
def test_what_cannot_be_compared_is_left_out(site: Site, entry: dict[str, Any]) -> None:
    """Faults, evidence of another form, and what states no protocol; nothing waits for it."""
    if entry.get("score") == float("inf"):
        entry = {"p_value": "nan"}
    site.judge(1, entry=entry)

    assert site.look() == 1
    with site.database.read() as tx:
        assert overview.streams(tx, SETTINGS) == ()


@sqlite_only
def test_the_command_line_shows_and_resets(
    site: Site, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, one stream with its chart, acknowledged and reset by name."""
    site.judge(30)
    site.judge(20, shift=4.0)
    site.look()
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", database_url)

    def run(*words: str) -> str:
        result = CliRunner().invoke(cli.app, ["drift", *words])
        assert result.exit_code == 0, result.output
        return result.output

    number = str(site.line.number)
    assert "drifting" in run("status")
    shown = run("show", number)
    assert "higher by" in shown
    assert "▁" in shown
    run("acknowledge", number, "--by", "Ada", "--why", "seen")
    assert "acknowledged" in run("status")
    run("reset", number, "--by", "Ada", "--why", "service")
    assert '"state": "collecting"' in run("status", "--json")
    assert CliRunner().invoke(cli.app, ["drift", "show", "999"]).exit_code == 1
