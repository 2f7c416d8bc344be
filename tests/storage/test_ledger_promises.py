"""The ledger on what is promised and what is gone: confirmations, commitments, retention, slots."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.books import Site
from support.waiting import until

from gatekeeper.accounts import Entry, judge_commitment, judge_confirmation, judge_job
from gatekeeper.ledger import Ledger
from storage import commitments, confirmations, deliveries, retention
from storage.engine import Database
from storage.intake import Intake, Limits
from storage.jobs import NO_SPACE
from storage.ledger import CommitmentFacts, ConfirmationFacts, JobFacts
from storage.records import CommitmentItem, ConfirmationState, Instance, Outcome
from storage.spool import Digest, Spool

CONFIRMATION = ConfirmationFacts(5, "PACS", True, "committed", "committed", "", 9e9, None)
COMMITMENT = CommitmentFacts(3, "CT1", True, "reported", True, "", 9e9, None, 3, 0)
DIES_WITH_A_FULL_SLOT = """
import os, sys
from pathlib import Path
from storage.engine import Database
from storage.intake import Intake, Limits
from storage.records import Instance
from storage.spool import Spool

database, spool = Database.connect(sys.argv[2], 30), Spool(Path(sys.argv[1]))
intake = Intake(database, spool, Limits(slots=2, settle_seconds=60), print)
study = sys.argv[3]

with intake.writer() as writer:
    writer.write(b"left in a slot")
    content = writer.digest, writer.size
    made = Instance(study + ".77", "1.3", "1.4", study, "1.6", "MR", *content, "CT1")
    intake.keep(writer, made, None)
os._exit(0)
"""
DIES_WITHOUT_A_ROW = """
import os, sys
from pathlib import Path
from storage.slots import Slots
from storage.spool import Spool

spool = Spool(Path(sys.argv[1]))
with spool.writer(make=Slots(spool.root, 2).take) as writer:
    writer.write(b"received, and no row yet")
    assert writer.vouch("CT1")
    writer.synchronise()
    os._exit(0)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def site(database: Database, tmp_path: Path, an_instance: Callable[..., Instance]) -> Site:
    return Site(database, Spool(tmp_path / "spool"), an_instance)


@pytest.fixture
def delivered(site: Site, an_outcome: Outcome) -> int:
    """Settle and deliver, and return the delivery."""
    return site.settle(dataclasses.replace(an_outcome, verdict="NORMAL"))


@pytest.fixture
def intake(site: Site) -> Iterator[Intake]:
    """Give a listener's intake that settles at its end alone."""
    made = Intake(site.database, site.spool, Limits(slots=2, settle_seconds=60), print)
    yield made
    made.close()


def causes(books: Ledger) -> list[str]:
    return [f"{one.account}: {one.cause}" for one in books.differences]


def remarks(books: Ledger) -> list[str]:
    return [f"{one.account}: {one.cause}" for one in books.remarks]


def confirm(site: Site, delivery: int) -> None:
    with site.database.begin() as tx:
        confirmations.expect(tx, delivery, "PACS")
        asked = confirmations.claim(tx, "sender", 60.0)
        assert asked is not None
        assert confirmations.commit(tx, asked)


def test_a_committed_delivery_balances(site: Site, delivered: int) -> None:
    """Its node said so: everything of it counts as stored, and nothing waits."""
    confirm(site, delivered)
    books = site.books(overdue=0.0)

    assert (causes(books), remarks(books)) == ([], [])
    assert books.counts["deliveries committed"] == books.counts["confirmations committed"] == 1


def test_a_committed_delivery_that_lacks_an_object_is_a_difference(
    site: Site, delivered: int
) -> None:
    """A node's word does not stand in for what it never answered."""
    confirm(site, delivered)
    site.execute("UPDATE delivery_item SET stored = (1 = 0) WHERE position = 0")

    assert causes(site.books()) == ["delivery: it is committed and 1 of 2 objects are not stored"]


