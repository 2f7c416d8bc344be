"""The outbox: where an event becomes a message that lasts, and is sent when its turn comes.

`record` is for whoever has a transaction in which the event happens; `told` for who has none.
"""

from __future__ import annotations

import dataclasses
import socket

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.atna.codes import ObjectIdType, Outcome
from gatekeeper.atna.events import Event, entity
from gatekeeper.atna.message import Message, Participant, Source, patient, to_xml
from gatekeeper.atna.patients import patient_id_of
from gatekeeper.log import error_name, get_logger
from gatekeeper.settings import Settings
from storage import audit_messages
from storage.engine import Database

_SEVERITY = {
    Outcome.SUCCESS: 5,
    Outcome.MINOR_FAILURE: 4,
    Outcome.SERIOUS_FAILURE: 3,
    Outcome.MAJOR_FAILURE: 2,
}
"""Notice for what went well (PS3.15 A.6), and warning, error, critical (RFC 5424 table 2)."""

log = get_logger()


def record(tx: Connection, settings: Settings, event: Event, key: str | None = None) -> int | None:
    """Have the audit repository told of an event.

    Nobody is called here: the row is of the caller's transaction, and `gatekeeper send` sends what
    was committed.

    Args:
        tx: the transaction of the event itself.
        settings: of the site.
        event: what happened.
        key: the same for the same event, however often it is noticed; None for a new one.

    Returns:
        The number of the message; None when audit messages are off, when it was told before under
        this key, or when the outbox is full, which is counted.
    """
    if not settings.audit.enabled:
        return None
    made = _with_patient(tx, event.message(ourselves(settings)))
    return audit_messages.enqueue(
        tx,
        made.event.slug,
        made.subject,
        xml_of(made, settings),
        made.happened_at,
        severity(made),
        settings.audit.backlog,
        key,
    )


def told(database: Database, settings: Settings, event: Event, key: str | None = None) -> bool:
    """Record an event in a transaction of its own; log that it could not be, and return False."""
    if not settings.audit.enabled:
        return True
    try:
        with database.begin() as tx:
            record(tx, settings, event, key)
    except SQLAlchemyError as error:
        log.error("audit_not_recorded", error=error_name(error))
        return False
    return True


def ourselves(settings: Settings) -> Participant:
    """Return this application as a participant."""
    return entity(settings.listen.ae_title, socket.gethostname(), requestor=False)


def xml_of(message: Message, settings: Settings) -> str:
    """Return the XML of a message that this site reports."""
    audit = settings.audit
    return to_xml(message, Source(audit.source or settings.listen.ae_title, audit.enterprise_site))


def _with_patient(tx: Connection, message: Message) -> Message:
    """Return a message about a study with the study's patient, where that is on record."""
    named = next((one.id for one in message.objects if one.kind is ObjectIdType.STUDY), "")
    known = patient_id_of(tx, named) if named else ""
    if not known:
        return message
    return dataclasses.replace(message, objects=(*message.objects, patient(known)))


def severity(message: Message) -> int:
    """Return how severe a message is, as syslog counts."""
    return _SEVERITY[message.outcome]
