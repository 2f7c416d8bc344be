"""`gatekeeper study held | release | reject | feedback`: a person's part at the gate."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from gatekeeper.cli.output import console, emit_json, emit_rows, moment, verdict_text
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.gate import people
from gatekeeper.gate.passing import Proceedings
from storage import feedback, forwards
from storage.records import ForwardState

Study = Annotated[str, typer.Argument(help="Study Instance UID")]
By = Annotated[str, typer.Option(help="name of the reviewer, for the audit trail")]
Reason = Annotated[str, typer.Option(help="why, for the audit trail")]
OnlyNode = Annotated[
    str, typer.Option("--node", help="only for this AE title; all that it is held from otherwise")
]


class Opinion(enum.StrEnum):
    """Of a verdict."""

    AGREE = "agree"
    DISAGREE = "disagree"


def register(app: typer.Typer) -> None:
    """Add the commands of this module to those about studies."""
    app.command()(held)
    app.command()(release)
    app.command()(reject)
    app.command(name="feedback")(give_feedback)


def held(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="newest studies shown", min=1, max=10000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the studies that are held, from whom, until when, and why."""
    with site_of(context).database() as database, database.read() as tx:
        found = forwards.listing(tx, ForwardState.HELD, limit=limit)
    emit_rows(
        "Held",
        found,
        {
            "Study Instance UID": lambda row: row.study_instance_uid,
            "from": lambda row: row.node,
            "verdict": lambda row: verdict_text(row.verdict) if row.verdict else "none",
            "held": lambda row: moment(row.held_at),
            "until": lambda row: moment(row.hold_until),
            "reason": lambda row: row.reason,
        },
        as_json=as_json,
        empty="Nothing is held.",
    )


def release(
    context: typer.Context, uid: Study, by: By, reason: Reason, node: OnlyNode = ""
) -> None:
    """Send a held study on, or one that waits for its verdict."""
    with site_of(context).database() as database, database.begin() as tx:
        done = people.release(tx, uid, by, reason, node)
    done.log()
    _say(done)


def reject(context: typer.Context, uid: Study, by: By, reason: Reason, node: OnlyNode = "") -> None:
    """Keep a held study from going on for good; the archive has it all the same."""
    with site_of(context).database() as database, database.begin() as tx:
        done = people.reject(tx, uid, by, reason, node)
    done.log()
    _say(done)


def give_feedback(
    context: typer.Context,
    uid: Study,
    opinion: Annotated[Opinion, typer.Argument(help="of the latest verdict")],
    by: By,
    text: Annotated[str, typer.Argument(help="in your words")] = "",
    as_json: AsJson = False,
) -> None:
    """Say whether a verdict was right; it counts into the realised false-hold rate."""
    with site_of(context).database() as database, database.begin() as tx:
        kept = people.comment(tx, uid, by, agrees=opinion is Opinion.AGREE, remark=text)
        counted = feedback.realised(tx)
    if as_json:
        emit_json({"feedback": kept, "realised": counted})
        return
    console.print(f"Kept: {kept.reviewer} {opinion}s with {verdict_text(kept.verdict)}.")
    if counted.normal:
        console.print(
            f"By all feedback so far, {counted.held} of {counted.normal} normal studies were held."
        )


def _say(done: Proceedings) -> None:
    for one in done.passed:
        if one.state is ForwardState.REJECTED:
            text = f"Rejected: it does not go to {one.forward.node}."
        elif one.delivery_id is None:
            text = f"Released: {one.forward.node} has all of it already."
        else:
            text = f"Released to {one.forward.node} by delivery {one.delivery_id}."
        console.print(text)
