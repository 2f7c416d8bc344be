"""One attempt at one delivery: send what is not stored yet, record each answer, end the claim.

Answers are committed as they come, under the attempt's fence, so that after a kill only the last
few objects are sent again, under the same UIDs and with the same bytes.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gatekeeper.atna.transfers import Transfers
from gatekeeper.errors import TransportError
from gatekeeper.log import error_name, get_logger
from gatekeeper.notify import losses
from gatekeeper.send.recorder import Recorder
from gatekeeper.send.retrying import delay_after
from gatekeeper.send.statuses import Disposition
from gatekeeper.send.stow_answer import NodeBusy
from gatekeeper.send.transport import InstanceStatus, SendObject, Transport
from gatekeeper.settings import SendSettings
from gatekeeper.sop_classes import takes
from storage import confirmations, deliveries, failpoint
from storage.engine import Database, DatabaseUnavailableError
from storage.records import Confirm, Delivery, DeliveryItem, Node
from storage.spool import Spool

STOPPED = "the sender was stopped"
_REASONS_NAMED = 3

log = get_logger()


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt that did not deliver everything ends.

    Attributes:
        reason: for people.
        delay: seconds until the next attempt, None when there is none.
    """

    reason: str
    delay: float | None


@dataclass(frozen=True, slots=True)
class Desk:
    """What an attempt works with."""

    database: Database
    spool: Spool
    transport: Transport
    settings: SendSettings
    transfers: Transfers | None = None
    """Who tells the audit repository; None for nobody."""


def deliver(desk: Desk, delivery: Delivery, node: Node, stopping: Callable[[], bool]) -> None:
    """Make one attempt at a claimed delivery and end its claim.

    A database that cannot be reached ends the attempt; the lease then runs out and the delivery is
    taken up again.

    Args:
        desk: database, spool, transport and limits.
        delivery: as claimed.
        node: its destination.
        stopping: asked after each object; True ends the attempt and gives the delivery back.
    """
    started = time.monotonic()
    failpoint.reached("sender.claimed")
    try:
        pending = _to_send(desk.database, delivery, node)
        objects = [
            SendObject(
                item.sop_class_uid,
                item.sop_instance_uid,
                item.transfer_syntax_uid,
                desk.spool.path(item.digest),
            )
            for item in pending
        ]
        if desk.transfers is not None:
            desk.transfers.begin(desk.database, delivery, node)
        failpoint.reached("sender.sending")
        failure = _send(desk, delivery, node, objects, stopping)
        failpoint.reached("sender.finishing")
        confirm = node.confirm is not Confirm.NONE
        ended = _end(desk, delivery, failure, node, confirm=confirm)
    except DatabaseUnavailableError as error:
        log.error("delivery_abandoned", delivery=delivery.id, error=error_name(error))
        _give_back(desk, delivery, node)
        return
    _tell(delivery, failure, len(objects), time.monotonic() - started, ended=ended)


def after_answers(
    made: int, total: int, failed: Sequence[InstanceStatus], settings: SendSettings
) -> Failure:
    """Decide how an attempt ends in which `failed` of `total` objects were not stored.

    Args:
        made: attempts made, this one among them.
        total: objects of this attempt.
        failed: answers about those not stored, at least one.
        settings: limits on attempts.
    """
    counted = Counter(answer.reason for answer in failed)
    named = [
        f"{count} of {total}: {reason}" for reason, count in counted.most_common(_REASONS_NAMED)
    ]
    if len(counted) > _REASONS_NAMED:
        named.append("and others")
    kinds = {answer.disposition for answer in failed}
    limit = 0
    if Disposition.RETRY_BRIEFLY in kinds:
        limit = min(settings.brief_attempts, settings.maximum_attempts)
    if Disposition.RETRY in kinds:
        limit = settings.maximum_attempts
    return Failure("; ".join(named), delay_after(made, limit, settings))


