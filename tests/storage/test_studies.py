"""Studies: open while something may still come, complete once, revised when more comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import update

from storage import instances, studies
from storage.engine import Database, now
from storage.records import Instance, Study, StudyState
from storage.schema import association, study

MakeInstance = Callable[..., Instance]


def test_a_study_begins_with_its_first_instance(
    database: Database,
    an_instance: MakeInstance,
    study_uid: str,
    eventually: Callable[..., Any],
) -> None:
    """It is being received, has no revision, and counts what came."""
    with database.begin() as tx:
        instances.record(tx, an_instance(1), None)
        eventually(lambda: _clock_moved(tx))
        instances.record(tx, an_instance(2), None)
        found = _get(tx, study_uid)

    assert (found.state, found.revision, found.content_digest) == (StudyState.RECEIVING, 0, "")
    assert (found.instances, found.series, found.source_ae) == (2, 2, "SCANNER")
    assert 0 < found.first_received_at < found.last_received_at
    assert found.completed_at is None


def test_completion_gives_the_first_revision(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """Completing a study stores the digest of its content, the time and revision 1."""
    with database.begin() as tx:
        instances.record(tx, an_instance(), None)
        assert _complete(tx, study_uid, "a") == 1
        found = _get(tx, study_uid)

    assert (found.state, found.revision) == (StudyState.COMPLETE, 1)
    assert found.content_digest == "a" * 64
    assert found.completed_at is not None
    assert found.completed_at >= found.first_received_at


def test_completing_twice_is_one_completion(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """Two schedulers that complete the same content give one revision and one time."""
    with database.begin() as tx:
        instances.record(tx, an_instance(), None)
        assert _complete(tx, study_uid, "a") == 1
        first = _get(tx, study_uid)
    with database.begin() as tx:
        assert _complete(tx, study_uid, "a") == 1
        assert _get(tx, study_uid) == first


def test_a_late_instance_makes_a_second_revision(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """New content reopens a complete study; its next completion is revision 2."""
    with database.begin() as tx:
        instances.record(tx, an_instance(1), None)
        _complete(tx, study_uid, "a")
        instances.record(tx, an_instance(2), None)
        assert _get(tx, study_uid).state is StudyState.RECEIVING

        assert _complete(tx, study_uid, "b") == 2
        assert _get(tx, study_uid).content_digest == "b" * 64


def test_conflicting_content_is_late_content(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """Other content under a known UID reopens the study as any new content does."""
    with database.begin() as tx:
        instances.record(tx, an_instance(1, "a"), None)
        _complete(tx, study_uid, "a")
        instances.record(tx, an_instance(1, "b"), None)

        assert _get(tx, study_uid).state is StudyState.RECEIVING


def test_a_resend_does_not_reopen_a_complete_study(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """Sending a study again starts nothing."""
    with database.begin() as tx:
        instances.record(tx, an_instance(), None)
        _complete(tx, study_uid, "a")
        sender = instances.open_association(tx, "SCANNER", "127.0.0.1")
        instances.record(tx, an_instance(), sender)

        assert _get(tx, study_uid).state is StudyState.COMPLETE
        assert studies.open_studies(tx) == []


def test_a_study_that_something_came_to_meanwhile_is_not_completed(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """What arrives between reading and completing makes the completion void."""
    with database.begin() as tx:
        instances.record(tx, an_instance(1), None)
    with database.read() as tx:
        seen = _get(tx, study_uid)
    with database.begin() as tx:
        instances.record(tx, an_instance(2), None)

        assert studies.complete(tx, study_uid, "a" * 64, seen.last_received_at) is None
        assert _get(tx, study_uid).state is StudyState.RECEIVING


def test_completing_an_unknown_study_is_nothing(database: Database) -> None:
    """There is nothing to complete."""
    with database.begin() as tx:
        assert studies.complete(tx, "1.2.3", "a" * 64, 0.0) is None


def test_an_open_association_keeps_its_studies_open(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """While the sender is connected the study has an active association, after it none."""
    with database.begin() as tx:
        first = instances.open_association(tx, "SCANNER", "127.0.0.1")
        second = instances.open_association(tx, "SCANNER", "127.0.0.1")
        instances.open_association(tx, "OTHER", "127.0.0.1")
        for sender in (first, second):
            instances.record(tx, an_instance(), sender)
        assert _active(tx) == 2

        instances.close_association(tx, first)
        assert _active(tx) == 1
        instances.close_association(tx, first)
        instances.close_association(tx, second)
        assert _active(tx) == 0


def test_an_association_without_a_heartbeat_keeps_nothing_open(
    database: Database, an_instance: MakeInstance, eventually: Callable[..., Any]
) -> None:
    """A killed listener's associations end with their lease; a heartbeat holds them."""
    with database.begin() as tx:
        sender = instances.open_association(tx, "SCANNER", "127.0.0.1")
        instances.record(tx, an_instance(), sender)
    with database.begin() as tx:
        eventually(lambda: _active(tx, lease=0.05) == 0)
        instances.touch_associations(tx, [sender])
        assert _active(tx, lease=30) == 1
        instances.touch_associations(tx, [])


