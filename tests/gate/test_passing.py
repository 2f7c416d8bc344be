"""Forwards from completion to decision: each once, in one commit with what it means."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from support.passage import ARCHIVE, DOWNSTREAM, Passage

from gatekeeper import periodic
from gatekeeper.gate.policy import Action, Policy
from gatekeeper.rules.plan import Forwarding, Holding, Plan
from storage import audit, channels, deliveries, forwards, jobs, nodes, notifications
from storage.engine import Database
from storage.records import (
    Channel,
    ChannelKind,
    DeliveryState,
    ForwardState,
    JobState,
    Node,
    Role,
)

STUDY = "1.2.3"


def test_a_clear_study_goes_on_with_its_verdict(passage: Passage) -> None:
    """Nothing before, everything of the content after, and the trail says by whom."""
    received = passage.receive(STUDY)
    passage.complete(STUDY)
    assert passage.forward(STUDY).state is ForwardState.WAITING
    assert passage.uids("AI") == []

    passage.judge(STUDY, "CLEAR")

    forward = passage.forward(STUDY)
    assert (forward.state, forward.decided_by) == (ForwardState.SENT, "policy")
    assert [(item.sop_instance_uid, item.digest) for item in passage.sent("AI")] == [
        (item.sop_instance_uid, item.digest) for item in received
    ]
    with passage.database.read() as tx:
        [line] = audit.listing(tx, STUDY)
        assert (line.actor, line.action, line.detail["delivery"]) == (
            "policy",
            "forward",
            forward.delivery_id,
        )
        assert audit.verify(tx).broken is None


def test_a_suspect_study_is_held_with_an_end(passage: Passage) -> None:
    """No delivery; the reason is the verdict's."""
    passage.walk(STUDY, "SUSPECT")

    forward = passage.forward(STUDY)
    assert forward.state is ForwardState.HELD
    assert forward.verdict == "SUSPECT"
    assert forward.reason == "Held by policy as SUSPECT. Because SUSPECT."
    assert forward.hold_until is not None
    assert forward.held_at is not None
    assert forward.hold_until - forward.held_at == pytest.approx(24 * 3600, abs=1)
    assert passage.uids("AI") == []


@pytest.mark.parametrize(("verdict", "state"), [("UNREADABLE", "held"), ("UNCALIBRATED", "sent")])
def test_what_is_not_judged_goes_by_the_policy_and_says_so(
    passage: Passage, verdict: str, state: str
) -> None:
    """Never silently: the verdict is in the reason."""
    passage.walk(STUDY, verdict)

    forward = passage.forward(STUDY)
    assert forward.state == state
    assert f"as {verdict}." in forward.reason


def test_an_outcome_that_is_not_this_attempts_decides_nothing(passage: Passage) -> None:
    """The decision is behind the fence of the job: both, or neither."""
    passage.receive(STUDY)
    passage.complete(STUDY)

    with pytest.raises(RuntimeError), passage.database.begin() as tx:
        claimed = jobs.claim(tx, "test", 600)
        assert claimed is not None
        raise RuntimeError

    assert passage.forwards(STUDY) == ["waiting"]


def test_a_late_series_is_a_revision_and_only_what_is_new_is_sent(passage: Passage) -> None:
    """The late content's forward takes the place of the older, and nothing goes twice."""
    first = passage.receive(STUDY)
    passage.complete(STUDY)
    passage.judge(STUDY, "CLEAR")
    late = passage.receive(STUDY, series_instance_uid=f"{STUDY}.2")
    passage.complete(STUDY)

    passage.judge(STUDY, "CLEAR")

    assert passage.forwards(STUDY) == ["sent", "sent"]
    assert passage.uids("AI") == [item.sop_instance_uid for item in [*first, *late]]


