"""What the log says of an instance that was kept, and of identifiers that a peer chose."""

from __future__ import annotations

import logging

from gatekeeper.errors import IdentifierError
from gatekeeper.identifiers import Uid
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.headers import Identity
from gatekeeper.log import get_logger, is_written
from storage.entries import Entered, Entry
from storage.instances import Recorded

log = get_logger()


def loggable(field: str, uid: str) -> dict[str, str]:
    """Return the log field of a UID, unless it is something else that a peer put there."""
    try:
        return {field: Uid.parse(uid)}
    except IdentifierError:
        return {}


def tell_kept(
    size: int, identity: Identity, recorded: Recorded | None, association: OpenAssociation
) -> None:
    """Log an instance that was kept, and what is odd about it; `recorded` None: not known yet."""
    conflict = recorded is not None and recorded.conflict
    nothing_odd = not conflict and not identity.deviations
    if nothing_odd and not is_written(logging.DEBUG):
        return
    fields = {
        "calling_ae": association.calling_ae,
        **loggable("sop_instance", identity.sop_instance_uid),
    }
    if conflict:
        log.warning("instance_conflict", **fields)
    for deviation in identity.deviations:
        log.warning("instance_deviates", rule=deviation, **fields)
    log.debug("instance_kept", size=size, **fields)


def tell_entered(entry: Entry, entered: Entered) -> None:
    """Log what was odd about an instance that was acknowledged before it was entered."""
    if entered.recorded.conflict:
        instance = entry.instance
        fields = loggable("sop_instance", instance.sop_instance_uid)
        log.warning("instance_conflict", calling_ae=instance.source_ae, **fields)
