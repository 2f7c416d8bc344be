"""Settlement: the rows that a job's end leaves; written by `jobs.settle` under its fence."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from storage import drift
from storage.engine import insert, now, plain
from storage.records import Outcome, Result
from storage.schema import job_result, outcome, result


class ResultConflictError(Exception):
    """A result's SOP Instance UID is in use for other content.

    UIDs of results are derived from all that they depend on, so this is a defect of whoever made
    the result. The first content may already be in archives and stays as it is.
    """

    def __init__(self, sop_instance_uid: str) -> None:
        super().__init__("a result with this SOP Instance UID was made before with other content")
        self.sop_instance_uid = sop_instance_uid


def write(
    tx: Connection,
    job_id: int,
    found: Outcome,
    results: Sequence[Result],
    destinations: Sequence[str],
) -> None:
    """Write a job's outcome and results; the caller holds the fence.

    A result made before with the same content is shared by both jobs. `destinations` are the nodes
    that a delivery is made for in the same transaction: what `storage.ledger` compares with.

    Raises:
        ResultConflictError: if one was made before with other content.
        ValueError: if `evidence` or `stages` is not JSON; NaN and infinity are not.
    """
    tx.execute(
        insert(tx, outcome).values(
            job_id=job_id,
            verdict=str(found.verdict),
            reason=plain(found.reason),
            score=found.score,
            p_value=found.p_value,
            evidence=found.evidence,
            stages=found.stages,
            created_at=now(),
            destinations=list(destinations),
        )
    )
    drift.note(tx, job_id)
    for position, made in enumerate(results):
        uid = str(made.sop_instance_uid)
        tx.execute(
            insert(tx, result)
            .values(
                sop_instance_uid=uid,
                sop_class_uid=str(made.sop_class_uid),
                series_instance_uid=str(made.series_instance_uid),
                transfer_syntax_uid=str(made.transfer_syntax_uid),
                kind=made.kind,
                digest=str(made.digest),
                size=made.size,
                language=made.language,
            )
            .on_conflict_do_nothing(index_elements=[result.c.sop_instance_uid])
        )
        kept = select(result.c.digest).where(result.c.sop_instance_uid == uid)
        if tx.execute(kept).scalar_one() != made.digest:
            raise ResultConflictError(uid)
        link = {"job_id": job_id, "position": position, "sop_instance_uid": uid}
        tx.execute(insert(tx, job_result).values(link))
