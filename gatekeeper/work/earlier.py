"""Earlier reports: what was reported on a study before, as the database has it."""

from __future__ import annotations

from sqlalchemy import Connection

from gatekeeper.results import kinds
from gatekeeper.results.earlier import EarlierReport
from storage import outcomes
from storage.records import Job


def earlier_reports(tx: Connection, job: Job) -> tuple[EarlierReport, ...]:
    """Return the reports of the latest settled job on the same study before this one.

    What was settled stays as it is, and jobs are numbered in the order in which they were made: a
    second attempt of a job finds the same, unless an earlier job was still under way at the first.
    """
    return tuple(
        EarlierReport(
            revision=revision,
            kind=result.kind,
            sop_class_uid=result.sop_class_uid,
            series_instance_uid=result.series_instance_uid,
            sop_instance_uid=result.sop_instance_uid,
            language=result.language,
        )
        for revision, result in outcomes.results_before(tx, job, kinds.DOCUMENTS)
    )
