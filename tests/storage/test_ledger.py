"""The ledger: books that balance, and each way in which they do not, named with its cause."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.books import Site

from gatekeeper.accounts import Entry, judge_delivery, judge_job, judge_study
from gatekeeper.ledger import Ledger
from storage import jobs
from storage.engine import Database
from storage.ledger import DeliveryFacts, JobFacts, StudyFacts
from storage.records import Instance, Outcome
from storage.spool import Digest, Spool

STUDY = StudyFacts("1.2.3", "complete", 2, 10, 1, 2, 9e9)
JOB = JobFacts(7, "1.2.3", "done", "", 9e9, None, 1, 1, ("PACS",), 3, ("PACS",))
DELIVERY = DeliveryFacts(
    5, 7, "done", "PACS", True, True, False, "delivered", "", 9e9, None, 3, 3, 0
)


@pytest.fixture
def site(database: Database, tmp_path: Path, an_instance: Callable[..., Instance]) -> Site:
    return Site(database, Spool(tmp_path / "spool"), an_instance)


@pytest.fixture
def delivered(site: Site, an_outcome: Outcome) -> Site:
    site.settle(an_outcome)
    return site


def causes(books: Ledger) -> list[str]:
    return [f"{one.account}: {one.cause}" for one in books.differences]


def test_a_site_at_rest_balances(delivered: Site) -> None:
    """Each account is counted, every file was read, and nothing differs."""
    books = delivered.books(verify=True)

    assert (books.balanced, books.differences, books.remarks) == (True, [], [])
    assert books.counts["instance rows"] == 3
    assert books.counts["result rows"] == 2
    assert books.counts["files"] == books.counts["files verified"] == 5
    assert books.counts["studies complete"] == books.counts["jobs done"] == 1
    assert books.counts["outcomes"] == books.counts["deliveries delivered"] == 1
    assert books.counts["objects delivered"] == books.counts["objects to deliver"] == 2


def test_a_site_at_work_balances(site: Site) -> None:
    """What waits with an owner is no difference."""
    assert site.books().balanced
    with site.database.begin() as tx:
        jobs.claim(tx, "worker", 60)

    assert site.books().balanced


def test_a_missing_file_is_a_difference(delivered: Site) -> None:
    """What was acknowledged and is gone is named with its UID and digest."""
    gone = Digest.of(b"image 1")
    delivered.spool.path(gone).unlink()
    (difference,) = delivered.books().differences

    assert difference.account == "instance"
    assert difference.cause == f"its file {gone} is missing"


def test_a_file_of_another_size_is_a_difference(delivered: Site) -> None:
    """A file cut short after it was acknowledged is found without reading it."""
    path = delivered.spool.path(Digest.of(b"result 1"))
    path.chmod(0o640)
    os.truncate(path, 3)

    assert causes(delivered.books()) == [
        f"result: its file {path.name} has 3 bytes where 8 were acknowledged"
    ]


def test_damaged_content_is_found_when_it_is_verified(delivered: Site) -> None:
    """The same size with other bytes: the digest tells."""
    path = delivered.spool.path(Digest.of(b"image 2"))
    path.chmod(0o640)
    path.write_bytes(b"Image 2")

    assert delivered.books().balanced
    assert causes(delivered.books(verify=True)) == [
        "file: damaged: its content is not what was acknowledged"
    ]


def test_a_file_without_a_row_is_adoptable_and_no_difference(delivered: Site) -> None:
    """Its sender got no success: an old one is remarked on, one under way is not."""
    young, old = delivered.spool.store(b"young"), delivered.spool.store(b"old")
    books = delivered.books()
    assert books.balanced
    assert books.remarks == []
    later = balance_later(delivered)

    assert later.balanced
    assert {one.key for one in later.remarks} == {young.digest, old.digest}
    assert later.remarks[0].cause.startswith("adoptable")


def balance_later(site: Site) -> Ledger:
    """Return the books as seen by a clock an hour ahead."""
    with pytest.MonkeyPatch.context() as patch:
        import time

        hour = time.time() + 3600
        patch.setattr("gatekeeper.ledger.time.time", lambda: hour)
        return site.books()


def test_a_foreign_file_in_the_spool_is_a_difference(delivered: Site) -> None:
    """Nothing but digests lies there."""
    (delivered.spool.root / "objects" / "notes.txt").write_text("x")

    assert causes(delivered.books()) == ["file: it is in the spool and its name is no digest"]


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("UPDATE job SET state = 'queued'", "it is queued and has an outcome"),
        ("DELETE FROM outcome", "it is done and has no outcome"),
        ("DELETE FROM delivery_item", "it has no objects"),
        ("UPDATE delivery SET node = 'OTHER'", "no deliveries to PACS, where one was made"),
        ("UPDATE delivery SET state = 'dead', reason = ''", "set aside without a reason"),
        ("UPDATE delivery SET state = 'queued'; DELETE FROM node", "node PACS is not known"),
        ("UPDATE delivery_item SET stored = (1 = 0)", "2 of 2 objects are not stored"),
        ("UPDATE delivery_item SET sop_instance_uid = '1.9' WHERE position = 0", "no results of"),
        ("UPDATE study SET revision = 2", "1 of 2 revisions have no job"),
        ("UPDATE study SET content_digest = 'x'", "has no job for its content"),
        ("DELETE FROM instance", "it has no instances"),
        ("UPDATE study SET state = 'archived'", "study: its state 'archived' is none that"),
        ("UPDATE job SET state = 'paused'", "job: its state 'paused' is none that"),
        ("UPDATE delivery SET state = 'lost'", "delivery: its state 'lost' is none that"),
        ("UPDATE delivery SET state = 'committed'", "its node's word for that is not on record"),
    ],
)
def test_rows_that_do_not_agree_are_differences(
    delivered: Site, statement: str, cause: str
) -> None:
    """Whatever is written past the program's own ways is found."""
    for one in statement.split(";"):
        delivered.execute(one)
    books = delivered.books()

    assert not books.balanced
    assert any(cause in found for found in causes(books)), causes(books)


