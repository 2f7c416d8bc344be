"""What a reviewer may do, what is refused and why, and what is written down of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection
from support.passage import Passage

from gatekeeper.errors import GateRefused
from gatekeeper.gate import people
from gatekeeper.rules.plan import Plan, Telling
from storage import audit, channels, feedback, notifications
from storage.engine import Database
from storage.records import Channel, ChannelKind, ForwardState, Node, Role

STUDY = "1.2.3"
WHO = "Dr Who"
AI2 = Node("AI2", "127.0.0.1", 106, roles=(Role.DOWNSTREAM,), receives_studies=True)


def test_a_released_study_goes_on_whole(passage: Passage) -> None:
    """Everything that was received of it, and the trail has who and why."""
    passage.walk(STUDY, "SUSPECT")

    with passage.database.begin() as tx:
        people.release(tx, STUDY, WHO, " motion, but readable ")

    forward = passage.forward(STUDY)
    assert (forward.state, forward.decided_by) == (ForwardState.SENT, WHO)
    assert forward.reason == "motion, but readable"
    assert len(passage.uids("AI")) == 2
    with passage.database.read() as tx:
        newest = audit.listing(tx, STUDY)[0]
        assert audit.verify(tx).broken is None
    assert (newest.actor, newest.action) == (WHO, "release")
    assert newest.detail["reason"] == "motion, but readable"
    assert newest.detail["verdict"] == "SUSPECT"
    assert newest.job is not None


def test_a_rejected_study_never_goes_on(passage: Passage) -> None:
    """And it cannot be released any more."""
    passage.walk(STUDY, "SUSPECT")
    with passage.database.begin() as tx:
        people.reject(tx, STUDY, WHO, "wrong patient")

    assert passage.forward(STUDY).state is ForwardState.REJECTED
    refused(passage, lambda tx: people.release(tx, STUDY, WHO, "after all"), "rejected by Dr Who")
    assert passage.uids("AI") == []


def test_of_two_nodes_one_can_be_named(passage: Passage) -> None:
    """The other one stays held; without a name, all that is left is released."""
    passage.add(AI2)
    passage.walk(STUDY, "SUSPECT")
    with passage.database.begin() as tx:
        people.release(tx, STUDY, WHO, "for this one", "AI2")
    assert (passage.forwards(STUDY), passage.forwards(STUDY, "AI2")) == (["held"], ["sent"])

    with passage.database.begin() as tx:
        people.release(tx, STUDY, WHO, "and the rest")

    assert passage.forwards(STUDY) == ["sent"]
    assert len(passage.uids("AI")) == len(passage.uids("AI2")) == 2


def test_a_study_that_waits_for_its_verdict_can_be_released_and_not_rejected(
    passage: Passage,
) -> None:
    """A person may know better than a queue; a verdict that comes later decides nothing."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    refused(passage, lambda tx: people.reject(tx, STUDY, WHO, "no"), "waits for its verdict")

    with passage.database.begin() as tx:
        people.release(tx, STUDY, WHO, "stroke")
    passage.judge(STUDY, "SUSPECT")

    assert passage.forward(STUDY).decided_by == WHO
    assert passage.forwards(STUDY) == ["sent"]


@pytest.mark.parametrize(
    ("by", "reason", "said"),
    [
        ("", "fine", "the name of the reviewer is empty"),
        ("  ", "fine", "the name of the reviewer is empty"),
        (WHO, "", "the reason is empty"),
        (WHO, " \n", "the reason is empty"),
        (WHO, "x" * 2001, "the reason has more than 2000 characters"),
        ("x" * 65, "fine", "the name of the reviewer has more than 64 characters"),
    ],
)
def test_a_decision_without_a_name_or_a_reason_is_refused(
    passage: Passage, by: str, reason: str, said: str
) -> None:
    """And nothing of it is done."""
    passage.walk(STUDY, "SUSPECT")

    refused(passage, lambda tx: people.release(tx, STUDY, by, reason), said)

    assert passage.forwards(STUDY) == ["held"]


def test_what_cannot_be_decided_says_why(passage: Passage) -> None:
    """An unknown study, one that goes nowhere, one that went, and one that was decided."""
    refused(passage, lambda tx: people.release(tx, "9.9", WHO, "x"), "study 9.9 is not known")
    passage.walk(STUDY, "CLEAR")
    refused(passage, lambda tx: people.release(tx, STUDY, WHO, "x"), "sent by policy")
    refused(
        passage,
        lambda tx: people.release(tx, STUDY, WHO, "x", "NOBODY"),
        "does not pass the gate to NOBODY",
    )
    passage.walk("1.2.4", "SUSPECT")
    with passage.database.begin() as tx:
        people.release(tx, "1.2.4", WHO, "x")
    refused(passage, lambda tx: people.release(tx, "1.2.4", WHO, "x"), "sent by Dr Who")


