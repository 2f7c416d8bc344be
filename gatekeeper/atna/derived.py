"""Derived messages: what the database tells anyway becomes messages, each once, in a tick.

What an association or an upload brought of a study is one message when it has ended, whoever ended
it and however; every version of the configuration is one, and so is news of messages that were
lost. Nothing of this is work of the intake's. A tick may run twice, or twice at once: see
`storage.audit_cursors`.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gatekeeper.atna.alerts import ConfigurationChanged, MessagesLost
from gatekeeper.atna.codes import Action, RoleId
from gatekeeper.atna.events import Transfer, entity
from gatekeeper.atna.outbox import record
from gatekeeper.configuration.changes import UNKNOWN
from gatekeeper.configuration.document import differences
from gatekeeper.settings import Settings
from storage import audit_cursors, audit_messages, audit_sources
from storage.audit_sources import Arrival
from storage.engine import Database, now
from storage.records import ConfigurationVersion

_LOST = "lost"
_NETWORK = frozenset({"nodes", "channels"})
"""Sections of the configuration that say who is spoken to."""


def derive(database: Database, settings: Settings) -> int:
    """Record the messages of what happened since the last time; return how many are new.

    Raises:
        DatabaseUnavailableError: if the database could not; it goes on there the next time.
    """
    audit = settings.audit
    if not audit.enabled:
        return 0
    with database.read() as tx:
        arrivals = audit_sources.arrivals(tx, settings.listen.association_lease, audit.at_once)
        versions = audit_sources.versions(tx, audit.at_once)
        lost = sum(one.count for one in audit_messages.drops(tx))
        untold = lost > (audit_cursors.position(tx, _LOST) or 0)
    if arrivals is None:
        with database.begin() as tx:
            audit_sources.begin(tx)
        return 0
    # What takes time was read before: on SQLite a transaction that writes holds up the intake.
    made = 0
    if arrivals:
        with database.begin() as tx:
            for arrival in audit_sources.tell_arrivals(tx, arrivals):
                made += _received(tx, settings, arrival)
    if versions or untold:
        with database.begin() as tx:
            new = audit_sources.tell_versions(tx, [one.number for _, one in versions])
            for before, version in versions:
                if version.number in new:
                    key = f"configuration:{version.number}"
                    made += record(tx, settings, _changed(before, version), key) is not None
            if untold:
                made += _lost(tx, settings, lost)
    return made


def _lost(tx: Connection, settings: Settings, lost: int) -> bool:
    """Tell how many messages were lost, once there is room to say so."""
    if audit_messages.is_full(tx, settings.audit.backlog):
        return False
    if not audit_cursors.reach(tx, _LOST, lost):
        return False
    at = tx.execute(select(now())).scalar_one()
    return record(tx, settings, MessagesLost(lost, at)) is not None


def _received(tx: Connection, settings: Settings, arrival: Arrival) -> int:
    made = 0
    for study, classes in arrival.studies.items():
        event = Transfer(
            entity(arrival.calling_ae, arrival.address, requestor=True, role=RoleId.SOURCE),
            entity(settings.listen.ae_title, requestor=False, role=RoleId.DESTINATION),
            study,
            classes,
            arrival.ended_at,
            action=Action.CREATE if classes else Action.READ,
        )
        key = f"received:{arrival.association}:{study}"
        made += record(tx, settings, event, key) is not None
    return made


def _changed(
    before: ConfigurationVersion | None, version: ConfigurationVersion
) -> ConfigurationChanged:
    found = differences({} if before is None else before.document, version.document)
    sections = {one.section for one in found}
    return ConfigurationChanged(
        version.number,
        version.who,
        version.why,
        bool(sections & _NETWORK),
        bool(sections - _NETWORK),
        version.who != UNKNOWN,
        version.at,
    )