def test_an_instance_without_its_study_is_a_difference(
    site: Site, an_instance: Callable[..., Instance]
) -> None:
    """Every received instance belongs to a study that will be answered."""
    site.execute("UPDATE instance SET study_instance_uid = '1.9'")

    assert "instance: its study 1.9 has no row" in causes(site.books())


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"state": "claimed", "lease_over_for": 400.0}, "its lease ended long ago"),
        ({"state": "queued", "due_for": 400.0}, "no `gatekeeper work` takes jobs"),
        ({"state": "dead"}, "set aside without a reason"),
        ({"state": "done", "twins": 2, "outcomes": 1}, "2 jobs are for this revision"),
    ],
)
def test_a_job_without_an_owner_is_a_difference(changes: dict[str, object], cause: str) -> None:
    """A claim that nobody takes back, a queue that nobody serves, an end that nobody explains."""
    job = dataclasses.replace(
        JOB, **({"outcomes": 0, "destinations": None, "results": 0, "deliveries": ()} | changes)
    )

    assert [cause in one.cause for one in judge_job(job, 300.0)] == [True]


def test_a_queue_that_is_served_is_none() -> None:
    """A long queue has its owner while jobs are claimed."""
    waiting = dataclasses.replace(
        JOB, state="queued", outcomes=0, destinations=None, results=0, deliveries=()
    )

    assert list(judge_job(waiting, 300.0, idle_seconds=10.0)) == []
    assert len(list(judge_job(waiting, 300.0, idle_seconds=400.0))) == 1


def test_what_is_set_aside_with_a_reason_is_a_remark() -> None:
    """It balances, and a person reads it; a superseded job is history."""
    nothing = {"outcomes": 0, "destinations": None, "results": 0, "deliveries": ()}
    dead = dataclasses.replace(JOB, state="dead", reason="it crashed", **nothing)
    old = dataclasses.replace(dead, reason="superseded: the study changed")
    sent = dataclasses.replace(DELIVERY, state="dead", reason="A900", stored=1)

    assert list(judge_job(dead, 300.0)) == [Entry("job", "7", "set aside: it crashed", True)]
    assert list(judge_job(old, 300.0)) == []
    assert [one.remark for one in judge_delivery(sent, 300.0)] == [True]


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"state": "queued", "due_for": 400.0}, False),
        ({"state": "queued", "due_for": 400.0, "node_busy": True}, None),
        ({"state": "queued", "due_for": -1.0}, None),
        ({"state": "queued", "due_for": 400.0, "node_ready": False}, True),
        ({"state": "claimed", "lease_over_for": 400.0}, False),
        ({"state": "claimed", "lease_over_for": -10.0}, None),
    ],
)
def test_a_delivery_that_waits_has_an_owner(
    changes: dict[str, object], remark: bool | None
) -> None:
    """A sender that does not run is a difference, a node switched off a remark, backoff neither."""
    found = list(judge_delivery(dataclasses.replace(DELIVERY, stored=0, **changes), 300.0))

    assert [one.remark for one in found] == ([] if remark is None else [remark])


def test_a_study_that_nobody_completes_is_a_difference() -> None:
    """Quiet for long and still receiving: the ticks do not run, or its sender never hung up."""
    open_study = dataclasses.replace(STUDY, state="receiving", jobs_of_content=0)

    assert len(list(judge_study(open_study, 300.0))) == 1
    assert list(judge_study(dataclasses.replace(open_study, quiet_for=10.0), 300.0)) == []
    assert list(judge_study(STUDY, 300.0)) == []


def test_outcomes_of_an_older_version_are_judged_by_their_deliveries(delivered: Site) -> None:
    """Before 0007 an outcome named no destinations: a delivery to each node at most once."""
    delivered.execute("UPDATE outcome SET destinations = NULL")
    assert delivered.books().balanced
    job = dataclasses.replace(JOB, destinations=None, deliveries=("PACS", "PACS"))

    assert [one.cause for one in judge_job(job, 300.0)] == [
        "2 deliveries to PACS, where one was made"
    ]
