"""Search of studies: every filter finds what it names, in pages that neither repeat nor skip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, update

from gatekeeper.history import StudyPage, find_studies, read_history, read_summaries, stage
from storage import (
    confirmations,
    deliveries,
    forwards,
    instances,
    jobs,
    studies,
    study_headers,
    study_search,
)
from storage.engine import Database
from storage.records import Instance, Outcome, Result, StudyHeader
from storage.schema import study as study_table
from storage.schema import study_header as header_table
from storage.study_search import Stage, StudyFilter

MakeInstance = Callable[..., Instance]
MODEL = "f" * 64


class Books:
    """Studies that have come as far as a test says."""

    def __init__(self, database: Database, an_instance: MakeInstance) -> None:
        self.database = database
        self._an_instance = an_instance
        self._count = 0

    def receive(self, **more: Any) -> str:
        """Begin a study, each a minute newer than the one before."""
        self._count += 1
        uid = f"1.2.9.{self._count}"
        with self.database.begin() as tx:
            given = {"study_instance_uid": uid, "sop_instance_uid": f"{uid}.1", **more}
            instances.record(tx, self._an_instance(1, uid, **given), None)
            aged = update(study_table).where(study_table.c.study_instance_uid == uid)
            tx.execute(aged.values(last_received_at=1000.0 + 60.0 * self._count))
        return uid

    def complete(self, content: str = "a", **more: Any) -> tuple[str, int]:
        uid = self.receive(**more)
        return uid, self.again(uid, content)

    def again(self, uid: str, content: str) -> int:
        with self.database.begin() as tx:
            study = studies.get(tx, uid)
            assert study is not None
            studies.complete(tx, uid, content * 64, study.last_received_at)
            made = jobs.enqueue(tx, uid, content * 64, MODEL, 1)
            assert made is not None
        return made

    def claim(self) -> Any:
        with self.database.begin() as tx:
            claimed = jobs.claim(tx, "test", 1e9)
        assert claimed is not None
        return claimed

    def done(self, verdict: str = "CLEAR", *, nodes: tuple[str, ...] = (), **more: Any) -> str:
        uid, _ = self.complete(**more)
        claimed = self.claim()
        report = Result(f"{uid}.5", "1.2", f"{uid}.6", "1.2", "report", "e" * 64, 1)
        with self.database.begin() as tx:
            outcome = Outcome(claimed.id, verdict, "Because.", 1.0, 0.5)
            assert jobs.settle(tx, claimed.id, claimed.attempt, outcome, [report], list(nodes))
        return uid

    def deliver(self, state: str) -> None:
        with self.database.begin() as tx:
            claimed = deliveries.claim(tx, "test", 1e9)
            assert claimed is not None
            if state == "dead":
                deliveries.fail(tx, claimed.id, claimed.attempt, "refused", None)
                return
            for item in deliveries.items_of(tx, claimed.id):
                uid = item.sop_instance_uid
                deliveries.record_item(tx, claimed.id, claimed.attempt, uid, 0, True)
            assert deliveries.finish(tx, claimed.id, claimed.attempt)
            if state == "delivered":
                return
            confirmations.expect(tx, claimed.id, "PACS")
            asked = confirmations.claim(tx, "test", 1e9)
            assert asked is not None
            if state == "committed":
                assert confirmations.commit(tx, asked)
            elif state == "refused":
                confirmations.fail(tx, asked, "no", None)

    def hold(self, uid: str, node: str = "AI") -> None:
        with self.database.begin() as tx:
            expected = forwards.expect(tx, uid, "a" * 64, 1, node, gated=True)
            assert expected is not None
            assert forwards.hold(tx, expected, "held", "SUSPECT", 24.0)

    def header(self, uid: str, **said: Any) -> None:
        known: dict[str, Any] = {
            "content_digest": "a" * 64,
            "instances": 1,
            "series_count": 1,
            **said,
        }
        with self.database.begin() as tx:
            study_headers.write(tx, StudyHeader(study_instance_uid=uid, **known))

    def find(self, limit: int = 50, **asked: Any) -> list[str]:
        with self.database.read() as tx:
            return uids(find_studies(tx, StudyFilter(**asked), limit))


def uids(page: StudyPage) -> list[str]:
    return [line.summary.study_instance_uid for line in page.lines]


@pytest.fixture
def books(database: Database, an_instance: MakeInstance) -> Books:
    return Books(database, an_instance)


def at_every_stage(books: Books) -> dict[str, Stage]:
    made = {books.done(): Stage.DONE, books.done(nodes=("PACS",)): Stage.DONE}
    books.deliver("delivered")
    for state, where in (
        ("dead", Stage.DELIVERY_DEAD),
        ("committed", Stage.DONE),
        ("refused", Stage.NOT_CONFIRMED),
        ("asked", Stage.CONFIRMING),
    ):
        made[books.done(nodes=("PACS",))] = where
        books.deliver(state)
    made[books.done(nodes=("PACS",))] = Stage.SENDING
    uid, _ = books.complete()
    claimed = books.claim()
    with books.database.begin() as tx:
        jobs.fail(tx, claimed.id, claimed.attempt, "poisoned", None)
    made[uid] = Stage.DEAD
    uid, _ = books.complete()
    books.claim()
    made[uid] = Stage.ANALYSING
    made[books.complete()[0]] = Stage.QUEUED
    made[books.receive()] = Stage.RECEIVING
    return made


@pytest.mark.parametrize("few", [0, 2000])
def test_each_stage_finds_the_studies_that_are_listed_at_it(
    books: Books, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Whichever way the database goes, and of one study the history says the same."""
    monkeypatch.setattr(study_search, "FEW", few)
    made = at_every_stage(books)

    with books.database.read() as tx:
        listed = {one.study_instance_uid: one.stage for one in read_summaries(tx, 100)}
        assert listed == made
        for where in Stage:
            expected = {uid for uid, at in made.items() if at is where}
            assert set(uids(find_studies(tx, StudyFilter(stage=where)))) == expected, where
        for uid, where in made.items():
            history = read_history(tx, uid)
            assert history is not None
            assert stage(history.study, history.jobs[0] if history.jobs else None) is where


