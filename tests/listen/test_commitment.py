"""Scanners ask us to commit: kept before it is answered, decided by row and file, reported."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listen.wire import (
    CT,
    EXPLICIT,
    MR,
    VERIFICATION,
    Listening,
    image_file,
    running,
    settings_for,
    store,
)
from support.commitment_peers import Heard, Scanner, asked
from support.waiting import until

from gatekeeper import commitment as messages
from gatekeeper.elements import ENCODINGS, NotReadable
from gatekeeper.listen import promise
from gatekeeper.send import command, dialogue
from gatekeeper.send.association import Association
from gatekeeper.send.command import Command
from gatekeeper.send.errands import Errands, Office
from gatekeeper.settings import SendSettings
from storage import commitments, nodes
from storage.engine import Database
from storage.records import CommitmentItem, CommitmentState, Instance, Node

PATIENCE = 30
UIDS = ("1.2.3.1", "1.2.3.2", "1.2.3.3")


@contextlib.contextmanager
def site(
    tmp_path: Path, database: Database, scanner: Scanner, **commitment: Any
) -> Generator[Listening]:
    """Run a listener that keeps three instances and knows the scanner's port."""
    plain = settings_for(tmp_path / "spool")
    limits = dataclasses.replace(
        plain.commitment,
        **{
            "same_association_seconds": 0.1,
            "retry_seconds": 0.0,
            "retry_maximum_seconds": 0.0,
            **commitment,
        },
    )
    send = dataclasses.replace(plain.send, poll_seconds=0.05)
    with running(dataclasses.replace(plain, commitment=limits, send=send), database) as found:
        with database.begin() as tx:
            node = Node(scanner.ae_title, "127.0.0.1", scanner.port, may_send=True)
            nodes.save(tx, node)
        with scanner.association(found.port, MR) as association:
            for uid in UIDS:
                assert store(association, image_file(tmp_path / "files", uid)).Status == 0
        yield found


@contextlib.contextmanager
def sender(listening: Listening) -> Generator[Errands]:
    """Run the sender's errands until the end of the block."""
    office = Office(listening.database, listening.spool, listening.settings)
    errands = Errands(office, "test")
    errands.start()
    try:
        yield errands
    finally:
        errands.stop(PATIENCE)


def state_of(database: Database, transaction: str) -> CommitmentState | None:
    with database.read() as tx:
        found = commitments.get(tx, "SCANNER", transaction)
    return None if found is None else found.state


def is_reported(database: Database, transaction: str) -> bool:
    return state_of(database, transaction) is CommitmentState.REPORTED


@pytest.mark.usefixtures("raw_sending")
def test_a_scanner_that_waits_hears_the_report_where_it_asked(
    tmp_path: Path, database: Database
) -> None:
    """Success with every instance, on the same association, which goes on working after it."""
    with Scanner() as scanner, site(tmp_path, database, scanner) as here:
        with scanner.association(here.port, MR) as association:
            assert asked(association, "1.9.1", UIDS) == 0x0000
            until(lambda: scanner.heard_here, PATIENCE, "the report came")
            until(lambda: is_reported(database, "1.9.1"), PATIENCE, "the answer is on record")
            assert store(association, image_file(tmp_path / "more", "1.2.3.4")).Status == 0
        assert scanner.heard_here == [Heard(1, "1.9.1", UIDS)]
        assert scanner.heard == []


@pytest.mark.usefixtures("raw_sending")
def test_a_scanner_that_hangs_up_hears_the_report_on_a_new_association(
    tmp_path: Path, database: Database
) -> None:
    """With each failure's reason: not here, and here as another class."""
    with Scanner() as scanner, site(tmp_path, database, scanner) as here:
        assert scanner.ask(here.port, "1.9.1", ["1.2.3.1", "1.2.3.77"]) == 0x0000
        assert scanner.ask(here.port, "1.9.2", ["1.2.3.2"], CT) == 0x0000
        with sender(here):
            until(lambda: is_reported(database, "1.9.1"), PATIENCE, "the first report is taken")
            until(lambda: is_reported(database, "1.9.2"), PATIENCE, "the second one too")

    reports = {one.transaction_uid: one for one in scanner.heard}
    assert reports["1.9.1"] == Heard(2, "1.9.1", ("1.2.3.1",), {"1.2.3.77": 0x0112})
    assert reports["1.9.2"] == Heard(2, "1.9.2", (), {"1.2.3.2": 0x0119})


