"""Storage commitment over associations of our own: asking a node, and reporting to one.

Asking (we are SCU): N-ACTION with a new Transaction UID, then a bounded wait for the report on the
same association; it may come later to our listener instead. Reporting (we are SCP): an association
that proposes us as SCP of the push model by role selection (PS3.7 D.3.3.4), then N-EVENT-REPORT.
PS3.4 annex J.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gatekeeper.commitment import (
    LARGEST_DATA_SET,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_ACTION,
    Report,
    Request,
    action,
    event,
    read_event,
)
from gatekeeper.elements import NotReadable
from gatekeeper.errors import TransportError
from gatekeeper.send import command, dialogue
from gatekeeper.send.association import Association
from gatekeeper.send.channel import AssociationLost
from gatekeeper.send.dialogue import Message
from gatekeeper.send.pdu import ProtocolError
from gatekeeper.settings import Settings
from storage.records import CommitmentItem, Node

SUCCESS = 0x0000
_INVALID_ARGUMENT = 0x0115
_LOOK_SECONDS = 0.25

Hear = Callable[[Report], bool]
"""Makes a report durable; False when nothing was asked under its Transaction UID."""


def ask(
    node: Node,
    request: Request,
    settings: Settings,
    *,
    wait_seconds: float,
    hear: Hear,
    settled: Callable[[], bool],
) -> None:
    """Ask `node` for commitment, and take its reports on this association for a while.

    Args:
        node: who is asked.
        request: what it is asked; on record before it is sent.
        settings: our AE title, time-outs, and certificates.
        wait_seconds: wait for the report once the node has taken the request.
        hear: called with each report before it is answered.
        settled: asked meanwhile; True ends the wait, since the report has come, here or elsewhere.

    Raises:
        TransportError: if the node could not be reached, or did not take the request.
    """
    with dialogue.call(node, PUSH_MODEL, settings) as association:
        context = dialogue.chosen(association, PUSH_MODEL)
        message_id = association.next_message_id()
        association.send(
            context,
            command.action_request(message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE, REQUEST_ACTION),
            action(request, context[1]),
        )
        _take_answer(association, message_id, settings.send.dimse_timeout, hear)
        deadline = time.monotonic() + wait_seconds
        while not settled() and time.monotonic() < deadline:
            if association.ready(min(_LOOK_SECONDS, wait_seconds)) and not _take_next(
                association, settings.send.dimse_timeout, hear
            ):
                return


def report(
    node: Node, transaction_uid: str, items: Sequence[CommitmentItem], settings: Settings
) -> None:
    """Tell `node` on a new association what we commit to of `items`.

    Raises:
        TransportError: if it could not be reached or did not take the report.
    """
    with dialogue.call(node, PUSH_MODEL, settings, as_scp=(PUSH_MODEL,)) as association:
        context = dialogue.chosen(association, PUSH_MODEL)
        if PUSH_MODEL in association.scp_refused:
            raise TransportError("the peer does not take us as SCP of storage commitment")
        message_id = association.next_message_id()
        kind, data = event(transaction_uid, items, context[1])
        association.send(
            context,
            command.event_request(message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE, kind),
            data,
        )
        answer = dialogue.response(
            association,
            time.monotonic() + settings.send.dimse_timeout,
            command.EVENT_REPORT_RSP,
            message_id,
            LARGEST_DATA_SET,
        )
        if answer.command.status != SUCCESS:
            raise TransportError(f"the peer answered the report {_status(answer)}")


def _take_answer(association: Association, message_id: int, seconds: float, hear: Hear) -> None:
    """Take the answer to N-ACTION, and the report of a peer that is quicker than its answer."""
    deadline = time.monotonic() + seconds
    while True:
        message = dialogue.receive(association, deadline, LARGEST_DATA_SET)
        found = message.command
        if found.command == command.EVENT_REPORT_RQ:
            _take(association, message, hear)
            continue
        if found.command != command.ACTION_RSP or found.responded_to != message_id:
            raise ProtocolError("a response to another request")
        if found.status != SUCCESS:
            raise TransportError(f"the peer answered N-ACTION {_status(message)}")
        return


def _take_next(association: Association, seconds: float, hear: Hear) -> bool:
    """Take the next report; False when the peer ends the association, which is its good right."""
    try:
        message = dialogue.receive(association, time.monotonic() + seconds, LARGEST_DATA_SET)
    except AssociationLost:
        association.abort()
        return False
    if message.command.command != command.EVENT_REPORT_RQ:
        raise ProtocolError("neither a report nor silence after N-ACTION")
    _take(association, message, hear)
    return True


def _take(association: Association, message: Message, hear: Hear) -> None:
    """Hear a report, then answer it."""
    try:
        known = hear(read_event(message.data, message.context[1]))
    except NotReadable:
        known = False
    association.send(
        message.context,
        command.event_response(
            message.command.message_id,
            PUSH_MODEL,
            PUSH_MODEL_INSTANCE,
            message.command.event_type or 0,
            SUCCESS if known else _INVALID_ARGUMENT,
        ),
    )


def _status(message: Message) -> str:
    status = message.command.status
    return "without a status" if status is None else f"with status {status:04X}"