def test_two_people_at_once_make_one_decision(passage: Passage, database_url: str) -> None:
    """One of them is told so; one line, one delivery at most."""
    passage.walk(STUDY, "SUSPECT")
    others = [Database.connect(database_url, lock_seconds=30) for _ in range(2)]
    start = threading.Barrier(2)
    told: list[str] = []

    def decide(database: Database, act: Callable[..., object], who: str) -> None:
        start.wait(20)
        try:
            with database.begin() as tx:
                act(tx, STUDY, who, "because")
        except GateRefused as refusal:
            told.append(str(refusal))

    threads = [
        threading.Thread(target=decide, args=arguments)
        for arguments in zip(others, (people.release, people.reject), "AB", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for database in others:
        database.dispose()

    assert len(told) == 1
    with passage.database.read() as tx:
        lines = [line for line in audit.listing(tx, STUDY) if line.actor in "AB"]
    forward = passage.forward(STUDY)
    assert [line.actor for line in lines] == [forward.decided_by]
    assert len(passage.uids("AI")) == (2 if forward.state is ForwardState.SENT else 0)


def test_only_what_was_judged_is_released(passage: Passage) -> None:
    """Images that came since go with their own revision, or the reviewer is asked to wait."""
    received = passage.receive(STUDY)
    passage.complete(STUDY)
    passage.judge(STUDY, "SUSPECT")
    passage.receive(STUDY, 1)

    with passage.database.begin() as tx:
        people.release(tx, STUDY, WHO, "fine")

    assert passage.uids("AI") == [item.sop_instance_uid for item in received]
    passage.complete(STUDY)
    passage.judge(STUDY, "CLEAR")
    assert len(passage.uids("AI")) == 3


def test_feedback_is_kept_and_counted_into_the_realised_rate(passage: Passage) -> None:
    """Held and called normal is a false hold; each reviewer's latest word counts."""
    said = [("1.2.1", "SUSPECT", False), ("1.2.2", "SUSPECT", True), ("1.2.3", "CLEAR", True)]
    for study, verdict, agrees in said:
        passage.walk(study, verdict)
        with passage.database.begin() as tx:
            people.comment(tx, study, WHO, agrees=agrees, remark=" as I see it ")
    with passage.database.begin() as tx:
        people.comment(tx, "1.2.2", WHO, agrees=False)

    with passage.database.read() as tx:
        found = feedback.realised(tx)
        words = feedback.of_study(tx, "1.2.2")
        line = audit.listing(tx, "1.2.2")[0]
    assert (found.held, found.normal, found.confirmed) == (2, 3, 0)
    assert found.false_hold_rate == pytest.approx(2 / 3)
    assert [word.agrees for word in words] == [True, False]
    assert (line.action, line.actor, line.detail["agrees"]) == ("feedback", WHO, False)


def test_feedback_without_a_verdict_or_a_name_is_refused(passage: Passage) -> None:
    """There is nothing to agree with, or nobody who does."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    refused(passage, lambda tx: people.comment(tx, STUDY, WHO, agrees=True), "no verdict yet")
    refused(passage, lambda tx: people.comment(tx, "9", WHO, agrees=True), "not known")
    refused(passage, lambda tx: people.comment(tx, STUDY, "", agrees=True), "is empty")


def refused(passage: Passage, act: Callable[[Connection], object], said: str) -> None:
    """Assert that a decision is refused with these words and leaves no line."""
    with passage.database.read() as tx:
        before = len(audit.listing(tx, limit=1000))
    with pytest.raises(GateRefused, match=said), passage.database.begin() as tx:
        act(tx)
    with passage.database.read() as tx:
        assert len(audit.listing(tx, limit=1000)) == before


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_study_whose_uid_breaks_the_rules_passes_the_gate_like_any_other(
    passage: Passage,
) -> None:
    """Real scanners send UUIDs; people are told without naming it, and nothing stands still."""
    with passage.database.begin() as tx:
        channels.save(tx, Channel("desk", ChannelKind.EMAIL, "desk@example.org"))
    odd = "550e8400-e29b-41d4-a716-446655440000"
    passage.walk(odd, "SUSPECT")
    with passage.database.begin() as tx:
        people.release(tx, odd, WHO, "fine")

    assert passage.forwards(odd) == ["sent"]
    with passage.database.read() as tx:
        told = notifications.listing(tx)
    assert sorted(one.event for one in told) == ["study-held", "study-released"]
    assert all("study" not in one.facts for one in told)


def test_people_are_told_of_what_is_held_once_whatever_the_number_of_nodes(
    passage: Passage,
) -> None:
    """In the commit of the decision; a rule tells its own channel."""
    passage.add(AI2)
    with passage.database.begin() as tx:
        channels.save(tx, Channel("desk", ChannelKind.EMAIL, "desk@example.org"))
    plan = Plan(tells=(Telling("desk", "motion"),))
    passage.walk(STUDY, "SUSPECT", plan)

    with passage.database.read() as tx:
        told = notifications.listing(tx)
    assert sorted((one.event, one.facts.get("rule")) for one in told) == [
        ("rule", "motion"),
        ("study-held", None),
    ]
