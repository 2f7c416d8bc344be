"""People: a reviewer releases or rejects what is held, and says what they think of a verdict.

For the command line and the pages alike. Each works in its caller's transaction and either does the
whole or raises and leaves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from gatekeeper.errors import GateRefused
from gatekeeper.gate.alerts import Alert, Event
from gatekeeper.gate.passing import Line, Passed, Proceedings, content_of, deliver
from storage import feedback as words
from storage import forwards, jobs, outcomes, studies
from storage.records import Feedback, Forward, ForwardState

LONGEST_NAME = 64
LONGEST_TEXT = 2000
"""Characters."""

_OPEN = {
    ForwardState.SENT: (ForwardState.HELD, ForwardState.WAITING),
    ForwardState.REJECTED: (ForwardState.HELD,),
}


def release(tx: Connection, study_uid: str, by: str, reason: str, node: str = "") -> Proceedings:
    """Send a study on that is held, or that waits for its verdict, and return what was done.

    Args:
        tx: the open transaction.
        study_uid: the Study Instance UID.
        by: the reviewer's name.
        reason: why, in their words.
        node: only to this node; empty for all that it is held from.

    Raises:
        GateRefused: when there is no name or no reason, the study is not known, nothing of it is
            held, somebody else decided, or it has changed since it was judged.
    """
    return _decide(tx, study_uid, by, reason, node, ForwardState.SENT)


def reject(tx: Connection, study_uid: str, by: str, reason: str, node: str = "") -> Proceedings:
    """Keep a held study from going on for good; as `release`. New content is judged anew."""
    return _decide(tx, study_uid, by, reason, node, ForwardState.REJECTED)


def comment(tx: Connection, study_uid: str, by: str, *, agrees: bool, remark: str = "") -> Feedback:
    """Keep what a reviewer says of the latest verdict on a study.

    Args:
        tx: the open transaction.
        study_uid: the Study Instance UID.
        by: the reviewer's name.
        agrees: with the verdict.
        remark: in their words, may be empty.

    Raises:
        GateRefused: when there is no name, the study is not known, or it has no verdict.
    """
    reviewer = _text("name of the reviewer", by, LONGEST_NAME)
    text = remark.strip()
    if len(text) > LONGEST_TEXT:
        raise GateRefused(f"the remark has more than {LONGEST_TEXT} characters")
    _known(tx, study_uid)
    judged = outcomes.for_study(tx, study_uid)
    if not judged:
        raise GateRefused(f"study {study_uid} has no verdict yet")
    job, outcome = judged[0]
    kept = words.add(tx, job.id, reviewer, outcome.verdict, agrees=agrees, remark=text)
    detail = {"verdict": outcome.verdict, "agrees": agrees, "remark": text}
    done = Proceedings(lines=[Line(reviewer, "feedback", study_uid, job.id, detail)])
    done.close(tx)
    return kept


def _decide(
    tx: Connection, study_uid: str, by: str, reason: str, node: str, to: ForwardState
) -> Proceedings:
    reviewer = _text("name of the reviewer", by, LONGEST_NAME)
    because = _text("reason", reason, LONGEST_TEXT)
    _known(tx, study_uid)
    # What is copied as it comes waits for nobody.
    gated = [one for one in forwards.of_study(tx, study_uid) if one.gated]
    found = [one for one in gated if node in ("", one.node)]
    due = sorted((one for one in found if one.state in _OPEN[to]), key=lambda forward: forward.node)
    if not due:
        raise GateRefused(_nothing_to_decide(study_uid, node, found))
    done = Proceedings()
    for forward in due:
        done.passed.append(_carry_out(tx, forward, reviewer, because, to))
        job = jobs.of_content(tx, study_uid, forward.content_digest)
        detail = {
            "node": forward.node,
            "revision": forward.revision,
            "content": forward.content_digest,
            "verdict": forward.verdict,
            "reason": because,
            "delivery": done.passed[-1].delivery_id,
        }
        event = Event.RELEASED if to is ForwardState.SENT else Event.REJECTED
        done.alerts.append(Alert(event, study_uid, forward.revision, forward.node, forward.verdict))
        action = "release" if to is ForwardState.SENT else "reject"
        number = None if job is None else job.id
        done.lines.append(Line(reviewer, action, study_uid, number, detail))
    done.close(tx)
    return done


def _carry_out(tx: Connection, forward: Forward, by: str, because: str, to: ForwardState) -> Passed:
    content = content_of(tx, forward) if to is ForwardState.SENT else []
    if not forwards.move(tx, forward, to, because, decided_by=by):
        raise GateRefused(
            f"somebody else has just decided about study {forward.study_instance_uid} and "
            f"{forward.node}; look at it again"
        )
    delivery = deliver(tx, forward, content) if content else None
    return Passed(forward, to, delivery)


def _text(what: str, given: str, longest: int) -> str:
    text = given.strip()
    if not text:
        raise GateRefused(f"the {what} is empty")
    if len(text) > longest:
        raise GateRefused(f"the {what} has more than {longest} characters")
    return text


def _known(tx: Connection, study_uid: str) -> None:
    if studies.get(tx, study_uid) is None:
        raise GateRefused(f"study {study_uid} is not known")


def _nothing_to_decide(study_uid: str, node: str, found: Sequence[Forward]) -> str:
    of = f"study {study_uid}"
    if not found:
        return f"{of} does not pass the gate to {node or 'any node'}, so nothing of it is held"
    latest = {one.node: one for one in found}
    stands = "; ".join(f"{one.node}: {_stands(one)}" for one in latest.values())
    return f"{of} is not held ({stands})"


def _stands(forward: Forward) -> str:
    if forward.state is ForwardState.WAITING:
        return "waits for its verdict"
    by = f" by {forward.decided_by}" if forward.decided_by else ""
    return f"{forward.state.value}{by}"