@pytest.mark.parametrize("verdict", ["", "SUSPECT"])
def test_a_late_instance_supersedes_what_waits_or_is_held(passage: Passage, verdict: str) -> None:
    """The new content waits for its own verdict, and then all of it goes at once."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    if verdict:
        passage.judge(STUDY, verdict)
    passage.receive(STUDY, 1)
    passage.complete(STUDY)

    assert passage.forwards(STUDY) == ["superseded", "waiting"]
    if not verdict:
        with passage.database.begin() as tx:
            old = jobs.claim(tx, "test", 600)
            assert old is not None
            jobs.fail(tx, old.id, old.attempt, "superseded: the study changed", None)
    passage.judge(STUDY, "CLEAR")
    assert passage.forwards(STUDY) == ["superseded", "sent"]
    assert len(passage.uids("AI")) == 3


def test_late_instances_prolong_no_hold(passage: Passage) -> None:
    """The longest hold counts from the first content that was held."""
    passage.walk(STUDY, "SUSPECT")
    first = passage.forward(STUDY).hold_until
    passage.receive(STUDY, 1)
    passage.complete(STUDY)
    passage.judge(STUDY, "SUSPECT")

    again = passage.forward(STUDY)
    assert again.revision == 2
    assert again.hold_until == pytest.approx(first, abs=0.1)


def test_rules_add_nodes_to_forward_to(passage: Passage) -> None:
    """On receipt: one behind the gate waits for the verdict, one that is not gets it at once."""
    passage.add(dataclasses.replace(DOWNSTREAM, ae_title="OTHERAI", receives_studies=False))
    passage.add(Node("READING", "127.0.0.1", 11, roles=(Role.WORKSTATION,)))
    plan = Plan(forwards=(Forwarding("OTHERAI", "stroke"), Forwarding("READING", "stroke")))
    received = passage.receive(STUDY)
    passage.complete(STUDY, plan)
    periodic.tick_forward(passage.context)

    assert passage.forwards(STUDY, "OTHERAI") == ["waiting"]
    assert passage.forwards(STUDY, "READING") == ["sent"]
    assert passage.uids("READING") == [item.sop_instance_uid for item in received]
    passage.judge(STUDY, "CLEAR")
    assert passage.forwards(STUDY, "OTHERAI") == ["sent"]
    with passage.database.read() as tx:
        assert {line.actor for line in audit.listing(tx, STUDY)} == {"rule stroke", "policy"}


def test_rules_about_the_verdict_forward_and_hold(passage: Passage) -> None:
    """Once judged: a CLEAR study is held by a rule, and sent to whom another names."""
    passage.add(Node("READING", "127.0.0.1", 11, roles=(Role.WORKSTATION,)))
    plan = Plan(
        forwards=(Forwarding("READING", "second look"),), holds=(Holding("AI", "trial", 1.0),)
    )
    passage.walk(STUDY, "CLEAR", plan)
    periodic.tick_forward(passage.context)

    forward = passage.forward(STUDY)
    assert forward.state is ForwardState.HELD
    assert forward.reason.startswith("Held by rule trial as CLEAR.")
    assert passage.forwards(STUDY, "READING") == ["sent"]


def test_a_rule_that_names_a_deleted_destination_loses_nothing(passage: Passage) -> None:
    """It is waited for, is seen, holds up no other, and gets all once it is there again."""
    plan = Plan(forwards=(Forwarding("GONE", "old rule"),))
    passage.receive(STUDY)
    passage.complete(STUDY, plan)
    passage.judge(STUDY, "CLEAR")

    assert passage.forwards(STUDY) == ["sent"]
    assert passage.forwards(STUDY, "GONE") == ["sent"]
    with passage.database.read() as tx:
        [waits] = deliveries.listing(tx, node="GONE")
    assert (waits.state, waits.items) == (DeliveryState.QUEUED, 2)


def test_a_destination_that_is_disabled_is_waited_for(passage: Passage) -> None:
    """Its copies and its forwards are made and wait; nothing else does."""
    passage.add(dataclasses.replace(ARCHIVE, enabled=False))
    passage.add(dataclasses.replace(DOWNSTREAM, enabled=False))
    passage.walk(STUDY, "CLEAR")
    periodic.tick_forward(passage.context)

    assert len(passage.uids("ARCHIVE")) == len(passage.uids("AI")) == 2


def test_a_destination_deleted_while_a_study_waits_gets_it_when_added_again(
    passage: Passage,
) -> None:
    """The forward is decided as ever, and its delivery waits."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    with passage.database.begin() as tx:
        nodes.remove(tx, "AI")
    passage.judge(STUDY, "CLEAR")

    assert passage.forwards(STUDY) == ["sent"]
    assert len(passage.uids("AI")) == 2


def test_a_study_that_rules_left_out_passes_without_results(passage: Passage) -> None:
    """Whatever the policy for what is not calibrated."""
    passage.policy = Policy(uncalibrated=Action.HOLD)
    passage.receive(STUDY)
    passage.complete(STUDY)
    passage.judge(STUDY, "UNCALIBRATED", left_out=["localizers"])

    forward = passage.forward(STUDY)
    assert (forward.state, forward.decided_by) == (ForwardState.SENT, "rule localizers")


