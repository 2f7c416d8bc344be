"""What broken transfers and ended listeners left in the spool: settled, withdrawn or removed."""

from __future__ import annotations

from gatekeeper.errors import IdentifierError
from gatekeeper.identifiers import Uid
from gatekeeper.listen.described import described
from gatekeeper.log import get_logger
from storage.engine import Database
from storage.recovery import recover
from storage.spool import Spool

log = get_logger()


def sweep(database: Database, spool: Spool, residue_seconds: float) -> int:
    """Recover what ended listeners left and remove residue; return how many files were removed.

    Raises:
        SQLAlchemyError: if the database could not answer.
        OSError: if the spool could not be used.
    """
    found = recover(database, spool, residue_seconds, described)
    if found.settled or found.withdrawn:
        log.info("intake_recovered", count=found.settled, instances=found.entered)
    for uid in found.withdrawn:
        log.warning("instance_withdrawn", rule="its file was not whole", **_loggable(uid))
    if found.left:
        log.error("intake_not_recovered", reason="files cannot be used", count=found.left)
    if found.elsewhere:
        reason = "listeners have their files in another spool"
        log.warning("intake_not_recovered", reason=reason, count=found.elsewhere)
    return found.swept + spool.sweep(residue_seconds)


def _loggable(uid: str) -> dict[str, str]:
    try:
        return {"sop_instance": Uid.parse(uid)}
    except IdentifierError:
        return {}
