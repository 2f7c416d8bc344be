"""Retention: only what is delivered goes, its row first, its file after, and it may come again."""

from __future__ import annotations

import dataclasses
import itertools
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from listen.wire import EXPLICIT, MR, encoded, image
from sqlalchemy import update
from support.receiving import receive, running_receiver

from gatekeeper import periodic, retention
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.file_meta import part10_header
from gatekeeper.settings import RetentionSettings, Settings
from storage import (
    commitments,
    confirmations,
    deliveries,
    instances,
    jobs,
    studies,
)
from storage import retention as facts
from storage.engine import Database
from storage.records import CommitmentItem, Instance, Outcome, Result
from storage.schema import instance as table
from storage.spool import Spool

DAY = 86400.0
ONE_DAY = RetentionSettings(days=1.0)
COUNT = 2

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclasses.dataclass(frozen=True)
class Case:
    """What became of a study; `may_go` says by hand which of these may be removed."""

    complete: bool = True
    job: str = "done"
    """done, claimed, dead, or none"""
    verdict: str = "CLEAR"
    delivery: str = "delivered"
    """delivered, committed, unconfirmed, queued, dead, or none"""
    days: float = 2.0
    late: bool = False
    """an instance came after the job"""
    promised: bool = False
    """we committed to its instances before the scanner"""
    handed_on: bool = False
    """its instances were delivered to, and committed by, another node"""

    @property
    def may_go(self) -> bool:
        return (
            self.complete
            and not self.late
            and self.job == "done"
            and self.verdict != "SUSPECT"
            and self.delivery in {"delivered", "committed"}
            and self.days >= 1.0
            and (not self.promised or self.handed_on)
        )


