"""Priors: earlier studies of a patient that a rule asks an archive for, with a study.

A request is one row without a prior study. Once the archive has answered, each prior study that was
chosen has a row of its own, which is claimed, fetched and ended like any leased row. What comes
touches no study and makes no job: its instances are marked (`storage.instances`).

Everything comes to its end: attempts are limited, and a row that is old is given up whatever it
waits for, so that a study which waits for its priors does not wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, exists, literal, select, update

from storage import leases
from storage.engine import facts, insert, now
from storage.leases import Rescued
from storage.records import Prior, PriorState
from storage.schema import prior as table

_OPEN = (PriorState.QUEUED.value, PriorState.CLAIMED.value)
_REQUEST = table.c.prior_study_uid == ""


def request(tx: Connection, study_uid: str, node: str, rule: str, count: int, modality: str) -> int:
    """Ask a node for priors of a study, once for each rule, and return the request's number.

    A request that is there already stays as it is; one that is dead is made again.

    Args:
        tx: the open transaction; the study has a row.
        study_uid: the study whose priors are wanted.
        node: AE title of the archive.
        rule: name of the rule that asks.
        count: studies at most, the newest first.
        modality: of the priors; empty for that of the study.
    """
    key = {"study_instance_uid": str(study_uid), "node": str(node), "rule": rule}
    _enter(tx, {**key, "count": count, "modality": modality, "prior_study_uid": ""})
    same = [table.c[name] == value for name, value in key.items()]
    found = tx.execute(select(table.c.id).where(*same, _REQUEST)).scalar_one()
    retry(tx, found)
    return found


def pending(tx: Connection, study_uid: str) -> bool:
    """Return whether priors of a study are still being asked for or fetched."""
    some = exists(
        select(literal(1)).where(table.c.study_instance_uid == study_uid, table.c.state.in_(_OPEN))
    )
    return bool(tx.execute(select(some)).scalar_one())


def of(tx: Connection, study_uid: str) -> list[str]:
    """Return the Study Instance UIDs of a study's priors that are here, each once, newest first."""
    query = (
        select(table.c.prior_study_uid)
        .where(table.c.study_instance_uid == study_uid, table.c.state == PriorState.RECEIVED.value)
        .order_by(table.c.id)
    )
    return list(dict.fromkeys(tx.execute(query).scalars()))


def states_of(tx: Connection, prior_study_uid: str, node: str) -> set[PriorState]:
    """Return the states of what was chosen as a prior under this UID, at this node."""
    query = select(table.c.state).where(
        table.c.prior_study_uid == prior_study_uid, table.c.node == node
    )
    return {PriorState(state) for state in tx.execute(query).scalars()}


def due(tx: Connection) -> bool:
    """Return whether a node is to be asked."""
    return leases.due(tx, table)


def claim(
    tx: Connection, holder: str, lease_seconds: float, nodes_busy: Sequence[str] = ()
) -> Prior | None:
    """Claim the oldest request or prior that is due, of none of the busy nodes, or return None."""
    others = [table.c.node.not_in([str(node) for node in nodes_busy])] if nodes_busy else []
    claimed = leases.claim(tx, table, holder, lease_seconds, *others)
    return None if claimed is None else get(tx, claimed)


def heartbeat(tx: Connection, prior: Prior, lease_seconds: float) -> bool:
    """Hold a claim for so many seconds from now; False when it is no longer this attempt's."""
    return leases.heartbeat(tx, table, prior.id, prior.attempt, lease_seconds)


def answered(tx: Connection, asked: Prior, chosen: Sequence[str], reason: str = "") -> bool:
    """End a request with the prior studies that were chosen, newest first.

    Args:
        tx: the open transaction.
        asked: as claimed.
        chosen: their Study Instance UIDs.
        reason: why there is none, for people.

    Returns:
        False, and nothing written, for a stale attempt.
    """
    state = PriorState.FOUND if chosen else PriorState.NONE
    if not _end(tx, asked, state, reason):
        return False
    for uid in chosen:
        _enter(
            tx,
            {
                "study_instance_uid": asked.study_instance_uid,
                "node": asked.node,
                "rule": asked.rule,
                "count": asked.count,
                "modality": asked.modality,
                "prior_study_uid": str(uid),
            },
        )
    return True


