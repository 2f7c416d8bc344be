"""We ask nodes whether they keep what they stored: answered here, later, never, or with losses."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from listen.wire import running as listening
from listen.wire import settings_for
from support.commitment_peers import Archive
from support.objects import result_of, send_objects, write_slices
from support.threads import in_thread
from support.waiting import until

from gatekeeper.send import query
from gatekeeper.send.attempt import Desk
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.errands import Errands, Office
from gatekeeper.send.query import QueryFailed
from gatekeeper.send.sender import Sender
from gatekeeper.settings import SendSettings, Settings
from storage import confirmations, deliveries, instances, nodes
from storage.engine import Database
from storage.records import (
    Confirm,
    ConfirmationState,
    Delivery,
    DeliveryState,
    Instance,
    Node,
)
from storage.spool import Spool

PATIENCE = 30
COUNT = 3

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclasses.dataclass
class Site:
    """A sender with its errands, and one delivery to an archive."""

    settings: Settings
    database: Database
    spool: Spool
    delivery: int
    uids: list[str]

    @contextlib.contextmanager
    def running(self) -> Generator[None]:
        desk = Desk(
            self.database,
            self.spool,
            DimseTransport("GATEKEEPER", self.settings.send),
            self.settings.send,
        )
        sender = Sender(desk, "test")
        errands = Errands(Office(self.database, self.spool, self.settings), "test")
        with in_thread(sender.run, sender.stop):
            errands.start()
            try:
                yield
            finally:
                errands.stop(PATIENCE)

    def look(self) -> Delivery:
        with self.database.read() as tx:
            found = deliveries.get(tx, self.delivery)
        assert found is not None
        return found

    def reaches(self, state: DeliveryState, asked: ConfirmationState | None) -> Delivery:
        def there() -> bool:
            found = self.look()
            return (found.state, found.confirmation) == (state, asked)

        until(there, PATIENCE, f"the delivery is {state}, its confirmation {asked}")
        return self.look()

    def committed(self) -> Delivery:
        return self.reaches(DeliveryState.COMMITTED, ConfirmationState.COMMITTED)

    def reason(self) -> str:
        with self.database.read() as tx:
            found = confirmations.get(tx, self.delivery)
        assert found is not None
        return found.reason


@pytest.fixture
def archive() -> Generator[Archive]:
    with Archive() as found:
        yield found


@pytest.fixture
def a_site(
    tmp_path: Path, database: Database, quick: SendSettings, archive: Archive
) -> Callable[..., Site]:
    """Return a maker of sites whose archive confirms as it is told."""

    def make(confirm: Confirm = Confirm.COMMITMENT, **limits: Any) -> Site:
        plain = settings_for(tmp_path / "spool")
        chosen = {"wait_seconds": 10.0, "ask_again_seconds": 0.1, **limits}
        settings = dataclasses.replace(
            plain, send=quick, commitment=dataclasses.replace(plain.commitment, **chosen)
        )
        spool = Spool(Path(settings.spool.directory))
        items = send_objects(write_slices(tmp_path / "objects", COUNT))
        results = [result_of(item, spool.store(item.path.read_bytes()).digest) for item in items]
        with database.begin() as tx:
            nodes.save(
                tx,
                Node(
                    archive.ae_title,
                    "127.0.0.1",
                    archive.port,
                    receives_results=True,
                    confirm=confirm,
                ),
            )
            for one in results:
                # As received, so that their series is on record.
                series = one.series_instance_uid
                study = series.rpartition(".")[0]
                instances.record(
                    tx,
                    Instance(
                        one.sop_instance_uid,
                        one.sop_class_uid,
                        one.transfer_syntax_uid,
                        study,
                        series,
                        "MR",
                        one.digest,
                        one.size,
                        "CT1",
                    ),
                    None,
                )
            delivery = deliveries.create(tx, archive.ae_title, results)
        return Site(settings, database, spool, delivery, [one.sop_instance_uid for one in items])

    return make


def test_a_delivery_is_committed_by_the_archives_report(
    a_site: Callable[..., Site], archive: Archive
) -> None:
    """Asked once, reported on the same association, committed: delivered_at stays."""
    site = a_site()
    with site.running():
        found = site.committed()

    assert len(archive.asked) == 1
    assert archive.answers == [0x0000]
    assert found.delivered_at is not None
    assert sorted(archive.stored) == sorted(site.uids)


def test_what_the_archive_lost_is_sent_again_and_then_committed(
    a_site: Callable[..., Site], archive: Archive
) -> None:
    """Exactly the instance in its list of failures."""
    site = a_site()
    archive.lose = {site.uids[1]}
    with site.running():
        site.committed()

    assert archive.stored == [*site.uids, site.uids[1]]
    assert len(set(archive.asked)) == 2


@sqlite_only
def test_an_archive_that_keeps_losing_ends_as_an_alarm_and_never_as_committed(
    a_site: Callable[..., Site], archive: Archive
) -> None:
    """After `commitment.resends` rounds: dead, with the reason, logged as an error."""
    site = a_site(resends=1)
    archive.kept = Forgetful()
    with structlog.testing.capture_logs() as events, site.running():
        site.reaches(DeliveryState.DELIVERED, ConfirmationState.DEAD)

    assert site.reason() == "not kept: 3: 0112 no such instance"
    [alarm] = [one for one in events if one["event"] == "delivery_not_confirmed"]
    assert (alarm["log_level"], alarm["delivery"]) == ("error", site.delivery)
    assert len(archive.stored) == 2 * COUNT


class Forgetful(dict[str, tuple[str, str, str]]):
    """Keeps nothing."""

    def __setitem__(self, _key: str, _value: tuple[str, str, str]) -> None:
        return


@sqlite_only
def test_an_archive_that_never_reports_is_asked_again_then_alarmed(
    a_site: Callable[..., Site], archive: Archive
) -> None:
    """Each time under a new Transaction UID; delivered, and not a word of committed."""
    archive.silent = True
    site = a_site(questions=2, wait_seconds=0.1)
    with structlog.testing.capture_logs() as events, site.running():
        site.reaches(DeliveryState.DELIVERED, ConfirmationState.DEAD)

    assert len(set(archive.asked)) == 2
    assert site.reason() == "no report after 2 questions"
    assert [one["log_level"] for one in events if one["event"] == "delivery_not_confirmed"] == [
        "error"
    ]


@sqlite_only
def test_a_report_under_another_transaction_settles_nothing(
    a_site: Callable[..., Site], archive: Archive
) -> None:
    """It is answered with a failure, and the question stays open."""
    archive.transaction = "1.2.3.4.5.6"
    site = a_site(questions=1, wait_seconds=2.0)
    with site.running():
        site.reaches(DeliveryState.DELIVERED, ConfirmationState.DEAD)

    assert archive.answers == [0x0115]


def test_a_late_report_comes_to_our_listener(a_site: Callable[..., Site], archive: Archive) -> None:
    """From a node that sends nothing: it may report, as SCP by role selection, and not store."""
    archive.here = False
    site = a_site(wait_seconds=0.1, ask_again_seconds=3600.0)
    with listening(site.settings, site.database) as here:
        with site.running():
            until(lambda: archive.requests, PATIENCE, "the archive was asked")
            site.reaches(DeliveryState.DELIVERED, ConfirmationState.QUEUED)
            assert archive.report_to(here.port, archive.requests[0], "1.2.3.4") == 0x0115
            assert site.look().state is DeliveryState.DELIVERED
            assert archive.report_to(here.port, archive.requests[0]) == 0x0000
            site.committed()
        assert not archive.may_store(here.port)


@sqlite_only
def test_an_archive_without_commitment_is_tried_until_attempts_end(
    a_site: Callable[..., Site], archive: Archive
) -> None:
    """A refused N-ACTION is a failure with its status; nothing counts as committed."""
    archive.action_status = 0x0110
    site = a_site()
    send = dataclasses.replace(site.settings.send, maximum_attempts=2)
    site.settings = dataclasses.replace(site.settings, send=send)
    with site.running():
        site.reaches(DeliveryState.DELIVERED, ConfirmationState.DEAD)

    assert site.reason() == "the peer answered N-ACTION with status 0110"
    assert len(archive.asked) == 2


def test_a_node_without_commitment_is_asked_by_query(
    a_site: Callable[..., Site], archive: Archive
) -> None:
    """C-FIND at IMAGE level finds each instance; what it does not find is sent again."""
    site = a_site(Confirm.FIND, questions=2)
    archive.hide = {site.uids[2]}
    with site.running():
        site.committed()

    assert archive.stored == [*site.uids, site.uids[2]]


@sqlite_only
def test_a_node_that_is_not_asked_any_more_leaves_a_plain_delivery(
    a_site: Callable[..., Site], archive: Archive
) -> None:
    """Changed to `none` meanwhile: delivered, and no claim of committed."""
    archive.silent = True
    site = a_site(wait_seconds=0.0)
    with site.running():
        until(lambda: archive.asked, PATIENCE, "the archive was asked")
        with site.database.begin() as tx:
            node = Node(archive.ae_title, "127.0.0.1", archive.port, receives_results=True)
            nodes.save(tx, node)
        site.reaches(DeliveryState.DELIVERED, None)


@sqlite_only
def test_what_is_sent_again_to_a_node_that_is_not_asked_any_more_is_a_plain_delivery(
    a_site: Callable[..., Site], archive: Archive
) -> None:
    """Changed to `none` before a lost object was stored again: no confirmation waits for ever."""
    site = a_site()
    with site.running():
        site.committed()
    with site.database.begin() as tx:
        nodes.save(tx, Node(archive.ae_title, "127.0.0.1", archive.port, receives_results=True))
        confirmations.reopen(tx, site.delivery)
        deliveries.resend(tx, site.delivery, site.uids[:1])

    with site.running():
        site.reaches(DeliveryState.DELIVERED, None)


@sqlite_only
def test_a_query_is_whole_or_an_error(a_site: Callable[..., Site], archive: Archive) -> None:
    """A failure status, and more matches than are taken, conclude nothing."""
    site = a_site()
    node = Node(archive.ae_title, "127.0.0.1", archive.port)
    archive.kept = {str(number): ("1.2", "1.2.3", "1.2.3.4") for number in range(5)}
    series = [("1.2.3", "1.2.3.4"), ("1.2.3", "1.2.3.5")]
    assert query.instances_of(node, series, site.settings) == set("01234")

    with pytest.raises(QueryFailed, match="over 3 matches"):
        few = dataclasses.replace(site.settings.send, find_matches=3)
        query.instances_of(node, series, dataclasses.replace(site.settings, send=few))
    archive.find_status = 0xA700
    with pytest.raises(QueryFailed, match="status A700"):
        query.instances_of(node, series, site.settings)