def test_a_confirmation_that_did_not_come_is_a_remark(site: Site, delivered: int) -> None:
    """Delivered as far as the node answered; that it did not confirm is said with its reason."""
    with site.database.begin() as tx:
        confirmations.expect(tx, delivered, "PACS")
        asked = confirmations.claim(tx, "sender", 60.0)
        assert asked is not None
        assert confirmations.fail(tx, asked, "no report after 6 questions", None)
    books = site.books()

    assert books.balanced
    assert remarks(books) == ["confirmation: not confirmed: no report after 6 questions"]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"state": "lost"}, "its state 'lost' is none that this version knows"),
        ({"delivery_state": "delivered"}, "the node confirmed and the delivery is delivered"),
        ({"state": "resending", "delivery_state": "delivered"}, "nobody asks the node"),
        ({"state": "dead", "delivery_state": "delivered"}, "set aside without a reason"),
        (
            {"state": "claimed", "delivery_state": "delivered", "lease_over_for": 400.0},
            "its lease ended long ago",
        ),
        ({"state": "queued", "delivery_state": "delivered"}, "no `gatekeeper send` takes it"),
    ],
)
def test_a_confirmation_without_an_owner_is_a_difference(
    changes: dict[str, object], cause: str
) -> None:
    """Nobody asks, nobody takes back, nobody explains."""
    (found,) = judge_confirmation(dataclasses.replace(CONFIRMATION, **changes), 300.0)

    assert not found.remark
    assert cause in found.cause
    assert list(judge_confirmation(CONFIRMATION, 300.0)) == []


def test_what_waits_for_a_node_that_is_switched_off_is_a_remark() -> None:
    """Disabled is a pause, of questions and of reports."""
    asked = dataclasses.replace(
        CONFIRMATION, state="queued", delivery_state="delivered", node_enabled=False
    )
    owed = dataclasses.replace(COMMITMENT, state="queued", node_enabled=False)

    assert [one.remark for one in judge_confirmation(asked, 300.0)] == [True]
    assert [one.remark for one in judge_commitment(owed, 300.0)] == [True]


def test_what_is_resent_waits_with_its_delivery(site: Site, delivered: int) -> None:
    """The node lost an object: the delivery is queued again, and nothing differs."""
    with site.database.begin() as tx:
        confirmations.expect(tx, delivered, "PACS")
        asked = confirmations.claim(tx, "sender", 60.0)
        assert asked is not None
        state = confirmations.resend(tx, asked, ["2.25.1"], "not kept", 3)
        assert state is ConfirmationState.RESENDING

    assert site.books().balanced


def promise(site: Site, uids: list[str]) -> int:
    items = [CommitmentItem("1.3", uid) for uid in uids]
    with site.database.begin() as tx:
        made = commitments.request(tx, "CT1", "1.9.1", items, "listener", 60.0)
        assert made is not None
        assert commitments.decide(tx, made.id, made.attempt, [None] * len(items))
    return made.id


def test_a_report_that_is_owed_balances_and_one_given_up_is_a_remark(
    site: Site, an_instance: Callable[..., Instance]
) -> None:
    """The node is told as long as attempts last; then a person is."""
    owed = promise(site, [an_instance(0).sop_instance_uid])
    with site.database.begin() as tx:
        commitments.fail(tx, owed, 1, "no connection", 60.0)
    assert site.books().balanced
    assert site.books().remarks == []
    with site.database.begin() as tx:
        assert commitments.claim(tx, "sender", 60.0) is None
    site.execute("UPDATE commitment SET state = 'dead', reason = 'no connection'")
    books = site.books()

    assert books.balanced
    assert books.counts["commitments dead"] == 1
    assert remarks(books) == ["commitment: not reported: no connection"]


