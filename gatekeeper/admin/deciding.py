"""Deciding: what a reviewer asks for in the form under a study, carried out, and told in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form

from gatekeeper.admin.console import Console
from gatekeeper.errors import GateRefused
from gatekeeper.gate import people
from gatekeeper.gate.passing import Proceedings
from gatekeeper.identity.permission import Principal
from storage.records import ForwardState


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed into the form, to stand there again when it cannot be carried out.

    Attributes:
        decision: ``release`` or ``reject``.
        node: AE title; empty for all that the study is held from.
        reason: why, in the reviewer's words.
        opinion: of the verdict: ``agree`` or ``disagree``, or empty for none.
        remark: to the opinion.
    """

    decision: str = ""
    node: str = ""
    reason: str = ""
    opinion: str = ""
    remark: str = ""


NOTHING = Typed()


def typed(
    decision: Annotated[str, Form()] = "",
    node: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
    opinion: Annotated[str, Form()] = "",
    remark: Annotated[str, Form()] = "",
) -> Typed:
    """Return what was typed into the form."""
    return Typed(decision, node, reason, opinion, remark)


def carry_out(console: Console, principal: Principal, study_uid: str, form: Typed) -> str:
    """Do what the form asks for, all of it or nothing, and return it in words.

    Args:
        console: of the pages.
        principal: who asks; may review.
        study_uid: the Study Instance UID.
        form: what was typed.

    Raises:
        GateRefused: when it cannot be done; the text says why.
    """
    if form.decision not in ("", "release", "reject"):
        raise GateRefused("the decision is neither release nor reject")
    if form.opinion not in ("", "agree", "disagree"):
        raise GateRefused("the opinion is neither agree nor disagree")
    if not form.decision and not form.opinion:
        raise GateRefused("nothing was chosen")
    said: list[str] = []
    done = Proceedings()
    with console.database.begin() as tx:
        if form.decision:
            do = people.release if form.decision == "release" else people.reject
            done = do(tx, study_uid, principal.name, form.reason, form.node)
            said += _told(done)
        if form.opinion:
            agrees = form.opinion == "agree"
            kept = people.comment(tx, study_uid, principal.name, agrees=agrees, remark=form.remark)
            said.append(f"Kept: {kept.reviewer} {form.opinion}s with {kept.verdict}.")
    done.log()
    return " ".join(said)


def _told(done: Proceedings) -> list[str]:
    told: list[str] = []
    for one in done.passed:
        node = one.forward.node
        if one.state is ForwardState.REJECTED:
            told.append(f"Rejected: it does not go to {node}.")
        elif one.delivery_id is None:
            told.append(f"Released: {node} has all of it already.")
        else:
            told.append(f"Released to {node}.")
    return told
