"""Passing: forwards are written down when a study is complete, and decided when it is judged.

Every function here works within its caller's transaction, so that a decision, the delivery that it
means, and its line in the audit trail are one commit. What a node has already is not sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from gatekeeper.assemble.content import content_digest
from gatekeeper.errors import GateRefused
from gatekeeper.gate import alerts
from gatekeeper.gate.alerts import Alert, Event
from gatekeeper.gate.policy import HOLD_LIMIT, Action, Decision, Policy, decide
from gatekeeper.log import get_logger
from gatekeeper.rules.plan import Forwarding, Plan
from gatekeeper.rules.verdict import Verdict
from storage import audit, copies, decision_records, forwards, instances, priors, studies
from storage.records import Forward, ForwardState, Instance, Job, Node, Outcome

log = get_logger()

SYSTEM = "gatekeeper"
"""Actor of what follows from what was received, and nobody decided."""


OUTCOMES = {Action.HOLD: "held", Action.FORWARD: "forwarded", Action.REJECT: "rejected"}
"""What becomes of a study, in a word."""
LEFT_OUT = "left_out"
"""Key in `Outcome.evidence` of the rules that left out every series of a study."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line for the audit trail."""

    actor: str
    action: str
    study: str
    job: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Passed:
    """What became of a forward.

    Attributes:
        forward: as it was before.
        state: as it is now.
        delivery_id: that brings it; None when it is not sent, or the node has everything.
    """

    forward: Forward
    state: ForwardState
    delivery_id: int | None = None


@dataclass(slots=True)
class Proceedings:
    """What one transaction of the gate did, for the trail, the alerts, and the log after it."""

    passed: list[Passed] = field(default_factory=list[Passed])
    lines: list[Line] = field(default_factory=list[Line])
    alerts: list[Alert] = field(default_factory=list[Alert])

    def close(self, tx: Connection) -> None:
        """Write trail and notifications, and ask for new decision records: the last thing."""
        alerts.tell(tx, self.alerts)
        for study in sorted({line.study for line in self.lines if line.study}):
            decision_records.note(tx, study)
        for line in self.lines:
            audit.append(tx, line.actor, line.action, line.study, line.job, line.detail)

    def forget(self) -> None:
        """Begin anew, after a transaction that was not committed."""
        self.passed.clear()
        self.lines.clear()
        self.alerts.clear()

    def log(self) -> None:
        """Log what was done, once it is committed."""
        for one in self.passed:
            log.info(
                "forward_decided",
                study=one.forward.study_instance_uid,
                node=one.forward.node,
                state=one.state.value,
                delivery=one.delivery_id,
            )
        alerts.log_alerts(self.alerts)


def expect(
    tx: Connection,
    study_uid: str,
    content: str,
    revision: int,
    plan: Plan,
    known: Sequence[Node],
) -> Proceedings:
    """Write down where a complete content of a study is to go; older content gives way to it.

    To each node that receives studies, to each that a rule names, and to each that older content
    was still on its way to. A node that is not known counts as gated, and is waited for.

    Args:
        tx: the open transaction.
        study_uid: the Study Instance UID.
        content: digest of the content.
        revision: of the study.
        plan: what rules say on receipt.
        known: all nodes, disabled ones included.
    """
    done = Proceedings(alerts=alerts.of_rules(study_uid, revision, "", plan.tells))
    by_ae = {node.ae_title: node for node in known}
    reasons = {node.ae_title: "" for node in known if node.receives_studies}
    for one in plan.forwards:
        reasons.setdefault(one.node, f"rule {one.rule}")
    held_since: dict[str, float | None] = {}
    for old in forwards.of_older_content(tx, study_uid, content):
        reasons.setdefault(old.node, f"on its way since revision {old.revision}")
        held_since[old.node] = old.held_at
        because = f"Revision {revision} took its place."
        if forwards.move(tx, old, ForwardState.SUPERSEDED, because) and old.gated:
            detail = {"node": old.node, "revision": old.revision, "by_revision": revision}
            done.lines.append(Line(SYSTEM, "supersede", study_uid, detail=detail))
    by_rule = {one.node: one for one in plan.forwards}
    for ae_title in sorted(reasons):
        node = by_ae.get(ae_title)
        gated = node is None or node.gated
        made = forwards.expect(
            tx,
            study_uid,
            content,
            revision,
            ae_title,
            gated=gated,
            reason=reasons[ae_title],
            held_at=held_since.get(ae_title),
        )
        if made is not None and ae_title in by_rule and reasons[ae_title].startswith("rule "):
            done.lines.append(_by_rule(study_uid, None, by_rule[ae_title], revision, gated=gated))
    return done