def test_an_instance_that_we_committed_to_and_do_not_keep_is_a_difference(
    site: Site, an_instance: Callable[..., Instance]
) -> None:
    """The scanner has deleted it by now, and nobody else has committed to it."""
    uids = [an_instance(number).sop_instance_uid for number in range(3)]
    promise(site, uids)
    assert site.books().balanced
    site.execute("UPDATE instance SET removed_at = 1.0 WHERE sop_instance_uid LIKE '%.1'")

    assert causes(site.books()) == ["commitment: 1 instances that we committed to are not kept"]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"state": "archived"}, "its state 'archived' is none that this version knows"),
        ({"items": 0}, "it names no instances"),
        ({"decided": False}, "it is reported and was never decided"),
        ({"state": "dead"}, "set aside without a reason"),
        ({"state": "claimed", "lease_over_for": 400.0}, "its lease ended long ago"),
        ({"state": "queued"}, "no `gatekeeper send` takes it"),
    ],
)
def test_a_report_without_an_owner_is_a_difference(changes: dict[str, object], cause: str) -> None:
    """Nobody reports, nobody takes back, nobody explains."""
    (found,) = judge_commitment(dataclasses.replace(COMMITMENT, **changes), 300.0)

    assert not found.remark
    assert cause in found.cause
    assert list(judge_commitment(COMMITMENT, 300.0)) == []


def remove(site: Site) -> list[retention.Removal]:
    site.execute("UPDATE instance SET received_at = received_at - 1000")
    with site.database.begin() as tx:
        return retention.mark(tx, site.study, 500.0, [])


def test_what_retention_removed_has_no_file_on_purpose(site: Site, delivered: int) -> None:
    """At each step: marked, unlinked, forgotten."""
    assert delivered
    gone = remove(site)
    assert len(gone) == 3
    books = site.books()
    assert (causes(books), remarks(books)) == ([], [])
    assert books.counts["instances removed"] == 3
    assert len(remarks(site.books(overdue=-1.0))) == 3
    for one in gone:
        site.spool.path(Digest(one.digest)).unlink()
        assert causes(site.books()) == []
        with site.database.begin() as tx:
            retention.forget(tx, one)

    assert (causes(site.books()), remarks(site.books())) == ([], [])


