"""After a fault campaign: is everything that was acknowledged there, once, and in the archive?"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import select

from gatekeeper.ledger import balance
from storage.engine import Database
from storage.schema import delivery, instance, job, job_result, study
from storage.spool import Spool
from support.orthanc import Orthanc
from support.scanners import Journal, data_set_digest

_PAGE = 1000


def unsettled(database: Database) -> list[str]:
    """Return what is not at its end yet: studies, jobs and deliveries by state, with the cause."""
    ended = ("complete", "done", "dead", "delivered")
    found: list[str] = []
    with database.read() as tx:
        waiting = select(study.c.state).where(study.c.state.not_in(ended))
        found += [f"study {state}" for state in tx.execute(waiting).scalars()]
        for name, table in (("job", job), ("delivery", delivery)):
            rows = select(table.c.state, table.c.reason).where(table.c.state.not_in(ended))
            found += [
                f"{name} {state}: {reason or 'no attempt failed'}"
                for state, reason in tx.execute(rows)
            ]
    return found


def faults_found(
    journal: Journal, database: Database, spool: Spool, archive: Orthanc
) -> Iterator[str]:
    """Yield, in one sentence each, whatever broke a promise."""
    yield from lost(journal.acknowledged, database, spool)
    yield from _unanswered(journal, database)
    yield from _wrong_in_archive(database, archive)
    books = balance(database, spool, verify=True, overdue_seconds=0)
    for entry in books.differences:
        yield f"the ledger does not balance: {entry.account} {entry.key}: {entry.cause}"
    for entry in books.remarks:
        # What a kill leaves in a slot waits for the next start of a listener.
        if entry.account not in ("file", "slot"):
            yield f"set aside: {entry.account} {entry.key}: {entry.cause}"


def lost(acknowledged: Mapping[str, str], database: Database, spool: Spool) -> Iterator[str]:
    """Yield each instance that was answered 0000 and is not here with the same data set.

    Args:
        acknowledged: SOP Instance UID -> SHA-256 of the data set.
        database: with the rows.
        spool: with the files.
    """
    with database.read() as tx:
        rows: dict[str, list[str]] = {}
        for uid, digest in tx.execute(select(instance.c.sop_instance_uid, instance.c.digest)):
            rows.setdefault(uid, []).append(digest)
    for uid, told in acknowledged.items():
        paths = [spool.path(digest) for digest in rows.get(uid, [])]
        kept = [data_set_digest(path) for path in paths if path.exists()]
        if told not in kept:
            yield f"instance {uid} was acknowledged and is lost ({len(paths)} rows)"
        if len(paths) > 1:
            yield f"instance {uid} was sent with one content and is kept {len(paths)} times"


def _unanswered(journal: Journal, database: Database) -> Iterator[str]:
    """Yield each study whose newest revision was not done exactly once."""
    revisions = select(study.c.study_instance_uid, study.c.revision)
    answers = select(job.c.study_instance_uid, job.c.revision).where(job.c.state == "done")
    with database.read() as tx:
        newest = {row[0]: row[1] for row in tx.execute(revisions)}
        done = Counter((row[0], row[1]) for row in tx.execute(answers))
    for uid in sorted(journal.studies):
        if done[uid, newest.get(uid, 0)] != 1:
            yield f"study {uid} has {done[uid, newest.get(uid, 0)]} answers to its last content"
    for (uid, revision), times in done.items():
        if times > 1:
            yield f"revision {revision} of study {uid} was analysed into {times} results"


def _wrong_in_archive(database: Database, archive: Orthanc) -> Iterator[str]:
    """Yield whatever the archive has too much, too little, or twice."""
    with database.read() as tx:
        made = (
            select(job_result.c.sop_instance_uid)
            .join(delivery, delivery.c.job_id == job_result.c.job_id)
            .where(delivery.c.state == "delivered")
        )
        expected = Counter(tx.execute(made).scalars())
    there = Counter(_archived(archive))
    for uid in sorted(expected.keys() - there.keys()):
        yield f"result {uid} counts as delivered and is not in the archive"
    for uid in sorted(there.keys() - expected.keys()):
        yield f"result {uid} is in the archive and no settled job made it"
    for uid, times in there.items():
        if times > 1:
            yield f"result {uid} is {times} times in the archive"


def _archived(archive: Orthanc) -> Iterator[str]:
    """Yield the SOP Instance UID of everything in the archive, a page at a time."""
    for since in itertools.count(step=_PAGE):
        query: dict[str, Any] = {"Level": "Instance", "Query": {}, "Expand": True}
        page = json.loads(archive.post("/tools/find", query | {"Since": since, "Limit": _PAGE}))
        yield from (str(one["MainDicomTags"]["SOPInstanceUID"]) for one in page)
        if len(page) < _PAGE:
            return
