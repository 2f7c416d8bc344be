"""Instances: every content kept, none twice, whatever the order and whoever else writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import instances, studies
from storage.engine import Database
from storage.instances import Recorded
from storage.records import Instance, Study, StudyState

MakeInstance = Callable[..., Instance]


def test_an_instance_comes_back_as_it_was_recorded(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """Every field survives; the time of receipt is the database's."""
    made = an_instance(size=2**40)
    with database.begin() as tx:
        assert instances.record(tx, made, None) == Recorded(new=True, conflict=False)

    with database.read() as tx:
        (found,) = instances.of_study(tx, study_uid)
        assert instances.find(tx, made.sop_instance_uid) == [found]
        assert instances.count(tx) == 1
    assert found.received_at > 0
    assert replace(found, received_at=0.0) == made


def test_a_resend_is_a_success_that_changes_nothing(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """The same content again leaves rows, times and the study's state as they were."""
    with database.begin() as tx:
        instances.record(tx, an_instance(), None)
        before = _everything(tx, study_uid)
    with database.begin() as tx:
        assert instances.record(tx, an_instance(), None) == Recorded(new=False, conflict=False)
        assert _everything(tx, study_uid) == before


def test_other_content_under_the_same_uid_is_kept_beside_the_first(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """Both contents are there and both are marked; a resend of either says so too."""
    first, second = an_instance(1, "a"), an_instance(1, "b")
    with database.begin() as tx:
        instances.record(tx, an_instance(2), None)
        assert not instances.record(tx, first, None).conflict
        assert instances.record(tx, second, None) == Recorded(new=True, conflict=True)
        assert instances.record(tx, first, None) == Recorded(new=False, conflict=True)

        found = instances.find(tx, first.sop_instance_uid)
        assert {one.digest for one in found} == {first.digest, second.digest}
        assert [one.conflict for one in found] == [True, True]
        marks = [one.conflict for one in instances.of_study(tx, study_uid)]
        assert sorted(marks) == [False, True, True]


def test_the_same_uid_in_another_study_is_a_conflict_there_too(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """One SOP Instance UID in two studies is kept in both and marked in both."""
    here = an_instance(1)
    there = an_instance(1, study_instance_uid="1.2.3.4")
    with database.begin() as tx:
        instances.record(tx, here, None)
        assert instances.record(tx, there, None) == Recorded(new=True, conflict=True)

        for study in (study_uid, "1.2.3.4"):
            assert [one.conflict for one in instances.of_study(tx, study)] == [True]


def test_the_same_bytes_claimed_for_another_study_stay_where_they_were(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """A content belongs to the study it was first recorded for."""
    made = an_instance(1)
    with database.begin() as tx:
        instances.record(tx, made, None)
        moved = replace(made, study_instance_uid="1.2.3.5")
        assert instances.record(tx, moved, None) == Recorded(new=False, conflict=False)

        assert studies.get(tx, "1.2.3.5") is None
        assert len(instances.of_study(tx, study_uid)) == 1


def test_an_own_result_is_kept_and_makes_no_study(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """Our result for a study that we do not have is recorded and nothing follows from it."""
    with database.begin() as tx:
        association = instances.open_association(tx, "PACS", "127.0.0.1")
        own = an_instance(1, own_result=True)
        assert instances.record(tx, own, association).new

        assert studies.get(tx, study_uid) is None
        assert instances.of_study(tx, study_uid) == []
        assert len(instances.of_study(tx, study_uid, include_own=True)) == 1


def test_an_own_result_does_not_touch_its_study(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """A complete study stays complete and of the same size when our result comes back."""
    with database.begin() as tx:
        instances.record(tx, an_instance(1), None)
        before = _study(tx, study_uid)
        studies.complete(tx, study_uid, "d" * 64, before.last_received_at)
        before = _study(tx, study_uid)

        association = instances.open_association(tx, "PACS", "127.0.0.1")
        instances.record(tx, an_instance(2, own_result=True), association)

        assert _study(tx, study_uid) == before
        assert (before.instances, before.state) == (1, StudyState.COMPLETE)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), number=st.integers(1, 10**9))
def test_the_order_of_arrival_does_not_show(
    database: Database, an_instance: MakeInstance, data: st.DataObject, number: int
) -> None:
    """Late, repeated, shuffled, conflicting: the same set gives the same listing."""
    study = f"1.2.3.{number}"
    made = [
        an_instance(n, content, study_instance_uid=study, sop_instance_uid=f"{study}.{n}")
        for n, content in [(1, "a"), (2, "a"), (3, "a"), (3, "b"), (4, "a"), (5, "a")]
    ]
    repeated = made + data.draw(st.lists(st.sampled_from(made), max_size=4))
    with database.begin() as tx:
        for one in data.draw(st.permutations(repeated)):
            instances.record(tx, one, None)
        found = instances.of_study(tx, study)

    assert [(one.sop_instance_uid, one.digest, one.conflict) for one in found] == [
        (one.sop_instance_uid, one.digest, one.sop_instance_uid.endswith(".3"))
        for one in sorted(
            made, key=lambda one: (one.series_instance_uid, one.sop_instance_uid, one.digest)
        )
    ]


@pytest.mark.parametrize("contents", ["aaaaaaaa", "abababab", "abcdefgh"])
def test_the_same_uid_received_many_times_at_once_loses_nothing(
    database: Database, an_instance: MakeInstance, study_uid: str, contents: str
) -> None:
    """Eight at once: each content is new once, and only the first content saw no conflict."""
    recorded: list[Recorded] = []
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(contents))

    def receive(content: str) -> None:
        try:
            barrier.wait(10)
            with database.begin() as tx:
                recorded.append(instances.record(tx, an_instance(1, content), None))
        except BaseException as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=receive, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert errors == []
    distinct = len(set(contents))
    assert sum(one.new for one in recorded) == distinct
    assert sum(one.new and not one.conflict for one in recorded) == 1
    with database.read() as tx:
        found = instances.of_study(tx, study_uid)
        assert [one.conflict for one in found] == [distinct > 1] * distinct


def test_many_instances_of_one_study_received_at_once_are_all_there(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """Parallel associations of one study lose no instance and make one study."""
    errors: list[BaseException] = []

    def receive(thread: int) -> None:
        try:
            for number in range(10):
                with database.begin() as tx:
                    instances.record(tx, an_instance(10 * thread + number), None)
        except BaseException as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=receive, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    with database.read() as tx:
        assert len(instances.of_study(tx, study_uid)) == 40
        assert (_study(tx, study_uid).instances, _study(tx, study_uid).series) == (40, 3)


def _study(tx: Any, study_uid: str) -> Study:
    study = studies.get(tx, study_uid)
    assert study is not None
    return study


def _everything(tx: Any, study_uid: str) -> tuple[list[Instance], Study]:
    return instances.of_study(tx, study_uid), _study(tx, study_uid)