def test_a_file_that_retention_forgot_to_unlink_is_a_remark(
    site: Site, delivered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed, its file still there, and no removal that says so: it takes room for ever."""
    assert delivered
    one, *_ = remove(site)
    with site.database.begin() as tx:
        retention.forget(tx, one)
    assert site.books().remarks == []
    # Seen later: a file that came a moment ago may be just sent again.
    monkeypatch.setattr("gatekeeper.accounts.UNDER_WAY_SECONDS", -1.0)
    books = site.books()

    assert books.balanced
    assert [(entry.key, entry.cause[:6]) for entry in books.remarks] == [(one.digest, "orphan")]


def test_a_removal_of_what_is_kept_is_a_difference(site: Site, delivered: int) -> None:
    """It would unlink a file that was acknowledged."""
    assert delivered
    remove(site)
    site.execute("UPDATE instance SET removed_at = NULL")

    assert causes(site.books()) == ["instance: it counts as kept and is to be unlinked"] * 3


def test_an_object_sent_by_hand_needs_its_file_until_it_is_delivered(
    site: Site, an_instance: Callable[..., Instance]
) -> None:
    """Afterwards retention may remove it."""
    digest = Digest.of(b"only sent")
    sent = dataclasses.replace(site.result(7), digest=digest, sop_instance_uid="1.7")
    with site.database.begin() as tx:
        deliveries.create(tx, "PACS", [sent])
    assert f"delivery: its file {digest} is missing" in causes(site.books())
    site.execute("UPDATE delivery SET state = 'delivered' WHERE job_id IS NULL")
    site.execute("UPDATE delivery_item SET stored = (1 = 1)")

    assert causes(site.books()) == []


def test_a_file_in_the_slot_of_a_living_listener_is_kept(
    site: Site, intake: Intake, an_instance: Callable[..., Instance]
) -> None:
    """Acknowledged, and its own name not yet durable or not yet given."""
    site.take_in(an_instance(7), b"in a slot", intake)
    books = site.books()
    assert (causes(books), remarks(books), books.counts["unsettled rows"]) == ([], [], 1)
    site.spool.path(Digest.of(b"in a slot")).unlink()

    assert causes(site.books()) == []


def test_a_file_that_is_in_no_slot_either_is_missing(
    site: Site, intake: Intake, an_instance: Callable[..., Instance]
) -> None:
    """Its row may be about to be withdrawn; long after, it was acknowledged and is gone."""
    site.take_in(an_instance(7), b"in a slot", intake)
    site.spool.path(Digest.of(b"in a slot")).unlink()
    for slot in (site.spool.root / "slots").glob("*/0*"):
        slot.unlink()
    assert causes(site.books()) == []

    assert any("instance: its file" in one for one in causes(site.books(overdue=-1.0)))


def test_what_a_dead_listener_left_waits_for_recovery(
    site: Site, database_url: str, other_process: Start
) -> None:
    """Whole or torn: recovery decides, and the ledger says that it has to."""
    process = other_process(DIES_WITH_A_FULL_SLOT, site.spool.root, database_url, site.study)
    until(lambda: process.poll() is not None, 60, "the listener to end")
    site.execute("UPDATE study SET state = 'complete'")
    for torn in (False, True):
        if torn:
            for path in (site.spool.root / "slots").glob("*/0*"):
                path.write_bytes(b"")
            site.spool.path(Digest.of(b"left in a slot")).unlink()
        books = site.books()

        assert [one for one in causes(books) if not one.startswith("study")] == []
        assert remarks(books) == [
            "slot: waits for recovery: the listener that received it has ended"
        ]


def test_slots_of_another_spool_are_said_to_be(
    site: Site, intake: Intake, an_instance: Callable[..., Instance]
) -> None:
    """A file that lies nowhere here is missing, whoever says that it is unsettled."""
    site.take_in(an_instance(7), b"in a slot", intake)
    site.execute("UPDATE unsettled SET slot = 'ffff/00000001'")
    assert site.books().balanced
    assert "folder is not in this spool" in remarks(site.books())[0]
    site.spool.path(Digest.of(b"in a slot")).unlink()

    assert causes(site.books())[0].endswith("is missing")


def test_a_slot_without_an_instance_is_a_difference(site: Site) -> None:
    """Both are written in one transaction and go in one."""
    site.execute(
        "INSERT INTO unsettled (slot, sop_instance_uid, digest, new) "
        "VALUES ('ffff/1', '1.9', 'x', (1 = 1))"
    )

    assert causes(site.books()) == ["slot: it is unsettled and its instance has no row"]


def test_results_in_a_language_that_nobody_takes_are_a_remark(site: Site, delivered: int) -> None:
    """The node changed its language while they were made; no delivery has them."""
    assert delivered
    assert site.books().remarks == []
    site.execute("UPDATE result SET language = 'de' WHERE sop_instance_uid = '2.25.1'")
    assert site.books().remarks == []
    site.execute("DELETE FROM delivery_item WHERE sop_instance_uid = '2.25.1'")
    books = site.books()

    assert books.balanced
    assert remarks(books) == [
        "job: 1 results in 'de' are sent to nobody: no node takes that language"
    ]


def test_a_job_that_waits_for_space_is_a_remark() -> None:
    """Whatever the disk does is not lost, and a person sees it."""
    job = JobFacts(7, "1.2.3", "queued", f"{NO_SPACE}Quota exceeded", -1.0, None, 1, 0, None, 0, ())

    assert list(judge_job(job, 300.0)) == [
        Entry("job", "7", "it waits for space: Quota exceeded", remark=True)
    ]


def test_a_file_that_vouches_for_itself_has_a_row_soon(
    site: Site, tmp_path: Path, other_process: Start
) -> None:
    """While recovery is still to come it is a remark; when it never comes, a difference."""
    assert other_process(DIES_WITHOUT_A_ROW, str(tmp_path / "spool")).wait(60) == 0

    books = site.books()
    assert (books.balanced, books.counts["files without a row yet"]) == (True, 1)
    assert remarks(books) == ["slot: waits for recovery: the listener that received it has ended"]

    late = "slot: its instance, perhaps acknowledged, has no row for long; recovery is to write it"
    assert late in causes(site.books(overdue=-1.0))