def after_loss(made: int, error: TransportError, settings: SendSettings) -> Failure:
    """Decide how an attempt ends whose peer could not be reached, was lost, or asks us to wait."""
    delay = delay_after(made, settings.maximum_attempts, settings)
    if delay is not None and isinstance(error, NodeBusy) and error.retry_after is not None:
        delay = max(delay, min(error.retry_after, settings.retry_maximum_seconds))
    return Failure(str(error), delay)


def _to_send(database: Database, delivery: Delivery, node: Node) -> list[DeliveryItem]:
    """Return what is still to be sent; of received studies, without what the node does not take.

    What the node does not take is noted in the delivery, afresh at each attempt: the node may have
    been changed since.
    """
    with database.read() as tx:
        items = [one for one in deliveries.items_of(tx, delivery.id) if not one.stored]
    received = delivery.job_id is None
    left_out = [one for one in items if received and not takes(node.sop_classes, one.sop_class_uid)]
    if left_out != [one for one in items if one.left_out]:
        with database.begin() as tx:
            uids = [one.sop_instance_uid for one in left_out]
            deliveries.leave_out(tx, delivery.id, delivery.attempt, uids)
    if left_out:
        log.info(
            "objects_left_out",
            delivery=delivery.id,
            node=node.ae_title,
            count=len(left_out),
            reason="SOP classes that the node does not take",
        )
    return [one for one in items if one not in left_out]


def _send(
    desk: Desk,
    delivery: Delivery,
    node: Node,
    objects: Sequence[SendObject],
    stopping: Callable[[], bool],
) -> Failure | None:
    """Send `objects` and record each answer; return why not all are stored, None when they are."""
    made = delivery.attempt - delivery.attempts_before
    failed: list[InstanceStatus] = []
    try:
        with (
            Recorder(desk.database, delivery) as recorder,
            contextlib.closing(desk.transport.send(objects, node)) as answers,
        ):
            for answered, answer in enumerate(answers, start=1):
                failpoint.reached("sender.answered")
                recorder.record(answer)
                if not answer.stored:
                    failed.append(answer)
                if recorder.over or (stopping() and answered < len(objects)):
                    return Failure(STOPPED, 0.0)
    except TransportError as error:
        return after_loss(made, error, desk.settings)
    return after_answers(made, len(objects), failed, desk.settings) if failed else None


def _end(
    desk: Desk, delivery: Delivery, failure: Failure | None, node: Node, *, confirm: bool = False
) -> bool:
    """End the claim, and expect the node's confirmation; False when it is not this attempt's."""
    with desk.database.begin() as tx:
        if failure is None:
            finished = deliveries.finish(tx, delivery.id, delivery.attempt)
            if finished and confirm:
                confirmations.expect(tx, delivery.id, delivery.node)
            elif finished:
                confirmations.forget(tx, delivery.id)
            if finished and desk.transfers is not None:
                desk.transfers.end(tx, delivery, node)
            return finished
        held = deliveries.fail(tx, delivery.id, delivery.attempt, failure.reason, failure.delay)
        if held and failure.delay is None:
            losses.delivery_dead(tx, delivery.id)
            if desk.transfers is not None:
                desk.transfers.end(tx, delivery, node, failure.reason)
        return held


def _give_back(desk: Desk, delivery: Delivery, node: Node) -> None:
    made = delivery.attempt - delivery.attempts_before
    delay = delay_after(made, made + 1, desk.settings)
    with contextlib.suppress(DatabaseUnavailableError):
        _end(desk, delivery, Failure("the database could not be reached", delay), node)


def _tell(
    delivery: Delivery, failure: Failure | None, sent: int, seconds: float, *, ended: bool
) -> None:
    known = log.bind(delivery=delivery.id, node=delivery.node, attempt=delivery.attempt)
    if not ended:
        known.warning("delivery_taken_over")
    elif failure is None:
        known.info("delivery_finished", instances=sent, seconds=round(seconds, 3))
    elif failure.delay is None:
        known.error("delivery_dead", reason=failure.reason)
    else:
        known.warning("delivery_failed", reason=failure.reason, seconds=round(failure.delay, 1))
