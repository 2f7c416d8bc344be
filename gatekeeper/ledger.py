"""The ledger: whether everything acknowledged is kept, answered once, and sent or waiting.

The judgement alone, over the facts of `storage.ledger`. What does not add up is a difference, with
its cause; what adds up but a person may want to know is a remark:

- Every row of an instance or a result has its file, of its size and, when asked for, its content.
- Every file has a row. One without is a remark: its sender got no success and sends it again, or
  the worker makes it again; either adopts it by its digest.
- Every complete study has one job a model for its content, and every revision had one.
- Every done job has one outcome, and one delivery to each node that the outcome names.
- Every delivery's objects are stored, or waiting, or it is set aside with a reason.
- Whatever waits has an owner: a lease that ended long ago, a study quiet for long, a queue that
  nobody serves, and a delivery to a node that is not known are differences.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from storage import ledger as facts
from storage.engine import Database
from storage.ledger import DeliveryFacts, JobFacts, Kept, SpoolFile, StudyFacts
from storage.records import DeliveryState, JobState, StudyState
from storage.spool import Spool

OVERDUE_SECONDS = 300.0
"""Wait after which something without an owner is a difference."""
UNDER_WAY_SECONDS = 60.0
"""Age under which a file without a row belongs to a transfer that is not at its end."""
MOST_ENTRIES = 1000
"""Differences, and remarks, that are kept; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the books: what it is about, and what is wrong or worth knowing."""

    account: str
    """``instance``, ``result``, ``file``, ``study``, ``job`` or ``delivery``."""
    key: str
    """UID, digest or number."""
    cause: str
    remark: bool = False
    """True when the books balance in spite of it."""


_UNREASONED = "it is set aside without a reason"
_HELD_OPEN = "its sender is still connected, or `gatekeeper tick` does not run"
_LEASE_OVER = "its lease ended long ago and nobody took it back: `gatekeeper tick` does not run"


@dataclass(slots=True)
class Ledger:
    """The books at one moment."""

    counts: Counter[str] = field(default_factory=Counter[str])
    differences: list[Entry] = field(default_factory=list[Entry])
    remarks: list[Entry] = field(default_factory=list[Entry])

    @property
    def balanced(self) -> bool:
        """Whether there is no difference."""
        return not self.counts["differences"]

    def enter(self, entries: Iterable[Entry]) -> None:
        """Enter differences and remarks."""
        for entry in entries:
            self.counts["remarks" if entry.remark else "differences"] += 1
            kept = self.remarks if entry.remark else self.differences
            if len(kept) < MOST_ENTRIES:
                kept.append(entry)


def balance(
    database: Database,
    spool: Spool,
    *,
    verify: bool = False,
    overdue_seconds: float = OVERDUE_SECONDS,
) -> Ledger:
    """Return the books now. The site may be at work meanwhile.

    Args:
        database: where the rows are.
        spool: where the files are.
        verify: also read every file and compare its content with its name.
        overdue_seconds: wait after which something without an owner is a difference.

    Raises:
        DatabaseUnavailableError, OSError: if they cannot be read.
    """
    books = Ledger()
    absent: list[tuple[str, Entry]] = []
    with database.read() as tx:
        # Rows first: a file is there before its row, so one that is absent now is missing.
        for entry, digest in _compare(books, facts.kept(tx), facts.files(spool.root)):
            if digest:
                absent.append((digest, entry))
            else:
                books.enter([entry])
        for study in facts.studies(tx):
            books.counts[f"studies {study.state}"] += 1
            books.enter(judge_study(study, overdue_seconds))
        for sop_instance, study_uid in facts.without_study(tx):
            books.enter([Entry("instance", sop_instance, f"its study {study_uid} has no row")])
        jobs_idle, deliveries_idle = facts.idle_seconds(tx)
        for job in facts.jobs(tx):
            books.counts[f"jobs {job.state}"] += 1
            books.counts["outcomes"] += job.outcomes
            books.enter(judge_job(job, overdue_seconds, jobs_idle))
        for delivery in facts.deliveries(tx):
            books.counts[f"deliveries {delivery.state}"] += 1
            books.counts["objects to deliver"] += delivery.items
            books.counts["objects delivered"] += delivery.stored
            books.enter(judge_delivery(delivery, overdue_seconds, deliveries_idle))
    with database.read() as tx:
        # Row and file may both have gone while we looked.
        books.enter(entry for digest, entry in absent if facts.is_kept(tx, digest))
    if verify:
        books.enter(_read_files(books, spool))
    return books


def judge_study(study: StudyFacts, overdue_seconds: float) -> Iterator[Entry]:
    """Yield what does not add up about a study."""
    complete = study.state == StudyState.COMPLETE
    late = study.quiet_for > overdue_seconds
    missing = study.revision - study.revisions_with_job
    rules = (
        (not study.instances, "it has no instances"),
        (missing > 0, f"{missing} of {study.revision} revisions have no job"),
        (
            complete and study.instances > 0 and not study.jobs_of_content,
            "it is complete and has no job for its content",
        ),
        (
            study.state == StudyState.RECEIVING and late,
            f"nothing came for {study.quiet_for:.0f} s and it is not complete: {_HELD_OPEN}",
        ),
    )
    yield from _broken("study", study.study_instance_uid, rules)


def judge_job(
    job: JobFacts, overdue_seconds: float, idle_seconds: float | None = None
) -> Iterator[Entry]:
    """Yield what does not add up about a job; `idle_seconds` is the time since any was claimed."""
    done, dead = job.state == JobState.DONE, job.state == JobState.DEAD
    due = job.state == JobState.QUEUED and job.due_for > overdue_seconds
    rules = (
        (done and job.outcomes != 1, "it is done and has no outcome"),
        (
            not done and (job.outcomes or job.results or job.deliveries),
            f"it is {job.state} and has an outcome, results or deliveries",
        ),
        (job.twins > 1, f"{job.twins} jobs are for this revision and these models"),
        *((True, cause) for cause in _wrong_deliveries(job.destinations, job.deliveries)),
        (dead and not job.reason, _UNREASONED),
        (
            job.state == JobState.CLAIMED and _longer(job.lease_over_for, overdue_seconds),
            _LEASE_OVER,
        ),
        (
            due and _longer(idle_seconds, overdue_seconds),
            f"it waits for {job.due_for:.0f} s and no `gatekeeper work` takes jobs",
        ),
    )
    yield from _broken("job", str(job.id), rules)
    if dead and job.reason and not job.reason.startswith("superseded"):
        yield Entry("job", str(job.id), f"set aside: {job.reason}", remark=True)


def judge_delivery(
    delivery: DeliveryFacts, overdue_seconds: float, idle_seconds: float | None = None
) -> Iterator[Entry]:
    """Yield what does not add up about a delivery; `idle_seconds` as for a job."""
    dead = delivery.state == DeliveryState.DEAD
    delivered = delivery.state == DeliveryState.DELIVERED
    waits = not dead and not delivered
    left = delivery.items - delivery.stored
    due = delivery.state == DeliveryState.QUEUED and delivery.due_for > overdue_seconds
    rules = (
        (
            delivery.job_id is not None and delivery.job_state != JobState.DONE,
            f"its job {delivery.job_id} is {delivery.job_state or 'not there'}",
        ),
        (not delivery.items, "it has no objects"),
        (delivery.foreign, f"{delivery.foreign} of its objects are no results of its job"),
        (
            delivered and left,
            f"it is delivered and {left} of {delivery.items} objects are not stored",
        ),
        (dead and not delivery.reason, _UNREASONED),
        (
            waits and not delivery.node_known,
            f"node {delivery.node} is not known; it waits until the node is added again",
        ),
        (
            delivery.state == DeliveryState.CLAIMED
            and _longer(delivery.lease_over_for, overdue_seconds),
            _LEASE_OVER,
        ),
        (
            due
            and delivery.node_ready
            and not delivery.node_busy
            and _longer(idle_seconds, overdue_seconds),
            f"it waits for {delivery.due_for:.0f} s and no `gatekeeper send` takes it",
        ),
    )
    yield from _broken("delivery", str(delivery.id), rules)
    if dead and delivery.reason:
        yield Entry("delivery", str(delivery.id), f"set aside: {delivery.reason}", remark=True)
    elif waits and delivery.node_known and not delivery.node_ready:
        cause = f"it waits until node {delivery.node} is enabled and has a port"
        yield Entry("delivery", str(delivery.id), cause, remark=True)


def judge_file(kept: Kept, file: SpoolFile | None) -> Iterator[Entry]:
    """Yield what does not add up about a row that needs a file."""
    if file is None:
        yield Entry(kept.owner, kept.sop_instance_uid, f"its file {kept.digest} is missing")
    elif kept.size is not None and kept.size != file.size:
        cause = f"its file {kept.digest} has {file.size} bytes where {kept.size} were acknowledged"
        yield Entry(kept.owner, kept.sop_instance_uid, cause)


def judge_unkept(file: SpoolFile, at: float) -> Iterator[Entry]:
    """Yield what is to be said of a file that no row needs; `at` is the time of the look."""
    if not file.digest:
        yield Entry("file", file.path.name, "it is in the spool and its name is no digest")
    elif at - file.changed_at > UNDER_WAY_SECONDS:
        cause = "adoptable: nobody was told that it is kept; whoever made it sends it again"
        yield Entry("file", file.digest, cause, remark=True)


def _compare(
    books: Ledger, rows: Iterator[Kept], files: Iterator[SpoolFile]
) -> Iterator[tuple[Entry, str]]:
    """Yield entries from rows and files, both in the order of digests, with an absent digest."""
    started = time.time()
    file = next(files, None)
    needed = False
    for row in rows:
        books.counts[f"{row.owner} rows"] += 1
        while file is not None and (not file.digest or file.digest < row.digest):
            yield from _of_file(books, file, needed, started)
            file, needed = next(files, None), False
        found = file if file is not None and file.digest == row.digest else None
        needed = needed or found is not None
        for entry in judge_file(row, found):
            yield entry, "" if found else row.digest
    while file is not None:
        yield from _of_file(books, file, needed, started)
        file, needed = next(files, None), False


def _of_file(
    books: Ledger, file: SpoolFile, needed: bool, at: float
) -> Iterator[tuple[Entry, str]]:
    books.counts["files"] += 1
    books.counts["bytes"] += file.size
    if not needed:
        for entry in judge_unkept(file, at):
            yield entry, ""


def _read_files(books: Ledger, spool: Spool) -> Iterator[Entry]:
    """Yield each file whose content is not what its name says."""
    for file in facts.files(spool.root):
        if not file.digest:
            continue
        try:
            with file.path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except FileNotFoundError:
            continue
        books.counts["files verified"] += 1
        if digest != file.digest:
            yield Entry("file", file.digest, "damaged: its content is not what was acknowledged")


def _wrong_deliveries(named: tuple[str, ...] | None, made: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the deliveries made, for the nodes named, or None if unknown."""
    counted = Counter(made)
    for node in sorted(set(made if named is None else named)):
        if counted[node] != 1:
            yield f"{counted[node] or 'no'} deliveries to {node}, where one was made"
    for node in sorted(set(made) - set(made if named is None else named)):
        yield f"a delivery to {node}, which the outcome does not name"


def _broken(account: str, key: str, rules: Iterable[tuple[object, str]]) -> Iterator[Entry]:
    return (Entry(account, key, cause) for wrong, cause in rules if wrong)


def _longer(seconds: float | None, limit: float) -> bool:
    return seconds is None or seconds > limit
