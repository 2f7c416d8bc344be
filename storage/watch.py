"""What a monitoring system asks, every few seconds for ever: each answer is a bounded index read.

Nothing here reads a table from end to end, except `latest_of_senders`, which is asked once a
process. What waits is counted in the index of states, up to `MOST` a state; what came and what
ended is read from where the last look stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Table, func, select

from storage.engine import CLOCK_STEP_SECONDS, now
from storage.records import DeliveryState, ForwardState, JobState, StudyState
from storage.schema import (
    commitment,
    confirmation,
    delivery,
    forward,
    instance,
    job,
    notification,
    outcome,
    prior,
    shadow_outcome,
    study,
    unsettled,
)
from storage.waiting import MOST, STATES, waiting

_AT_ONCE = 500
_QUEUES: dict[str, tuple[Table, tuple[str, ...]]] = {
    "analyse": (job, STATES),
    "deliver": (delivery, STATES),
    "confirm": (confirmation, (*STATES, "resending")),
    "commit": (commitment, STATES),
    "fetch": (prior, STATES),
    "notify": (notification, STATES),
    "shadow": (shadow_outcome, STATES),
}


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits at one stage of a study's way.

    Attributes:
        counts: rows in each state that is not an end, and those given up; see `storage.waiting`.
        oldest_seconds: age of the oldest row that is not dead; 0 without any.
    """

    counts: dict[str, int]
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Holds:
    """What is held for a person.

    Attributes:
        counts: forwards held, by node.
        first_end_at: when the first of them ends, seconds since 1970; None when none ends.
    """

    counts: dict[str, int]
    first_end_at: float | None


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of one sender: new instances, their bytes, and when the newest came."""

    instances: int
    size: int
    latest_at: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One study's outcome.

    Attributes:
        source_ae: AE title of the study's sender.
        seconds: from the queueing of the job to its end.
        stages: milliseconds of each stage of the work.
    """

    source_ae: str
    verdict: str
    seconds: float
    stages: dict[str, float]


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivery that a node has; `seconds` from its queueing to its end."""

    node: str
    seconds: float


def queues(tx: Connection) -> dict[str, Queue]:
    """Return what waits at each stage, from receiving on."""
    found = {"receive": receiving(tx), "gate": _at_the_gate(tx)}
    for stage, (table, states) in _QUEUES.items():
        found[stage] = _queue(tx, table, states)
    return found


def receiving(tx: Connection) -> Queue:
    """Return the studies that are received; their age is the time since anything of them came."""
    some = (
        select(study.c.last_received_at)
        .where(study.c.state == StudyState.RECEIVING.value)
        .limit(MOST)
        .subquery()
    )
    query = select(func.count(), now() - func.min(some.c.last_received_at)).select_from(some)
    count, age = tx.execute(query).one()
    return Queue({StudyState.RECEIVING.value: count}, max(0.0, age or 0.0))


def holds(tx: Connection) -> Holds:
    """Return what is held, by node; the newest `MOST`."""
    held = forward.c.state == ForwardState.HELD.value
    some = (
        select(forward.c.node, forward.c.hold_until)
        .where(held)
        .order_by(forward.c.id.desc())
        .limit(MOST)
        .subquery()
    )
    query = select(some.c.node, func.count(), func.min(some.c.hold_until)).group_by(some.c.node)
    rows = tx.execute(query).all()
    ends = [row[2] for row in rows if row[2] is not None]
    return Holds({row[0]: row[1] for row in rows}, min(ends, default=None))


def not_settled(tx: Connection) -> int:
    """Return how many acknowledged files are still in their slots; a short table."""
    return tx.execute(select(func.count()).select_from(unsettled)).scalar_one()


def latest_of_senders(tx: Connection) -> dict[str, float]:
    """Return when the newest instance of each sender's studies came, seconds since 1970.

    This reads all studies: some 30 ms for 100,000.
    """
    query = select(study.c.source_ae, func.max(study.c.last_received_at)).group_by(
        study.c.source_ae
    )
    return {row[0]: row[1] for row in tx.execute(query)}


class Arrivals:
    """The instances that came since the last look, by sender.

    Args:
        settled_seconds: age of a row from which it is counted. Numbers are given out before the
            rows are committed, so a younger row may still get a neighbour below it (PostgreSQL).
        limit: most rows of one look; what is left is for the next.
    """

    def __init__(self, settled_seconds: float, limit: int) -> None:
        self._settled_seconds = settled_seconds
        self._limit = limit
        self._after: int | None = None

    def look(self, tx: Connection) -> dict[str, Arrived]:
        """Return what came since the last look; the first one only begins."""
        newest = tx.execute(select(func.max(instance.c.id))).scalar_one() or 0
        if self._after is None:
            self._after = newest
            return {}
        last = min(newest, self._after + self._limit)
        age = now() - instance.c.received_at
        young = age.between(-CLOCK_STEP_SECONDS, self._settled_seconds)
        looked_at = instance.c.id > self._after, instance.c.id <= last
        fresh = select(func.min(instance.c.id)).where(*looked_at, young)
        if (first := tx.execute(fresh).scalar_one()) is not None and self._settled_seconds:
            last = first - 1
        rows = tx.execute(
            select(
                instance.c.source_ae,
                func.count(),
                func.sum(instance.c.size),
                func.max(instance.c.received_at),
            )
            .where(instance.c.id > self._after, instance.c.id <= last)
            .group_by(instance.c.source_ae)
        ).all()
        self._after = last
        return {row[0]: Arrived(row[1], int(row[2]), row[3]) for row in rows}


class Endings:
    """The rows of a leased table that came to their good end since the last look.

    What is not at its end (dead rows too: they may be tried again) is read from the index of states
    alone, and compared with the last look: its cost grows with what waits, and not with what was.

    Args:
        table: a leased table.
        ends: its states of a good end.
    """

    def __init__(self, table: Table, ends: Sequence[str]) -> None:
        self._table = table
        self._ends = tuple(ends)
        self._open: set[int] | None = None
        self._newest = 0

    def look(self, tx: Connection) -> list[int]:
        """Return the numbers of those rows; the first look only begins."""
        table = self._table
        found: set[int] = set()
        for state in STATES:
            rows = select(table.c.id).where(table.c.state == state)
            found.update(tx.execute(rows.order_by(table.c.id.desc()).limit(MOST)).scalars())
        newest = tx.execute(select(func.max(table.c.id))).scalar_one() or 0
        before, self._open = self._open, found
        after, self._newest = self._newest, newest
        if before is None:
            return []
        ended = set(self._at_an_end(tx, sorted(before - found)))
        for state in self._ends:
            new = select(table.c.id).where(table.c.state == state, table.c.id > after)
            ended.update(tx.execute(new.order_by(table.c.id.desc()).limit(MOST)).scalars())
        return sorted(ended)

    def _at_an_end(self, tx: Connection, ids: Sequence[int]) -> Iterator[int]:
        table = self._table
        for some in _batches(ids):
            query = select(table.c.id).where(table.c.id.in_(some), table.c.state.in_(self._ends))
            yield from tx.execute(query).scalars()


def jobs_ending() -> Endings:
    """Return what tells the jobs that ended with an outcome."""
    return Endings(job, [JobState.DONE.value])


def deliveries_ending() -> Endings:
    """Return what tells the deliveries that a node has."""
    return Endings(delivery, [DeliveryState.DELIVERED.value, DeliveryState.COMMITTED.value])


def judged(tx: Connection, job_ids: Sequence[int]) -> Iterator[Judged]:
    """Yield the outcomes of these jobs, by their primary keys."""
    for some in _batches(job_ids):
        query = (
            select(
                study.c.source_ae,
                outcome.c.verdict,
                (job.c.finished_at - job.c.created_at).label("seconds"),
                outcome.c.stages,
            )
            .select_from(job.join(outcome, outcome.c.job_id == job.c.id).join(study))
            .where(job.c.id.in_(some))
        )
        for row in tx.execute(query):
            yield Judged(row[0], row[1], max(0.0, row[2] or 0.0), row[3])


def delivered(tx: Connection, delivery_ids: Sequence[int]) -> Iterator[Delivered]:
    """Yield these deliveries, by their primary keys."""
    for some in _batches(delivery_ids):
        seconds = delivery.c.finished_at - delivery.c.created_at
        query = select(delivery.c.node, seconds).where(delivery.c.id.in_(some))
        for row in tx.execute(query):
            yield Delivered(row[0], max(0.0, row[1] or 0.0))


def _queue(tx: Connection, table: Table, states: tuple[str, ...]) -> Queue:
    found = waiting(tx, table, states)
    return Queue(found.counts, max(found.ages.values(), default=0.0))


def _at_the_gate(tx: Connection) -> Queue:
    """Forwards that wait for a verdict; what is held is told by `holds`."""
    return _queue(tx, forward, (ForwardState.WAITING.value,))


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
