"""What a node's answer does to the delivery it is about, on whichever association it came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Connection

from gatekeeper.commitment import Report
from gatekeeper.log import get_logger
from storage import confirmations
from storage.engine import Database
from storage.records import Confirmation, ConfirmationState

_REASONS_NAMED = 3

log = get_logger()


def hear(database: Database, node: str, report: Report, resends: int) -> bool:
    """Settle what a report of `node` is about; False when we asked nothing under its UID.

    Raises:
        DatabaseUnavailableError: if it could not be written; the node must report again.
    """
    with database.begin() as tx:
        confirmation = confirmations.of_transaction(tx, node, report.transaction_uid)
        if confirmation is None:
            log.warning("report_unknown", node=node)
            return False
        expected = [item.sop_instance_uid for item in confirmations.expected(tx, confirmation)]
        settled = settle(tx, confirmation, report.missing(expected), resends)
    tell(confirmation, settled, len(expected))
    return True


def settle(
    tx: Connection, confirmation: Confirmation, missing: Mapping[str, str], resends: int
) -> tuple[ConfirmationState | None, str]:
    """Commit the delivery when nothing is missing, else queue again what is, or give up.

    Args:
        tx: the open transaction.
        confirmation: as claimed, or as found by its transaction.
        missing: why the node does not keep an object, by SOP Instance UID.
        resends: most rounds of sending again.

    Returns:
        The confirmation's new state, None when it was settled before, and the reason.
    """
    if not missing:
        committed = confirmations.commit(tx, confirmation)
        return (ConfirmationState.COMMITTED if committed else None), ""
    counted = Counter(missing.values()).most_common(_REASONS_NAMED)
    reason = "not kept: " + "; ".join(f"{count}: {why}" for why, count in counted)
    return confirmations.resend(tx, confirmation, missing.keys(), reason, resends), reason


def tell(
    confirmation: Confirmation, settled: tuple[ConfirmationState | None, str], count: int
) -> None:
    """Log what became of a confirmation of `count` objects; what is given up is an alarm."""
    state, reason = settled
    known = log.bind(delivery=confirmation.id, node=confirmation.node, instances=count)
    match state:
        case ConfirmationState.COMMITTED:
            known.info("delivery_committed")
        case ConfirmationState.RESENDING:
            known.warning("delivery_not_kept", reason=reason, count=confirmation.resends + 1)
        case ConfirmationState.DEAD:
            known.error("delivery_not_confirmed", reason=reason)
        case _:
            known.debug("confirmation_settled_before")
