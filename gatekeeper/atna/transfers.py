"""Transfers that we make or ask for: a message when one begins, and one when it has ended.

One of each for a delivery and study, however many objects and attempts it takes; a delivery that is
queued again afterwards begins again. What the node did not store is a message of its own (PS3.15
table A.5.2-1: no mixed results). The end is of the transaction that ends the delivery.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.atna.codes import Action, Outcome, RoleId
from gatekeeper.atna.events import Transfer, entity
from gatekeeper.atna.outbox import record
from gatekeeper.log import error_name, get_logger
from gatekeeper.settings import Settings
from storage import audit_sources
from storage.engine import Database, now
from storage.records import Delivery, Node

log = get_logger()


@dataclass(frozen=True, slots=True)
class Transfers:
    """Tells of deliveries; does nothing when audit messages are off."""

    settings: Settings

    def begin(self, database: Database, delivery: Delivery, node: Node) -> None:
        """Tell what is to be transferred; log that it could not be told."""
        if not self.settings.audit.enabled:
            return
        round_ = f"begin:{delivery.id}:{delivery.attempts_before}"
        try:
            with database.begin() as tx:
                for load in audit_sources.loads(tx, delivery.id):
                    meant = _sum(load.stored, load.missing)
                    self._record(tx, node, load.study, meant, round_, begins=True)
        except SQLAlchemyError as error:
            log.error("audit_not_recorded", delivery=delivery.id, error=error_name(error))

    def end(self, tx: Connection, delivery: Delivery, node: Node, reason: str = "") -> None:
        """Tell what was transferred, and what was not when there is a reason.

        Args:
            tx: the transaction that ends the delivery.
            delivery: as claimed.
            node: its destination.
            reason: why it was given up; empty when it was not.
        """
        if not self.settings.audit.enabled:
            return
        ended = f"end:{delivery.id}:{delivery.attempt}"
        for load in audit_sources.loads(tx, delivery.id):
            if load.stored:
                self._record(tx, node, load.study, load.stored, ended)
            if load.missing:
                self._record(tx, node, load.study, load.missing, f"{ended}:failed", reason=reason)

    def fetched(self, tx: Connection, study: str, node: Node) -> None:
        """Tell that a prior study, which we asked a node for, is here.

        Args:
            tx: the transaction that says so.
            study: Study Instance UID of the prior study.
            node: that it came from.
        """
        if not self.settings.audit.enabled:
            return
        event = Transfer(
            entity(node.ae_title, node.host, requestor=False, role=RoleId.SOURCE),
            entity(self.settings.listen.ae_title, requestor=True, role=RoleId.DESTINATION),
            study,
            audit_sources.classes_in(tx, study),
            tx.execute(select(now())).scalar_one(),
            action=Action.CREATE,
        )
        record(tx, self.settings, event)

    def _record(
        self,
        tx: Connection,
        node: Node,
        study: str,
        classes: audit_sources.Classes,
        key: str,
        *,
        begins: bool = False,
        reason: str = "",
    ) -> None:
        ours = self.settings.listen.ae_title
        event = Transfer(
            entity(ours, requestor=True, role=RoleId.SOURCE),
            entity(node.ae_title, node.host, requestor=False, role=RoleId.DESTINATION),
            study,
            classes,
            tx.execute(select(now())).scalar_one(),
            begins=begins,
            outcome=Outcome.SERIOUS_FAILURE if reason else Outcome.SUCCESS,
            reason=reason,
        )
        record(tx, self.settings, event, f"{key}:{study}")


def _sum(*parts: audit_sources.Classes) -> audit_sources.Classes:
    found: audit_sources.Classes = {}
    for part in parts:
        for sop_class, count in part.items():
            found[sop_class] = found.get(sop_class, 0) + count
    return found