class Site:
    """A spool and its books."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.spool = Spool(folder / "spool")
        self._numbers = itertools.count(1)

    def make(self, case: Case) -> str:
        """Make a study that has come as far as `case` says, and return its UID."""
        uid = f"1.2.826.1.{next(self._numbers)}"
        for number in range(COUNT):
            self.receive(uid, number)
        with self.database.begin() as tx:
            study = studies.get(tx, uid)
            assert study is not None
            if case.complete:
                studies.complete(tx, uid, "a" * 64, study.last_received_at)
        if case.job != "none":
            self._analyse(uid, case)
        if case.late:
            self.receive(uid, COUNT)
        if case.promised:
            self._promise(uid)
        if case.handed_on:
            self._hand_on(uid)
        with self.database.begin() as tx:
            aged = update(table).where(table.c.study_instance_uid == uid)
            tx.execute(aged.values(received_at=table.c.received_at - case.days * DAY))
        return uid

    def receive(self, study: str, number: int) -> Instance:
        uid = f"{study}.{number}"
        # The very bytes that a receiver would keep.
        data = part10_header(MR, uid, EXPLICIT) + encoded(image(uid, study=study))
        stored = self.spool.store(data)
        series = "1.2.3.4"
        kept = Instance(uid, MR, EXPLICIT, study, series, "MR", stored.digest, stored.size, "CT1")
        with self.database.begin() as tx:
            instances.record(tx, kept, None)
        return kept

    def resend(self, study: str, number: int) -> int:
        """Send an instance again over the receiver, and return the status."""
        uid = f"{study}.{number}"
        scanner = OpenAssociation("CT1", "127.0.0.1")
        with running_receiver(self.database, self.spool) as receiver:
            return receive(receiver, uid, scanner, study=study).status

    def here(self, study: str) -> list[bool]:
        """Return for each instance of a study whether it is kept; row and file must agree."""
        with self.database.read() as tx:
            found = instances.of_study(tx, study)
        for one in found:
            assert (one.removed_at is None) == self.spool.exists(one.digest)
        return [one.removed_at is None for one in found]

    def retain(self, limits: RetentionSettings = ONE_DAY) -> int:
        return retention.retain(self.database, self.spool, limits)

    def _analyse(self, study: str, case: Case) -> None:
        with self.database.begin() as tx:
            made = jobs.enqueue(tx, study, "a" * 64, "b" * 64, 1)
            assert made is not None
            claimed = jobs.claim(tx, "test", 1e9)
            assert claimed is not None
            if case.job == "claimed":
                return
            if case.job == "dead":
                jobs.fail(tx, claimed.id, claimed.attempt, "poisoned", None)
                return
            report = self._result(study, "report")
            outcome = Outcome(claimed.id, case.verdict, "", None, None)
            nodes = [] if case.delivery == "none" else ["PACS"]
            assert jobs.settle(tx, claimed.id, claimed.attempt, outcome, [report], nodes)
            if case.delivery != "none":
                self._deliver(tx, case.delivery)

    def _deliver(self, tx: Any, state: str) -> None:
        if state == "queued":
            # Out of the way of the next claim.
            claimed = deliveries.claim(tx, "test", 1e9)
            assert claimed is not None
            return
        claimed = deliveries.claim(tx, "test", 60.0)
        assert claimed is not None
        if state == "dead":
            deliveries.fail(tx, claimed.id, claimed.attempt, "refused", None)
            return
        for item in deliveries.items_of(tx, claimed.id):
            deliveries.record_item(tx, claimed.id, claimed.attempt, item.sop_instance_uid, 0, True)
        assert deliveries.finish(tx, claimed.id, claimed.attempt)
        if state == "delivered":
            return
        confirmations.expect(tx, claimed.id, "PACS")
        asked = confirmations.claim(tx, "test", 1e9)
        assert asked is not None
        if state == "committed":
            assert confirmations.commit(tx, asked)

    def _promise(self, study: str) -> None:
        with self.database.begin() as tx:
            items = [CommitmentItem(MR, f"{study}.{number}") for number in range(COUNT)]
            made = commitments.request(tx, "CT1", f"1.9.{study}", items, "test", 60.0)
            assert made is not None
            commitments.decide(tx, made.id, made.attempt, [None] * COUNT)

    def _hand_on(self, study: str) -> None:
        with self.database.begin() as tx:
            originals = [
                Result(one.sop_instance_uid, MR, "1.2.3.4", EXPLICIT, "original", one.digest, 1)
                for one in instances.of_study(tx, study)
            ]
            deliveries.create(tx, "VNA", originals)
            self._deliver(tx, "committed")

    def _result(self, study: str, kind: str) -> Result:
        stored = self.spool.store(f"{kind} of {study}".encode())
        return Result(f"2.25.{study}", MR, "1.2.9", EXPLICIT, kind, stored.digest, stored.size)


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    return Site(tmp_path, database)


ALTERNATIVES = [
    Case(),
    Case(delivery="committed"),
    Case(complete=False),
    Case(job="none"),
    Case(job="claimed"),
    Case(job="dead"),
    Case(verdict="SUSPECT"),
    Case(delivery="none"),
    Case(delivery="queued"),
    Case(delivery="dead"),
    Case(delivery="unconfirmed"),
    Case(days=0.5),
    Case(late=True),
    Case(promised=True),
    Case(promised=True, handed_on=True),
]


def test_only_what_is_analysed_delivered_and_due_goes(site: Site) -> None:
    """Each reason to keep a study, by itself; whole studies go, results stay."""
    made = {site.make(case): case for case in ALTERNATIVES}

    removed = site.retain()

    for uid, case in made.items():
        assert any(site.here(uid)) is not case.may_go, case
    assert removed == COUNT * sum(case.may_go for case in ALTERNATIVES)
    assert site.retain() == 0


@sqlite_only
@pytest.mark.parametrize("seed", range(2))
def test_nothing_that_is_not_delivered_is_ever_removed(site: Site, seed: int) -> None:
    """Whatever the mixture of states, the age, and the need for space."""
    chance = random.Random(seed)
    made: dict[str, Case] = {}
    for _ in range(20):
        case = Case(
            complete=chance.random() < 0.9,
            job=chance.choice(["done"] * 6 + ["claimed", "dead", "none"]),
            verdict=chance.choice(["CLEAR", "UNREADABLE", "SUSPECT"]),
            delivery=chance.choice(
                ["delivered", "committed", "unconfirmed", "queued", "dead", "none"]
            ),
            days=chance.choice([0.5, 3.0]),
            late=chance.random() < 0.1,
            promised=chance.random() < 0.2,
            handed_on=chance.random() < 0.3,
        )
        if case.job == "queued":
            # Else the next study's claim would take it.
            case = dataclasses.replace(case, job="dead")
        made[site.make(case)] = case
    everything = RetentionSettings(days=1.0, free_mib=1 << 40)

    site.retain(everything if seed % 2 else ONE_DAY)

    for uid, case in made.items():
        due = dataclasses.replace(case, days=3.0) if seed % 2 else case
        assert any(site.here(uid)) is not due.may_go, case


@sqlite_only
def test_for_space_the_oldest_go_first_and_no_more_than_needed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their age; and with nothing to free it says so and removes nothing else."""
    made = [site.make(Case(days=0.0)) for _ in range(4)]
    free = itertools.count(10)

    def measured(_spool: Spool) -> int:
        return next(free)

    monkeypatch.setattr(Spool, "free_mib", measured)

    # Measured before, and after each study: 10, 11, 12.
    assert site.retain(RetentionSettings(free_mib=12)) == 2 * COUNT

    assert [any(site.here(uid)) for uid in made] == [False, False, True, True]


