"""The facts of the books about priors: what was asked for, and what is here of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, exists, func, literal, select

from storage.engine import now
from storage.ledger import count, stream
from storage.schema import instance, node, prior


@dataclass(frozen=True, slots=True)
class PriorFacts:
    """A request for priors, or one prior study, and what is here of it."""

    id: int
    node: str
    node_enabled: bool
    is_request: bool
    state: str
    reason: str
    due_for: float
    lease_over_for: float | None
    found: int
    """Prior studies that a request found."""
    instances: int
    """Instances of the prior study that came, whether or not their files are kept still."""


def priors(tx: Connection) -> Iterator[PriorFacts]:
    """Yield every request for priors and every prior, the oldest first."""
    other = prior.alias("other")
    query = (
        select(
            prior.c.id,
            prior.c.node,
            func.coalesce(node.c.enabled, literal(True)),
            prior.c.prior_study_uid == "",
            prior.c.state,
            prior.c.reason,
            now() - prior.c.not_before,
            now() - prior.c.lease_until,
            count(
                other,
                other.c.study_instance_uid == prior.c.study_instance_uid,
                other.c.node == prior.c.node,
                other.c.rule == prior.c.rule,
                other.c.prior_study_uid != "",
            ),
            count(instance, instance.c.study_instance_uid == prior.c.prior_study_uid),
        )
        .outerjoin(node, node.c.ae_title == prior.c.node)
        .order_by(prior.c.id)
    )
    for row in stream(tx, query):
        yield PriorFacts(*row)


def unasked(tx: Connection) -> Iterator[str]:
    """Yield SOP Instance UIDs that are kept as part of a prior study which nobody asked for."""
    asked = exists(
        select(literal(1)).where(prior.c.prior_study_uid == instance.c.study_instance_uid)
    )
    query = select(instance.c.sop_instance_uid).where(instance.c.prior.is_(True), ~asked)
    for row in stream(tx, query):
        yield row[0]