def test_a_late_verdict_decides_what_was_held_for_the_lack_of_one(passage: Passage) -> None:
    """Held because the job was dead; retried by hand and CLEAR, it goes on."""
    passage.policy = Policy(unavailable=Action.HOLD)
    passage.receive(STUDY)
    job = passage.complete(STUDY)
    kill(passage.database, job.id)
    decide_overdue(passage)
    assert passage.forwards(STUDY) == ["held"]

    with passage.database.begin() as tx:
        assert jobs.retry(tx, job.id)
    passage.judge(STUDY, "CLEAR")

    assert passage.forwards(STUDY) == ["sent"]


def test_a_dead_job_goes_by_the_policy_and_people_are_told(passage: Passage) -> None:
    """Forwarded, with why; and a verdict that comes later is told of, for it is too late."""
    passage.receive(STUDY)
    job = passage.complete(STUDY)
    kill(passage.database, job.id)
    decide_overdue(passage)

    forward = passage.forward(STUDY)
    assert forward.state is ForwardState.SENT
    assert forward.reason == (
        "Forwarded by policy without a verdict. The analysis was given up: poisoned"
    )
    with passage.database.begin() as tx:
        assert jobs.retry(tx, job.id)
        channels.save(tx, Channel("desk", ChannelKind.EMAIL, "desk@example.org"))
    told = passage.judge(STUDY, "SUSPECT").alerts
    assert [(one.event, one.node) for one in told] == [("verdict_came_late", "AI")]
    with passage.database.read() as tx:
        (queued,) = notifications.listing(tx)
    assert queued.event == "verdict-came-late"
    assert queued.facts == {"study": STUDY, "node": "AI", "verdict": "SUSPECT"}


def test_a_dead_job_of_a_study_that_changes_is_no_lack_of_a_verdict(passage: Passage) -> None:
    """Its newer content is about to be judged."""
    passage.receive(STUDY)
    job = passage.complete(STUDY)
    passage.receive(STUDY, 1)
    kill(passage.database, job.id, "superseded: the study changed after revision 1")
    decide_overdue(passage)

    assert passage.forwards(STUDY) == ["waiting"]


def test_content_that_is_back_is_decided_by_its_verdict(passage: Passage) -> None:
    """A late instance that was withdrawn leaves the content as it was judged."""
    passage.walk(STUDY, "SUSPECT")
    held = passage.forward(STUDY)
    with passage.database.begin() as tx:
        assert forwards.move(tx, held, ForwardState.SUPERSEDED, "Revision 2 took its place.")
        made = forwards.expect(tx, STUDY, held.content_digest, 3, "AI", gated=True)
        assert made is not None
    decide_overdue(passage)

    assert passage.forward(STUDY).state is ForwardState.HELD
    assert passage.forward(STUDY).verdict == "SUSPECT"


def test_two_ticks_at_once_decide_once(passage: Passage, database_url: str) -> None:
    """Each of two processes finds the forward waiting; one of them decides."""
    passage.receive(STUDY)
    job = passage.complete(STUDY)
    kill(passage.database, job.id)
    other = Database.connect(database_url, lock_seconds=30)
    contexts = [passage.context, dataclasses.replace(passage.context, database=other)] * 2
    start = threading.Barrier(len(contexts))
    decided: list[int] = []

    def tick(context: periodic.Context) -> None:
        start.wait(20)
        decided.append(periodic.tick_gate(context))

    threads = [threading.Thread(target=tick, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.dispose()

    assert sorted(decided) == [0, 0, 0, 1]
    assert len(passage.uids("AI")) == 2


def kill(database: Database, job_id: int, reason: str = "poisoned") -> None:
    """Set a job aside."""
    with database.begin() as tx:
        claimed = jobs.claim(tx, "test", 600)
        assert claimed is not None
        assert claimed.id == job_id
        assert jobs.fail(tx, job_id, claimed.attempt, reason, None)
        found = jobs.get(tx, job_id)
    assert found is not None
    assert found.state is JobState.DEAD


def decide_overdue(passage: Passage) -> None:
    """Let the tick look, under the passage's own policy."""
    from gatekeeper.gate import limits

    limits.look(passage.database, passage.policy, 100, passage.ask)