@pytest.mark.parametrize("few", [0, 2000])
def test_a_verdict_is_that_of_the_latest_job(
    books: Books, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """A study that is judged again has none until then."""
    monkeypatch.setattr(study_search, "FEW", few)
    clear, suspect, again = books.done(), books.done("SUSPECT"), books.done("SUSPECT")
    books.again(again, "b")

    assert books.find(verdict="SUSPECT") == [suspect]
    assert books.find(verdict="CLEAR") == [clear]
    assert books.find(verdict="UNREADABLE") == []


@pytest.mark.parametrize("few", [0, 2000])
def test_held_studies_are_found_with_their_nodes(
    books: Books, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """And those that are not held, without them."""
    monkeypatch.setattr(study_search, "FEW", few)
    free, held = books.done(), books.done("SUSPECT")
    books.hold(held, "AI")
    books.hold(held, "VIEWER")

    assert books.find(held=True) == [held]
    assert books.find(held=False) == [free]
    with books.database.read() as tx:
        [line] = find_studies(tx, StudyFilter(held=True)).lines
    assert line.summary.held_from == ("AI", "VIEWER")


def test_text_is_found_anywhere_without_capitals_and_accents(books: Books) -> None:
    """Words in any order, in name, number, accession, description and UID; wildcards are text."""
    one, other = books.done(), books.done()
    books.header(one, patient_name="Müller^Jürgen", patient_id="PAT_1", accession_number="AC77")
    books.header(other, patient_name="山田^太郎", study_description="MR Schädel 100%")

    assert books.find(text="jurgen MULLER") == [one]
    assert books.find(text="uller") == [one]
    assert books.find(text="ac77") == [one]
    assert books.find(text="pat_1") == [one]
    assert books.find(text="pat%1") == []
    assert books.find(text="schadel 100%") == [other]
    assert books.find(text="山田") == [other]
    assert books.find(text=one) == [one]
    assert books.find(text="\0' OR 1=1 --") == []
    assert books.find(text="1.2.9.") == [other, one]


def test_modality_device_date_and_source_are_asked_together(books: Books) -> None:
    """Each narrows what the others leave."""
    one = books.done("SUSPECT", source_ae="CT1")
    other = books.done(source_ae="MR1")
    books.header(one, modalities=("CT", "SR"), device="GE REVOLUTION", study_date="20240105")
    books.header(other, modalities=("MR",), device="SIEMENS SKYRA 3T", study_date="20240301")

    assert books.find(modality="CT") == [one]
    assert books.find(modality="C") == []
    assert books.find(device="SIEMENS SKYRA 3T") == [other]
    assert books.find(study_date_from="20240101", study_date_to="20240131") == [one]
    assert books.find(study_date_from="20240106") == [other]
    assert books.find(source_ae="CT1", modality="CT", verdict="SUSPECT") == [one]
    assert books.find(source_ae="CT1", modality="MR") == []
    assert books.find(source_ae="MR1") == [other]
    assert books.find(received_from=1061.0) == [other]
    assert books.find(received_to=1120.0) == [one]
    with books.database.read() as tx:
        assert study_headers.devices(tx) == ["GE REVOLUTION", "SIEMENS SKYRA 3T"]


@pytest.mark.parametrize("asked", [StudyFilter(), StudyFilter(text="doe")])
def test_pages_neither_repeat_nor_skip(books: Books, asked: StudyFilter) -> None:
    """Though times are equal, and a newer study comes between two pages."""
    made = [books.done() for _ in range(7)]
    for uid in made:
        books.header(uid, patient_name="Doe")
    with books.database.begin() as tx:
        for table, at in ((study_table, "last_received_at"), (header_table, "received_at")):
            tx.execute(update(table).values({at: 1000.0}))
        tx.execute(
            update(study_table)
            .where(study_table.c.study_instance_uid == made[0])
            .values(last_received_at=900.0)
        )
        tx.execute(
            update(header_table)
            .where(header_table.c.study_instance_uid == made[0])
            .values(received_at=900.0)
        )

    found: list[str] = []
    after = None
    for _ in range(4):
        with books.database.read() as tx:
            page = find_studies(tx, asked, 2, after)
        found += uids(page)
        after = page.following
        newer = books.done()
        books.header(newer, patient_name="Doe")

    assert found == [*sorted(made[1:]), made[0]]
    assert after is None


def test_a_line_shows_header_counts_and_verdict(books: Books) -> None:
    """Before headers were read there is a line without them."""
    uid = books.done("SUSPECT")
    with books.database.read() as tx:
        [line] = find_studies(tx, StudyFilter()).lines
    assert (line.header, line.summary.instances) == (None, 1)
    assert (line.summary.verdict, line.summary.p_value) == ("SUSPECT", 0.5)

    books.header(uid, patient_name="Doe", modalities=("MR",), instances=40)
    with books.database.read() as tx:
        [line] = find_studies(tx, StudyFilter()).lines
    assert line.header is not None
    assert (line.header.patient_name, line.header.modalities) == ("Doe", ("MR",))
    assert line.summary.instances == 40
    assert read_one(books, uid).instances == 40


def read_one(books: Books, uid: str) -> StudyHeader:
    with books.database.read() as tx:
        return _get(tx, uid)


def _get(tx: Connection, uid: str) -> StudyHeader:
    found = study_headers.of_studies(tx, [uid])
    return found[uid]
