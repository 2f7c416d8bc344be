"""Drift: streams of series that are compared with what came before, their values, and devices.

A job is due from its settlement until it was looked at, once. Streams and devices are written only
if they are as they were read, so that of two who look at once one finds that it was done.
"""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, RowMapping, delete, exists, literal, select, update

from storage.engine import facts, insert
from storage.records import DriftDevice, DriftDue, DriftObservation, DriftStream
from storage.schema import drift_device as devices_table
from storage.schema import drift_due as due_table
from storage.schema import drift_observation as observation
from storage.schema import drift_stream as table
from storage.schema import header_due, job, outcome

_OBSERVED = [observation.c[one.name] for one in dataclasses.fields(DriftObservation)]


def note(tx: Connection, job_id: int) -> None:
    """Note that a job was settled; written by `settlement.write` alone."""
    tx.execute(
        insert(tx, due_table)
        .values(job_id=job_id)
        .on_conflict_do_nothing(index_elements=[due_table.c.job_id])
    )


def due(tx: Connection, limit: int) -> list[DriftDue]:
    """Return settled jobs that were not looked at, in the order in which they were made."""
    waits = exists(
        select(literal(1)).where(header_due.c.study_instance_uid == job.c.study_instance_uid)
    )
    query = (
        select(
            due_table.c.job_id,
            job.c.study_instance_uid,
            outcome.c.created_at.label("at"),
            outcome.c.evidence,
            waits.label("waits"),
        )
        .join(job, job.c.id == due_table.c.job_id)
        .join(outcome, outcome.c.job_id == due_table.c.job_id)
        .order_by(due_table.c.job_id)
        .limit(limit)
    )
    return [
        DriftDue(**facts(row, waits=bool(row["waits"]))) for row in tx.execute(query).mappings()
    ]


def take(tx: Connection, job_id: int) -> bool:
    """Take a job off the list, to look at it in this transaction; False when it is off."""
    return tx.execute(delete(due_table).where(due_table.c.job_id == job_id)).rowcount == 1


def get(tx: Connection, stream_id: int, *, hold: bool = False) -> DriftStream | None:
    """Return a stream, or None; `hold` keeps it from others until the transaction ends."""
    query = select(table).where(table.c.id == stream_id)
    row = tx.execute(query.with_for_update() if hold else query).mappings().one_or_none()
    return None if row is None else DriftStream(**row)


def find(tx: Connection, device: str, protocol: str, detector: str) -> DriftStream | None:
    """Return the stream of a device, protocol and detector, or None."""
    query = select(table).where(
        table.c.device == device, table.c.protocol == protocol, table.c.detector == detector
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else DriftStream(**row)


def listing(tx: Connection) -> list[DriftStream]:
    """Return all streams by device, protocol and detector."""
    query = select(table).order_by(table.c.device, table.c.protocol, table.c.detector)
    return [DriftStream(**row) for row in tx.execute(query).mappings()]


def observations(tx: Connection, stream: DriftStream) -> list[DriftObservation]:
    """Return the series of a stream since its reference began, the oldest first."""
    query = (
        select(*_OBSERVED)
        .where(
            observation.c.stream_id == stream.id,
            observation.c.number > stream.counted - stream.size,
        )
        .order_by(observation.c.number)
    )
    return [DriftObservation(*row) for row in tx.execute(query)]


def write(tx: Connection, stream: DriftStream, before: DriftStream | None) -> int | None:
    """Write a stream and return its number; None, and nothing written, when it changed since.

    Args:
        tx: the open transaction.
        stream: as it is to be.
        before: as it was read; None for one that is new.
    """
    values = dataclasses.asdict(stream)
    del values["id"]
    if before is None:
        key = [table.c.device, table.c.protocol, table.c.detector]
        made = insert(tx, table).values(values).on_conflict_do_nothing(index_elements=key)
        return tx.execute(made.returning(table.c.id)).scalar_one_or_none()
    if get(tx, before.id, hold=True) != before:
        return None
    tx.execute(update(table).where(table.c.id == before.id).values(values))
    return before.id


def observe(tx: Connection, stream_id: int, one: DriftObservation, keep_from: int) -> bool:
    """Add a series to a stream, and forget those before a number; False when it is there."""
    row = {"stream_id": stream_id, **dataclasses.asdict(one)}
    key = [observation.c.stream_id, observation.c.series_instance_uid]
    added = insert(tx, observation).values(row).on_conflict_do_nothing(index_elements=key)
    made = tx.execute(added.returning(observation.c.id)).scalar_one_or_none()
    tx.execute(
        delete(observation).where(
            observation.c.stream_id == stream_id, observation.c.number < keep_from
        )
    )
    return made is not None


def clear(tx: Connection, stream_id: int) -> None:
    """Forget every series of a stream; those that come have higher numbers."""
    tx.execute(delete(observation).where(observation.c.stream_id == stream_id))


def is_observed(tx: Connection, stream_id: int, series_instance_uid: str) -> bool:
    """Return whether a series is in a stream."""
    query = select(observation.c.id).where(
        observation.c.stream_id == stream_id,
        observation.c.series_instance_uid == series_instance_uid,
    )
    return tx.execute(query).first() is not None


def device(tx: Connection, name: str, *, hold: bool = False) -> DriftDevice | None:
    """Return a scanner, or None; `hold` keeps it from others until the transaction ends."""
    query = select(devices_table).where(devices_table.c.name == name)
    row = tx.execute(query.with_for_update() if hold else query).mappings().one_or_none()
    return None if row is None else _device(row)


def devices(tx: Connection) -> list[DriftDevice]:
    """Return all scanners by their names."""
    query = select(devices_table).order_by(devices_table.c.name)
    return [_device(row) for row in tx.execute(query).mappings()]


def write_device(tx: Connection, one: DriftDevice, before: DriftDevice | None) -> bool:
    """Write a scanner; False, and nothing written, when it changed since it was read."""
    values = dataclasses.asdict(one)
    for name in ("software", "first_lags", "latest_lags"):
        values[name] = list(values[name])
    if before is None:
        key = [devices_table.c.name]
        made = insert(tx, devices_table).values(values).on_conflict_do_nothing(index_elements=key)
        return tx.execute(made.returning(devices_table.c.name)).one_or_none() is not None
    if device(tx, before.name, hold=True) != before:
        return False
    tx.execute(update(devices_table).where(devices_table.c.name == before.name).values(values))
    return True


def _device(row: RowMapping) -> DriftDevice:
    lists = {name: tuple(row[name]) for name in ("software", "first_lags", "latest_lags")}
    return DriftDevice(**facts(row, **lists))