@pytest.mark.usefixtures("raw_sending")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_report_that_crosses_the_next_request_harms_neither(
    tmp_path: Path, database: Database
) -> None:
    """What the scanner sends before its answer to the report is answered, and the report counts."""
    with Scanner() as scanner, site(tmp_path, database, scanner) as here:
        ours = SendSettings(dimse_timeout=PATIENCE)
        listener = Node("GATEKEEPER", "127.0.0.1", here.port)
        asking, echoing = (messages.PUSH_MODEL, EXPLICIT), (VERIFICATION, EXPLICIT)
        with Association.request(listener, "SCANNER", [asking, echoing], ours) as peer:

            def received() -> Command:
                deadline = time.monotonic() + PATIENCE
                return dialogue.receive(peer, deadline, messages.LARGEST_DATA_SET).command

            def ask(message_id: int, transaction: str) -> None:
                items = tuple(CommitmentItem(MR, uid) for uid in UIDS)
                body = messages.action(messages.Request(transaction, items), EXPLICIT)
                names = (messages.PUSH_MODEL, messages.PUSH_MODEL_INSTANCE)
                peer.send(asking, command.action_request(message_id, *names, 1), body)

            ask(1, "1.9.1")
            assert received().command == command.ACTION_RSP
            report = received()
            assert report.command == command.EVENT_REPORT_RQ
            # They were under way when the report came.
            peer.send(echoing, command.echo_request(2, VERIFICATION))
            ask(3, "1.9.2")
            answers = [received(), received()]
            peer.send(asking, event_answer(report))
            until(lambda: is_reported(database, "1.9.1"), PATIENCE, "the answer is on record")
            second = received()
            peer.send(asking, event_answer(second))
            until(lambda: is_reported(database, "1.9.2"), PATIENCE, "the second one, too")
            peer.send(echoing, command.echo_request(4, VERIFICATION))
            last = received()

    assert [(one.command, one.responded_to, one.status) for one in (*answers, last)] == [
        (command.ECHO_RQ | 0x8000, 2, 0x0000),
        (command.ACTION_RSP, 3, 0x0000),
        (command.ECHO_RQ | 0x8000, 4, 0x0000),
    ]
    assert second.command == command.EVENT_REPORT_RQ
    assert second.message_id != report.message_id
    assert scanner.heard == []


def event_answer(report: Command) -> bytes:
    """Return the command set of a scanner's answer that it took the report."""
    names = (messages.PUSH_MODEL, messages.PUSH_MODEL_INSTANCE)
    return command.event_response(report.message_id, *names, report.event_type or 0, 0x0000)


@pytest.mark.usefixtures("raw_sending")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_report_that_is_not_taken_is_tried_again_and_given_up_in_the_end(
    tmp_path: Path, database: Database
) -> None:
    """Dead after the attempts that are set; the same Transaction UID takes it up again."""
    with (
        Scanner(status=0x0110) as scanner,
        site(tmp_path, database, scanner, maximum_attempts=3) as here,
        sender(here),
    ):
        scanner.ask(here.port, "1.9.1", UIDS)
        until(lambda: state_of(database, "1.9.1") is CommitmentState.DEAD, PATIENCE, "given up")
        refused = len(scanner.heard)
        scanner.status = 0x0000
        assert scanner.ask(here.port, "1.9.1", UIDS) == 0x0000
        until(lambda: is_reported(database, "1.9.1"), PATIENCE, "it was asked and told again")

    assert refused >= 2
    assert len(scanner.heard) == refused + 1


@pytest.mark.usefixtures("raw_sending")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_damaged_or_missing_file_is_never_committed(tmp_path: Path, database: Database) -> None:
    """Size and presence always; one changed byte when digests are checked."""
    with (
        Scanner() as scanner,
        site(tmp_path, database, scanner, check_digest=True) as here,
        sender(here),
    ):
        [cut, changed, _whole] = (here.kept(uid)[0] for uid in UIDS)
        here.spool.path(cut.digest).unlink()
        path = here.spool.path(changed.digest)
        path.chmod(0o640)
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
        assert promise.is_whole(here.spool, changed, check_digest=False)
        scanner.ask(here.port, "1.9.1", UIDS)
        until(lambda: is_reported(database, "1.9.1"), PATIENCE, "the report is taken")

    failures = {"1.2.3.1": 0x0110, "1.2.3.2": 0x0110}
    assert scanner.heard == [Heard(2, "1.9.1", ("1.2.3.3",), failures)]