def judged(
    tx: Connection,
    done: Proceedings,
    job: Job,
    outcome: Outcome,
    plan: Plan,
    policy: Policy,
    known: Sequence[Node],
) -> None:
    """Decide what a verdict decides: every gated forward of the job's content.

    Args:
        tx: the open transaction, in which the job was settled under its fence.
        done: begun anew, for the transaction may have been tried before.
        job: as claimed.
        outcome: what was found.
        plan: what rules say once it is judged.
        policy: now in force.
        known: all nodes.
    """
    done.forget()
    uid, content = job.study_instance_uid, job.content_digest
    verdict, reason = Verdict(outcome.verdict), outcome.reason
    left_out_by = tuple(str(name) for name in outcome.evidence.get(LEFT_OUT, ()))
    by_ae = {node.ae_title: node for node in known}
    for one in plan.forwards:
        node = by_ae.get(one.node)
        gated = node is None or node.gated
        because = f"rule {one.rule}"
        if forwards.expect(tx, uid, content, job.revision, one.node, gated=gated, reason=because):
            done.lines.append(_by_rule(uid, job.id, one, job.revision, gated=gated))
    for forward in forwards.undecided(tx, uid, content):
        decision = decide(verdict, reason, forward.node, policy, plan.holds, left_out_by)
        carry_out(tx, done, forward, decision, verdict.value, job.id)
    if verdict is not Verdict.CLEAR and not left_out_by:
        done.alerts += [
            Alert(Event.LATE, uid, one.revision, one.node, verdict.value, reason)
            for one in forwards.of_study(tx, uid)
            if one.content_digest == content
            and one.gated
            and one.state is ForwardState.SENT
            and not one.verdict
        ]
    done.alerts += alerts.of_rules(uid, job.revision, verdict.value, plan.tells)
    done.close(tx)


def carry_out(
    tx: Connection,
    done: Proceedings,
    forward: Forward,
    decision: Decision,
    verdict: str,
    job_id: int | None,
) -> bool:
    """Do as decided; False, and nothing done, when somebody else was first.

    A content that cannot be told from what came since is left: the newer one takes its place. One
    whose priors are still being fetched waits for them, for `priors.patience_seconds` at most.
    """
    if decision.action is Action.FORWARD and priors.pending(tx, forward.study_instance_uid):
        return False
    if decision.action is Action.HOLD:
        fenced = forwards.hold(tx, forward, decision.reason, verdict, decision.hours)
        delivery = None
    else:
        fenced, delivery = _end(tx, forward, decision, verdict)
    if not fenced:
        return False
    done.passed.append(Passed(forward, decision.state, delivery))
    detail: dict[str, Any] = {
        "node": forward.node,
        "revision": forward.revision,
        "content": forward.content_digest,
        "verdict": verdict or forward.verdict,
        "reason": decision.reason,
        "delivery": delivery,
    }
    if decision.hours:
        detail["hours"] = decision.hours
    uid = forward.study_instance_uid
    done.lines.append(Line(decision.by, decision.action.value, uid, job_id, detail))
    if decision.alert:
        done.alerts.append(_alert(tx, forward, decision, verdict or forward.verdict))
    return True


def _alert(tx: Connection, forward: Forward, decision: Decision, verdict: str) -> Alert:
    event = {
        Action.HOLD: Event.HELD,
        Action.FORWARD: Event.FORWARDED,
        Action.REJECT: Event.REJECTED,
    }[decision.action]
    if decision.by == HOLD_LIMIT:
        event = Event.EXPIRED
    now = forwards.get(tx, forward.id)
    return Alert(
        event,
        forward.study_instance_uid,
        forward.revision,
        forward.node,
        verdict,
        decision.reason,
        until=None if now is None else now.hold_until,
        outcome=OUTCOMES[decision.action],
        rule=decision.by.removeprefix("rule ") if decision.by.startswith("rule ") else "",
    )


def _end(
    tx: Connection, forward: Forward, decision: Decision, verdict: str
) -> tuple[bool, int | None]:
    content = None
    if decision.action is Action.FORWARD:
        try:
            content = content_of(tx, forward)
        except GateRefused:
            return False, None
    if not forwards.move(
        tx, forward, decision.state, decision.reason, verdict=verdict, decided_by=decision.by
    ):
        return False, None
    return True, None if content is None else deliver(tx, forward, content)


def deliver(tx: Connection, forward: Forward, content: Sequence[Instance]) -> int | None:
    """Queue what the node lacks of a content that was decided to go, and return the delivery.

    The priors that were fetched for the study go before it, in a delivery of their own.
    """
    copies.lock(tx, forward.node, forward.study_instance_uid)
    of_content = {(item.sop_instance_uid, item.digest) for item in content}
    lacking = [
        item
        for item in copies.missing(tx, forward.node, forward.study_instance_uid)
        if (item.sop_instance_uid, item.digest) in of_content
    ]
    fetched = [
        item
        for prior in priors.of(tx, forward.study_instance_uid)
        for item in copies.missing(tx, forward.node, prior, prior=True)
    ]
    forwards.send(tx, forward.node, fetched)
    delivery = forwards.send(tx, forward.node, lacking)
    if delivery is not None:
        forwards.bring(tx, forward.id, delivery)
    return delivery


def content_of(tx: Connection, forward: Forward) -> list[Instance]:
    """Return the instances that a forward is about, and none that came after them.

    Raises:
        GateRefused: when they cannot be told apart any more.
    """
    everything = instances.of_study(tx, forward.study_instance_uid)
    if content_digest(everything) == forward.content_digest:
        return everything
    study = studies.get(tx, forward.study_instance_uid)
    if study is not None and study.content_digest == forward.content_digest:
        at = study.completed_at or 0.0
        before = [item for item in everything if item.received_at <= at]
        if content_digest(before) == forward.content_digest:
            return before
    raise GateRefused(
        f"study {forward.study_instance_uid} has changed since revision {forward.revision} was "
        "judged; decide once its newest images are judged too"
    )


def _by_rule(
    study_uid: str, job_id: int | None, one: Forwarding, revision: int, *, gated: bool
) -> Line:
    detail = {"node": one.node, "revision": revision, "gated": gated}
    return Line(f"rule {one.rule}", "expect", study_uid, job_id, detail)