def received(tx: Connection, prior: Prior) -> bool:
    """Note that a prior study is here, whole; False for a stale attempt."""
    return _end(tx, prior, PriorState.RECEIVED, "")


def fail(tx: Connection, prior: Prior, reason: str, delay: float | None) -> bool:
    """Try again after `delay` seconds, or for None give up; False for a stale attempt."""
    return leases.fail(tx, table, prior.id, prior.attempt, reason, delay)


def retry(tx: Connection, prior_id: int) -> bool:
    """Queue a dead one again, all its attempts and its age before it; False when it is not dead."""
    if not leases.retry(tx, table, prior_id):
        return False
    tx.execute(update(table).where(table.c.id == prior_id).values(created_at=now()))
    return True


def rescue(tx: Connection, maximum_attempts: int, delay: Callable[[int], float] | float) -> Rescued:
    """Take back what was claimed and whose lease expired; see `leases.rescue`."""
    return leases.rescue(tx, table, maximum_attempts, delay, "sender")


def expire(tx: Connection, older_than_seconds: float) -> int:
    """Give up what was asked for so long ago, whatever it waits for; return how many."""
    return tx.execute(
        update(table)
        .where(table.c.state.in_(_OPEN), table.c.created_at < now() - older_than_seconds)
        .values(
            state=PriorState.DEAD.value,
            reason=literal(f"given up after {older_than_seconds:.0f} s; before that: ")
            + table.c.reason,
            lease_until=None,
            finished_at=now(),
            updated_at=now(),
        )
    ).rowcount


def get(tx: Connection, prior_id: int) -> Prior | None:
    """Return the request or prior of this number, or None."""
    row = tx.execute(select(*_COLUMNS).where(table.c.id == prior_id)).mappings().one_or_none()
    return None if row is None else _prior(row)


def listing(
    tx: Connection,
    study_uid: str | None = None,
    state: PriorState | None = None,
    limit: int = 100,
) -> list[Prior]:
    """Return requests and priors, the newest first, of this study and state where given."""
    conditions: list[ColumnElement[bool]] = []
    if study_uid is not None:
        conditions.append(table.c.study_instance_uid == study_uid)
    if state is not None:
        conditions.append(table.c.state == state.value)
    return [_prior(row) for row in leases.newest(tx, _COLUMNS, table, conditions, limit)]


def counts(tx: Connection) -> dict[PriorState, int]:
    """Return how many requests and priors are in each state."""
    found = leases.counts(tx, table)
    return {state: found.get(state.value, 0) for state in PriorState}


_COLUMNS: list[ColumnElement[Any]] = [
    table.c[name]
    for name in (
        "id",
        "study_instance_uid",
        "node",
        "rule",
        "count",
        "modality",
        "prior_study_uid",
        "state",
        "attempt",
        "created_at",
        "attempts_before",
        "reason",
    )
]


def _enter(tx: Connection, values: dict[str, Any]) -> None:
    tx.execute(
        insert(tx, table)
        .values(**values, **leases.queued_values())
        .on_conflict_do_nothing(
            index_elements=[
                table.c.study_instance_uid,
                table.c.node,
                table.c.rule,
                table.c.prior_study_uid,
            ]
        )
    )


def _end(tx: Connection, prior: Prior, state: PriorState, reason: str) -> bool:
    values = {
        "state": state.value,
        "lease_until": None,
        "finished_at": now(),
        "reason": reason[: leases.REASON_LENGTH],
    }
    return leases.write(tx, table, prior.id, prior.attempt, values)


def _prior(row: RowMapping) -> Prior:
    return Prior(**facts(row, state=PriorState(row["state"])))