def test_quiet_time_grows_until_something_new_comes(
    database: Database, an_instance: MakeInstance, eventually: Callable[..., Any]
) -> None:
    """Only new content starts the quiet time again; a resend does not."""
    with database.begin() as tx:
        instances.record(tx, an_instance(1), None)
        (first,) = studies.open_studies(tx)
        eventually(lambda: studies.open_studies(tx)[0].quiet_for > first.quiet_for + 0.05)
        instances.record(tx, an_instance(1), None)
        assert studies.open_studies(tx)[0].study == first.study
        instances.record(tx, an_instance(2), None)
        (second,) = studies.open_studies(tx)
        assert second.study.last_received_at > first.study.last_received_at + 0.05


def test_a_clock_set_back_holds_no_study_open(
    database: Database, an_instance: MakeInstance
) -> None:
    """A study and an association last seen a day in the future count as long gone."""
    with database.begin() as tx:
        sender = instances.open_association(tx, "SCANNER", "127.0.0.1")
        instances.record(tx, an_instance(), sender)
        tx.execute(update(study).values(last_received_at=now() + 86400))
        tx.execute(update(association).values(seen_at=now() + 86400))

        (found,) = studies.open_studies(tx)

    assert found.quiet_for > 86000
    assert found.active_associations == 0


def test_studies_are_counted_by_their_state(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """In one read, however many there are; a state that none is in is left out."""
    with database.begin() as tx:
        assert studies.counts(tx) == {}
        instances.record(tx, an_instance(), None)
        assert studies.counts(tx) == {StudyState.RECEIVING: 1}
        assert _complete(tx, study_uid, "a") == 1
        assert studies.counts(tx) == {StudyState.COMPLETE: 1}


def test_studies_are_listed_with_the_latest_first(
    database: Database, an_instance: MakeInstance, eventually: Callable[..., Any]
) -> None:
    """The listing follows what was added last, and ends at its limit."""
    with database.begin() as tx:
        for number in (1, 2, 3):
            made = an_instance(number, study_instance_uid=f"1.2.{number}")
            instances.record(tx, made, None)
            eventually(lambda: _clock_moved(tx))
        instances.record(tx, an_instance(9, study_instance_uid="1.2.1"), None)

        listed = [one.study_instance_uid for one in studies.listing(tx)]
        assert listed == ["1.2.1", "1.2.3", "1.2.2"]
        assert [one.study_instance_uid for one in studies.listing(tx, limit=1)] == ["1.2.1"]
        waiting = [one.study.study_instance_uid for one in studies.open_studies(tx)]
        assert waiting == ["1.2.2", "1.2.3", "1.2.1"]


def _clock_moved(tx: Any) -> bool:
    """Return whether the database's clock, which has steps, has moved since anything came."""
    return min(one.quiet_for for one in studies.open_studies(tx)) > 0


def _get(tx: Any, study_uid: str) -> Study:
    found = studies.get(tx, study_uid)
    assert found is not None
    return found


def _complete(tx: Any, study_uid: str, content: str) -> int | None:
    return studies.complete(tx, study_uid, content * 64, _get(tx, study_uid).last_received_at)


def _active(tx: Any, lease: float = 30.0) -> int:
    return studies.open_studies(tx, association_lease=lease)[0].active_associations
