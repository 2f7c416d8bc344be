"""The recorder: entries of several processes, entered by one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from support.waiting import until

from storage import entries, instances, recorder
from storage.engine import Database, DatabaseUnavailableError, SynchronisationError
from storage.entries import Bearer, Entered, Entry
from storage.entry_bytes import unpack_entries
from storage.recorder import Recorder, RefusedEntryError
from storage.records import Instance

SECONDS = 30.0


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    """Give SQLite, the only database that a recorder is for."""
    made = Database.connect(f"sqlite:///{tmp_path / 'gatekeeper.db'}", lock_seconds=5)
    made.migrate()
    yield made
    made.dispose()


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Serving:
    """A recorder in a thread, and what it returned at its end."""

    def __init__(self, database: Database, control: socket.socket) -> None:
        self.in_order: bool | None = None
        self._database, self._control = database, control
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.in_order = recorder.serve(self._database, self._control, at_once=64)


@contextmanager
def serving(database: Database, wait_seconds: float = SECONDS) -> Generator[Recorder]:
    """Run a recorder until nobody hands anything in any more."""
    ours, theirs = pair()
    client = Recorder(ours, wait_seconds)
    with theirs:
        found = Serving(database, theirs)
        yield client
        client.close()
        found.thread.join(SECONDS)
        assert found.in_order is True


def enter(client: Recorder, entry: Entry) -> Entered:
    """Hand in an entry and return what was found on entering it.

    Raises:
        Exception: why it was not entered.
    """
    [found] = client.enter([entry]).result(SECONDS)
    return entries.of_result(found)


def entry(instance: Instance, slot: str = "owner/1", bearer: Bearer | None = None) -> Entry:
    return Entry(slot, instance, bearer)


def test_an_entry_is_durable_with_its_association_and_slot_when_its_result_is_there(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """What comes back is what was found, and other processes see it at once."""
    bearer = Bearer(None, "CT1", "192.0.2.1", linked=False)
    with serving(database) as client:
        first = enter(client, entry(an_instance(1), "owner/1", bearer))
        again = enter(
            client,
            entry(an_instance(1), "owner/2", replace(bearer, id=first.association, linked=True)),
        )
    assert first.recorded.new
    assert not again.recorded.new
    assert first.association == again.association is not None
    with database.read() as tx:
        [row] = tx.execute(text("SELECT calling_ae, address FROM association")).all()
        assert tuple(row) == ("CT1", "192.0.2.1")
        slots = tx.execute(text("SELECT slot FROM unsettled ORDER BY slot")).scalars()
        assert list(slots) == ["owner/1", "owner/2"]


def test_many_threads_share_transactions_and_each_gets_its_own_answer(
    database: Database, an_instance: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while one transaction is under way goes with the next."""
    sizes: list[int] = []
    handed_in: list[int] = []
    commit = recorder.commit

    def counting(database: Database, batch: list[recorder.Request]) -> None:
        # While the first is under way all others come.
        until(lambda: len(handed_in) == 8, SECONDS, "all were handed in")
        sizes.append(len(batch))
        commit(database, batch)

    def bring(number: int) -> bool:
        pending = client.enter([entry(an_instance(number // 2), f"owner/{number}")])
        handed_in.append(number)
        [found] = pending.result(SECONDS)
        assert isinstance(found, Entered)
        return found.recorded.new

    monkeypatch.setattr(recorder, "commit", counting)
    with serving(database) as client, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(bring, range(8)))
    assert sum(found) == 4
    assert sum(sizes) == 8
    assert len(sizes) <= 3
    with database.read() as tx:
        assert instances.count(tx) == 4


def test_an_entry_that_cannot_be_written_fails_alone(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """A lone surrogate is no text to SQLite; the recorder goes on."""
    bad = replace(an_instance(1), modality="\ud800")
    with serving(database) as client:
        with pytest.raises(RefusedEntryError, match="UnicodeEncodeError"):
            enter(client, entry(bad))
        assert enter(client, entry(an_instance(2))).recorded.new


def test_what_is_handed_in_together_is_entered_together_and_answered_in_its_order(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """More than fit into one message, and one among them that cannot be written."""
    made = [an_instance(number) for number in range(100)]
    made[70] = replace(made[70], modality="\ud800")
    made[99] = made[0]
    with serving(database) as client:
        found = client.enter([entry(one, f"owner/{at}") for at, one in enumerate(made)])
        results = found.result(SECONDS)
    assert isinstance(results[70], RefusedEntryError)
    rest = [one.recorded.new for one in results if isinstance(one, Entered)]
    assert rest == [True] * 98 + [False]
    with database.read() as tx:
        assert instances.count(tx) == 98


def test_of_what_was_handed_in_together_all_is_entered_by_the_next_recorder(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """One that dies with some of it entered leaves none out; entering twice is harmless."""
    made = [entry(an_instance(number), f"owner/{number}") for number in range(40)]
    ours, theirs = pair()
    client = Recorder(ours, SECONDS)
    with theirs:
        answer = client.enter(made)
        data, numbers, *_ = socket.recv_fds(theirs, 1, 1)
        assert data
        with socket.socket(fileno=numbers[0]) as channel:
            taken, _ = unpack_entries(channel.recv(recorder.MAXIMUM_MESSAGE))
            with database.begin() as tx:
                for one in taken[:5]:
                    assert entries.enter(tx, one).recorded.new
        found = Serving(database, theirs)
        results = answer.result(SECONDS)
        client.close()
        found.thread.join(SECONDS)
    assert found.in_order
    new = [one.recorded.new for one in results if isinstance(one, Entered)]
    assert new == [False] * 5 + [True] * 35
    with database.read() as tx:
        assert instances.count(tx) == 40


def test_a_database_that_stays_locked_is_unavailable_in_bounded_time(
    tmp_path: Path, database: Database, an_instance: Callable[..., Instance]
) -> None:
    """As without a recorder: the scanner keeps the object, and the next one is taken."""
    other = Database.connect(f"sqlite:///{tmp_path / 'gatekeeper.db'}", lock_seconds=0.1)
    with serving(other) as client:
        with database.begin(), pytest.raises(DatabaseUnavailableError, match="locked"):
            enter(client, entry(an_instance(1)))
        assert enter(client, entry(an_instance(1))).recorded.new
    other.dispose()


def test_what_waited_for_too_long_is_not_begun(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """Its sender has been told that it was not kept, or soon is."""
    with (
        serving(database, wait_seconds=-1) as client,
        pytest.raises(DatabaseUnavailableError, match="too long"),
    ):
        enter(client, entry(an_instance(1)))
    with database.read() as tx:
        assert instances.count(tx) == 0


def test_what_was_under_way_when_a_recorder_died_is_entered_by_the_next(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """Nobody but the log notices."""
    ours, theirs = pair()
    client = Recorder(ours, SECONDS)
    with theirs:
        answer = client.enter([entry(an_instance(1))])
        # One takes the channel up and dies with it.
        data, numbers, *_ = socket.recv_fds(theirs, 1, 1)
        assert data
        socket.socket(fileno=numbers[0]).close()
        found = Serving(database, theirs)
        [result] = answer.result(SECONDS)
        assert isinstance(result, Entered)
        assert result.recorded.new
        assert enter(client, entry(an_instance(2))).recorded.new
        client.close()
        found.thread.join(SECONDS)
    assert found.in_order


def test_recorders_that_die_again_and_again_are_given_up(
    an_instance: Callable[..., Instance],
) -> None:
    """Every retry has an end."""
    ours, theirs = pair()
    client = Recorder(ours, SECONDS)
    with theirs:
        answer = client.enter([entry(an_instance(1))])
        with ThreadPoolExecutor(1) as threads:
            found = threads.submit(answer.result, SECONDS)
            theirs.settimeout(SECONDS)
            for _ in range(3):
                _data, numbers, *_ = socket.recv_fds(theirs, 1, 1)
                socket.socket(fileno=numbers[0]).close()
            with pytest.raises(DatabaseUnavailableError, match="again and again"):
                found.result(SECONDS)
    client.close()


def test_a_recorder_that_hangs_is_waited_for_no_longer_than_asked(
    an_instance: Callable[..., Instance],
) -> None:
    """A late answer never becomes that of the next entry: its channel is given up."""
    ours, theirs = pair()
    client = Recorder(ours, SECONDS)
    with theirs:
        with pytest.raises(TimeoutError):
            client.enter([entry(an_instance(1))]).result(0.05)
        _data, numbers, *_ = socket.recv_fds(theirs, 1, 1)
        with socket.socket(fileno=numbers[0]) as channel:
            assert channel.recv(recorder.MAXIMUM_MESSAGE)
            with pytest.raises(OSError, match="Broken pipe"):
                channel.send(b"late")
    client.close()


def test_after_a_lost_write_nothing_more_of_what_came_together_is_tried(
    database: Database, an_instance: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next transaction might seem to succeed on pages that the kernel has dropped."""
    begun: list[int] = []

    def lost(_database: Database, batch: list[recorder.Request]) -> None:
        begun.append(len(batch))
        for request in batch:
            request.answer.set_exception(SynchronisationError("disk I/O error"))

    monkeypatch.setattr(recorder, "commit", lost)
    ours, theirs = pair()
    client = Recorder(ours, SECONDS)
    with theirs:
        pending = client.enter([entry(an_instance(number)) for number in range(32)])
        assert recorder.serve(database, theirs, at_once=10) is False
        assert begun == [10]
        # The process ends, and its channels with it; nobody takes up the next.
        with ThreadPoolExecutor(1) as threads:
            found = threads.submit(pending.result, 0.2)
            with pytest.raises(TimeoutError):
                found.result(SECONDS)
    client.close()


def test_nobody_to_hand_in_to_is_told_at_once(an_instance: Callable[..., Instance]) -> None:
    """When parent and recorder are gone there will be none."""
    ours, theirs = pair()
    theirs.close()
    client = Recorder(ours, SECONDS)
    with pytest.raises(DatabaseUnavailableError, match="takes up nothing"):
        client.enter([entry(an_instance(1))])
    client.close()


def test_after_a_lost_write_the_recorder_ends_and_says_so(
    database: Database, an_instance: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the database may be trusted; the listeners are told, too."""

    def lost(*_: object) -> None:
        raise SynchronisationError("disk I/O error")

    monkeypatch.setattr(database, "begin", lost)
    ours, theirs = pair()
    client = Recorder(ours, SECONDS)
    with theirs:
        found = Serving(database, theirs)
        with pytest.raises(SynchronisationError, match="disk I/O error"):
            enter(client, entry(an_instance(1)))
        found.thread.join(SECONDS)
    assert found.in_order is False
    client.close()
