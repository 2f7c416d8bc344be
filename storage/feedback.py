"""Feedback: what reviewers say of verdicts. Kept for good; a reviewer's latest word counts."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from storage.engine import facts, insert, now, plain
from storage.records import Feedback
from storage.schema import feedback as table
from storage.schema import job

CLEAR, SUSPECT = "CLEAR", "SUSPECT"


@dataclass(frozen=True, slots=True)
class Realised:
    """How often studies that a reviewer calls normal were held.

    Attributes:
        normal: verdicts on studies that a reviewer calls normal: SUSPECT and disagreed with, or
            CLEAR and agreed with.
        held: those of them that were SUSPECT.
        missed: CLEAR and disagreed with.
        confirmed: SUSPECT and agreed with.
    """

    normal: int
    held: int
    missed: int
    confirmed: int

    @property
    def false_hold_rate(self) -> float | None:
        """Share of normal studies that were held; None before there is one."""
        return self.held / self.normal if self.normal else None


def add(
    tx: Connection, job_id: int, reviewer: str, verdict: str, *, agrees: bool, remark: str
) -> Feedback:
    """Keep a reviewer's word on the verdict of a job.

    Raises:
        sqlalchemy.exc.IntegrityError: if there is no such job.
    """
    row = tx.execute(
        insert(tx, table)
        .values(
            at=now(),
            job_id=job_id,
            reviewer=plain(reviewer),
            verdict=verdict,
            agrees=agrees,
            remark=plain(remark),
        )
        .returning(*table.c)
    )
    return Feedback(**facts(row.mappings().one()))


def of_study(tx: Connection, study_uid: str) -> list[Feedback]:
    """Return what was said of a study's verdicts, the oldest first."""
    query = (
        select(table)
        .join(job, job.c.id == table.c.job_id)
        .where(job.c.study_instance_uid == study_uid)
        .order_by(table.c.id)
    )
    return [Feedback(**facts(row)) for row in tx.execute(query).mappings()]


def realised(tx: Connection) -> Realised:
    """Count the latest word of each reviewer on each verdict."""
    latest = select(func.max(table.c.id)).group_by(table.c.job_id, table.c.reviewer)
    query = (
        select(table.c.verdict, table.c.agrees, func.count())
        .where(table.c.id.in_(latest))
        .group_by(table.c.verdict, table.c.agrees)
    )
    found = {(verdict, bool(agrees)): count for verdict, agrees, count in tx.execute(query)}
    held = found.get((SUSPECT, False), 0)
    return Realised(
        normal=held + found.get((CLEAR, True), 0),
        held=held,
        missed=found.get((CLEAR, False), 0),
        confirmed=found.get((SUSPECT, True), 0),
    )