@sqlite_only
def test_off_by_default(site: Site) -> None:
    """Without a setting everything is kept for ever."""
    uid = site.make(Case(days=10_000.0))
    context = periodic.Context(Settings(), site.database, site.spool)

    assert periodic.tick_retain(context) == 0
    assert all(site.here(uid))


def test_a_removed_instance_that_is_sent_again_is_kept_again(site: Site) -> None:
    """Its file and its row; its age counts from now; nothing is analysed twice."""
    uid = site.make(Case())
    site.retain()
    assert site.here(uid) == [False] * COUNT

    assert site.resend(uid, 0) == 0x0000

    assert site.here(uid) == [True, False]
    assert site.retain() == 0
    assert site.here(uid) == [True, False]
    with site.database.read() as tx:
        assert len(jobs.listing(tx, study=uid)) == 1


def test_killed_between_row_and_file_the_next_tick_goes_on(site: Site) -> None:
    """The row says removed and the file is there: it goes, unless it was sent again meanwhile."""
    uid = site.make(Case())
    with site.database.begin() as tx:
        marked = facts.mark(tx, uid, DAY, ())
    assert len(marked) == COUNT

    assert site.resend(uid, 0) == 0x0000
    assert site.retain() == COUNT - 1

    assert site.here(uid) == [True, False]
    with site.database.read() as tx:
        assert facts.pending(tx, 10) == []


@pytest.mark.parametrize("named_first", [True, False])
def test_a_file_unlinked_while_it_is_sent_again_is_there_when_that_is_acknowledged(
    site: Site, monkeypatch: pytest.MonkeyPatch, named_first: bool
) -> None:
    """Unlinked before or after the new file found the name taken, and before it was recorded."""
    uid = site.make(Case())
    with site.database.begin() as tx:
        facts.mark(tx, uid, DAY, ())
    record, name = instances.record, Spool.name
    named = threading.Event()

    def naming(spool: Spool, *arguments: Any) -> Any:
        try:
            return name(spool, *arguments)
        finally:
            named.set()

    def late(*arguments: Any) -> Any:
        assert not named_first or named.wait(20)
        [one] = instances.find(arguments[0], f"{uid}.0")
        site.spool.remove(one.digest)
        return record(*arguments)

    monkeypatch.setattr(instances, "record", late)
    monkeypatch.setattr(Spool, "name", naming)

    assert site.resend(uid, 0) == 0x0000
    monkeypatch.undo()
    site.retain()
    assert site.here(uid) == [True, False]
