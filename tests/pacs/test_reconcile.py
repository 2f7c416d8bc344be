"""What the archive loses after its success is found, named, and sent again: a real Orthanc."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.objects import STUDY, result_of, send_objects, write_slices
from support.orthanc import Orthanc
from support.threads import in_thread
from support.waiting import until

from gatekeeper.reconcile import Balance, Facts, Scope, Sent, compare, run
from gatekeeper.send.attempt import Desk
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.errands import Errands, Office
from gatekeeper.send.sender import Sender
from gatekeeper.settings import Settings
from storage import confirmations, deliveries, instances, nodes
from storage.engine import Database
from storage.records import (
    Confirm,
    ConfirmationState,
    Delivery,
    DeliveryItem,
    DeliveryState,
    Instance,
    Job,
    JobState,
    Node,
    Study,
    StudyState,
)
from storage.spool import Spool

PATIENCE = 60
SERIES = f"{STUDY}.1"
COUNT = 4


class Site:
    """A study received and delivered to one archive."""

    def __init__(self, folder: Path, database: Database, node: Node) -> None:
        plain = Settings()
        send = dataclasses.replace(plain.send, poll_seconds=0.1)
        self.settings = dataclasses.replace(plain, send=send)
        self.database = database
        self.spool = Spool(folder / "spool")
        self.node = node
        items = send_objects(write_slices(folder / "objects", COUNT))
        results = [result_of(one, self.spool.store(one.path.read_bytes()).digest) for one in items]
        self.uids = [one.sop_instance_uid for one in items]
        with database.begin() as tx:
            nodes.save(tx, node)
            for one in results:
                kept = Instance(
                    one.sop_instance_uid,
                    one.sop_class_uid,
                    one.transfer_syntax_uid,
                    STUDY,
                    SERIES,
                    "MR",
                    one.digest,
                    one.size,
                    "CT1",
                )
                instances.record(tx, kept, None)
            # One instance is received and not delivered.
            self.delivery = deliveries.create(tx, node.ae_title, results[1:])

    @contextlib.contextmanager
    def sending(self) -> Generator[None]:
        send = self.settings.send
        desk = Desk(self.database, self.spool, DimseTransport("GATEKEEPER", send), send)
        sender = Sender(desk, "test")
        errands = Errands(Office(self.database, self.spool, self.settings), "test")
        with in_thread(sender.run, sender.stop):
            errands.start()
            yield
            errands.stop(PATIENCE)

    def count_as_delivered(self) -> None:
        """End the delivery as if the node had answered with success."""
        with self.database.begin() as tx:
            claimed = deliveries.claim(tx, "test", 60.0)
            assert claimed is not None
            for uid in self.uids[1:]:
                deliveries.record_item(tx, claimed.id, claimed.attempt, uid, 0, True)
            assert deliveries.finish(tx, claimed.id, claimed.attempt)

    def reconcile(self, **scope: Any) -> Balance:
        found = run(self.database, self.spool, self.settings, Scope(**scope))
        [balance] = list(found)
        return balance

    def arrived(self, state: DeliveryState) -> None:
        def ended() -> bool:
            with self.database.read() as tx:
                return {one.state for one in deliveries.for_study(tx, STUDY)} == {state}

        until(ended, PATIENCE, f"all deliveries are {state}")


def delete(archive: Orthanc, uid: str) -> None:
    [identifier] = [
        one["ID"]
        for one in archive.get_json("/instances?expand")
        if one["MainDicomTags"]["SOPInstanceUID"] == uid
    ]
    archive.delete(f"/instances/{identifier}")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_the_pacs_loses_after_its_success_is_found_and_sent_again(
    orthanc: Callable[..., Orthanc], tmp_path: Path, database: Database
) -> None:
    """Named with its count, resent alone, committed anew; what was never sent on request only."""
    archive = orthanc(DicomAlwaysAllowFind=True)
    node = Node(archive.aet, "127.0.0.1", archive.port, receives_results=True, confirm=Confirm.FIND)
    site = Site(tmp_path, database, node)
    with site.sending():
        site.arrived(DeliveryState.COMMITTED)
        assert site.reconcile().differences == ()
        delete(archive, site.uids[2])

        seen = site.reconcile()
        assert seen.missing == (site.uids[2],)
        assert (seen.delivered, seen.held, seen.resent) == (3, 2, 0)
        lost = f"delivered 3, {archive.aet} has 2: {site.uids[2]} missing"
        assert seen.differences == (lost,)

    # The sender is away: what is queued stays so, and is not queued twice.
    assert site.reconcile(resend=True).resent == 1
    waiting = site.reconcile(resend=True)
    assert waiting.resent == 0
    assert waiting.differences == (f"delivery {site.delivery} is queued: 2 of 3 stored",)

    with site.sending():
        site.arrived(DeliveryState.COMMITTED)
        assert site.reconcile().balanced
        assert archive.count() == 3

        whole = site.reconcile(originals=True, resend=True)
        assert whole.missing_originals == (site.uids[0],)
        assert whole.resent == 1
        site.arrived(DeliveryState.COMMITTED)
        assert site.reconcile(originals=True).balanced
    assert archive.count() == COUNT


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_node_that_cannot_be_asked_concludes_nothing(tmp_path: Path, database: Database) -> None:
    """A closed port is a difference with its reason, and nothing is queued again."""
    site = Site(tmp_path, database, Node("GONE", "127.0.0.1", 1, receives_results=True))
    site.count_as_delivered()

    found = site.reconcile(resend=True)

    assert found.held is None
    assert (found.missing, found.resent) == ((), 0)
    assert "GONE could not be asked: no connection" in found.differences[0]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_confirmation_that_did_not_come_is_a_difference_and_asked_for_afresh(
    tmp_path: Path, database: Database
) -> None:
    """Nothing is sent again for it."""
    site = Site(tmp_path, database, Node("GONE", "127.0.0.1", 1, receives_results=True))
    site.count_as_delivered()
    with database.begin() as tx:
        confirmations.expect(tx, site.delivery, "GONE")
        asked = confirmations.claim(tx, "test", 60.0)
        assert asked is not None
        confirmations.fail(tx, asked, "no report", None)

    found = site.reconcile(resend=True)

    assert any("its confirmation did not come" in one for one in found.differences)
    assert found.resent == 0
    with database.read() as tx:
        again = confirmations.get(tx, site.delivery)
    assert again is not None
    assert again.state is ConfirmationState.QUEUED


def facts(job: JobState | None, *states: DeliveryState) -> Facts:
    """Return books of a complete study of one instance, and a delivery in each state."""
    study = Study("1.2", "CT1", StudyState.COMPLETE, 1, "a" * 64, 1, 1, 0.0, 0.0)
    made = None if job is None else Job(7, "1.2", "a" * 64, "b" * 64, 1, job, 3, 0.0, 0.0)
    instance = Instance("1.2.1", "1.2.840", "1.2", "1.2", "1.2.9", "MR", "c" * 64, 1, "CT1")
    sent: Sequence[Sent] = [
        Sent(
            Delivery(number, None, "PACS", state, 1, 0.0, 0.0, items=1, items_stored=0),
            [DeliveryItem(number, f"2.25.{number}", "1.2.840", "1.2", "d" * 64)],
            {f"2.25.{number}": ("1.2", "1.2.8")},
        )
        for number, state in enumerate(states)
    ]
    return Facts(study, made, [instance], sent)


def test_every_difference_has_its_cause() -> None:
    """Not analysed, not delivered, given up, lost: each by itself."""

    def said(found: Facts, held: set[str], *, originals: bool = False) -> tuple[str, ...]:
        return compare("PACS", found, held, "", originals=originals).differences

    delivered = DeliveryState.DELIVERED
    assert said(facts(JobState.DONE, delivered), {"2.25.0"}) == ()
    assert said(facts(None), set()) == ("received 1, not analysed: no job",)
    assert said(facts(JobState.DEAD), set()) == ("received 1, not analysed: job 7 is dead",)
    assert said(facts(JobState.DONE, DeliveryState.DEAD), set()) == (
        "delivery 0 is dead: 0 of 1 stored",
    )
    assert said(facts(JobState.DONE, delivered, DeliveryState.COMMITTED), {"2.25.0"}) == (
        "delivered 2, PACS has 1: 2.25.1 missing",
    )
    assert said(facts(JobState.DONE), set(), originals=True) == (
        "received 1, PACS has 0: 1.2.1 missing",
    )