@pytest.mark.usefixtures("raw_sending")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_requests_that_break_the_rules_are_refused_and_not_kept(
    tmp_path: Path, database: Database
) -> None:
    """A Transaction UID for other instances, no references, too many, a node that may not send."""
    with (
        Scanner() as scanner,
        site(
            tmp_path, database, scanner, maximum_references=3, same_association_seconds=0.0
        ) as here,
        scanner.association(here.port) as association,
    ):
        assert asked(association, "1.9.1", UIDS) == 0x0000
        assert asked(association, "1.9.1", UIDS[:2]) == 0x0115
        assert asked(association, "1.9.2", []) == 0x0115
        assert asked(association, "1.9.3", [*UIDS, "1.2.3.4"]) == 0x0213
        with database.begin() as tx:
            nodes.save(tx, Node("SCANNER", "127.0.0.1", scanner.port, receives_results=True))
        assert asked(association, "1.9.4", UIDS) == 0x0124
        assert [state_of(database, f"1.9.{number}") for number in (2, 3, 4)] == [None] * 3


def test_a_request_is_committed_before_it_is_answered_and_outlives_the_listener(
    tmp_path: Path, database: Database
) -> None:
    """Killed at any step after, the lease ends and another process reports the same."""
    with Scanner() as scanner:
        with database.begin() as tx:
            node = Node(scanner.ae_title, "127.0.0.1", scanner.port, may_send=True)
            nodes.save(tx, node)
            items = [CommitmentItem(MR, "1.2.3.9")]
            made = commitments.request(tx, "SCANNER", "1.9.1", items, "killed", -1.0)
            assert made is not None
            # As far as the killed process came: decided, perhaps reported, not settled.
            commitments.decide(tx, made.id, made.attempt, [0x0112])
            assert commitments.rescue(tx, 5, 0.0).requeued == 1
        with running(settings_for(tmp_path / "spool"), database) as here:
            with database.begin() as tx:
                nodes.save(tx, node)
            with sender(here):
                until(lambda: is_reported(database, "1.9.1"), PATIENCE, "reported")

    assert scanner.heard == [Heard(2, "1.9.1", (), {"1.2.3.9": 0x0112})]


def test_committed_needs_every_content_that_is_kept_of_that_class() -> None:
    """The rule by itself: gone, removed, another class, one of two contents damaged."""
    item = CommitmentItem(MR, "1.2.3.1")

    def kept(**fields: Any) -> Instance:
        return dataclasses.replace(
            Instance("1.2.3.1", MR, EXPLICIT, "1.2.3", "1.2.3.4", "MR", "a" * 64, 1, "CT1"),
            **fields,
        )

    def whole(instance: Instance) -> bool:
        return instance.digest == "a" * 64

    assert promise.failure_of(item, [kept()], whole) is None
    assert promise.failure_of(item, [], whole) == 0x0112
    assert promise.failure_of(item, [kept(removed_at=1.0)], whole) == 0x0112
    assert promise.failure_of(item, [kept(sop_class_uid=CT)], whole) == 0x0119
    assert promise.failure_of(item, [kept(), kept(digest="b" * 64)], whole) == 0x0110
    assert promise.failure_of(item, [kept(), kept(digest="b" * 64, removed_at=1.0)], whole) is None


UID_TEXT = st.from_regex(r"[0-9A-Za-z.\-]{1,64}", fullmatch=True)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=30)
@given(
    UID_TEXT,
    st.lists(
        st.tuples(UID_TEXT, UID_TEXT, st.none() | st.integers(1, 65535)), min_size=1, max_size=4
    ),
    st.sampled_from(ENCODINGS),
)
def test_what_is_written_is_read_back(
    transaction: str, references: list[tuple[str, str, int | None]], syntax: str
) -> None:
    """Requests and reports, in both encodings, with identifiers as odd as they come."""
    items = [CommitmentItem(*one) for one in {one[1]: one for one in references}.values()]
    plain = tuple(dataclasses.replace(one, failure=None) for one in items)
    request = messages.Request(transaction, plain)

    assert messages.read_action(messages.action(request, syntax), syntax) == request
    kind, data = messages.event(transaction, items, syntax)
    report = messages.read_event(data, syntax)
    assert report.transaction_uid == transaction
    assert report.kept == {one.sop_instance_uid for one in items if one.failure is None}
    assert report.failures == {
        one.sop_instance_uid: one.failure for one in items if one.failure is not None
    }
    assert kind == (2 if report.failures else 1)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40)
@given(st.binary(max_size=200), st.sampled_from(ENCODINGS))
def test_no_bytes_do_more_than_fail_to_be_read(data: bytes, syntax: str) -> None:
    """Whatever a peer sends as request or report: read, or one error."""
    for read in (messages.read_action, messages.read_event):
        with contextlib.suppress(NotReadable):
            read(data, syntax)


def test_an_instance_that_is_not_mentioned_is_not_kept() -> None:
    """A report that leaves one out, or names it in both lists, does not count for it."""
    report = messages.Report("1.9", frozenset({"1", "2"}), {"2": 0x0112})

    assert report.missing(["1", "2", "3"]) == {
        "2": "0112 no such instance",
        "3": "not in the report",
    }
