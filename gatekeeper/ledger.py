"""The ledger: whether everything acknowledged is kept, answered once, and sent or waiting.

What does not add up is a difference, with its cause; what adds up but a person may want to know is
a remark (`gatekeeper.accounts`):

- Every row of an instance or a result has its file, of its size and, when asked for, its content.
  A file just received may be in its slot still; one that retention removed is gone on purpose.
- Every file that vouches for itself has a row soon; while recovery is to write it that is a
  remark, and after long a difference.
- Every file has a row. One without is a remark: its sender got no success and sends it again, or
  the worker makes it again; either adopts it by its digest.
- Every complete study has one job a model for its content, and every revision had one.
- Every done job has one outcome, and one delivery to each node that the outcome names.
- Every delivery's objects are stored, or waiting, or it is set aside with a reason; a committed one
  has its node's word. A confirmation that did not come is a remark.
- Every forward has come to an end, or waits for something that is still to come: a verdict, a
  person, or the end of its hold. What was sent to a node, and what it is to be copied as it comes,
  is on a delivery to it, instance by instance. What is held is a remark.
- Every instance that we committed to before a node is kept, and the node has the report or is owed
  it; one that is given up is a remark.
- Every prior study that was asked for is here, or waiting, or given up with a reason, which is a
  remark; and nothing is kept as a prior that was not asked for.
- A notification that is given up is a remark.
- A state that this version does not know is a difference.
- Whatever waits has an owner: a lease that ended long ago, a study quiet for long, a queue that
  nobody serves, and a delivery to a node that is not known are differences.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection

from gatekeeper.accounts import (
    Entry,
    judge_commitment,
    judge_confirmation,
    judge_delivery,
    judge_file,
    judge_job,
    judge_notification,
    judge_prior,
    judge_study,
    judge_unkept,
    judge_unsent,
    judge_vouched,
)
from gatekeeper.forward_accounts import judge_forward, judge_uncopied
from storage import ledger as facts
from storage import ledger_forwards, ledger_priors, slots, stocktake
from storage.engine import Database
from storage.spool import Spool
from storage.stocktake import Kept, SpoolFile

OVERDUE_SECONDS = 300.0
"""Wait after which something without an owner is a difference."""
MOST_ENTRIES = 1000
"""Differences, and remarks, that are kept; the rest are counted."""


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
        for entry, digest in _Comparison(books, spool, overdue_seconds, tx).entries():
            if digest:
                absent.append((digest, entry))
            else:
                books.enter([entry])
        for slot in stocktake.slots_without_instance(tx):
            books.enter([Entry("slot", slot, "it is unsettled and its instance has no row")])
        _enter_rows(books, tx, overdue_seconds)
    with database.read() as tx:
        # Row and file may both have gone while we looked, or the file have got its name.
        books.enter(
            entry
            for digest, entry in absent
            if stocktake.is_kept(tx, digest) and not spool.exists(digest)
        )
    if verify:
        books.enter(_read_files(books, spool))
    return books


def _enter_rows(books: Ledger, tx: Connection, overdue_seconds: float) -> None:
    """Enter every account but the files."""
    for study in facts.studies(tx):
        books.counts[f"studies {study.state}"] += 1
        books.enter(judge_study(study, overdue_seconds))
    for sop_instance, study_uid in facts.without_study(tx):
        books.enter([Entry("instance", sop_instance, f"its study {study_uid} has no row")])
    idle = facts.idle(tx)
    for job in facts.jobs(tx):
        books.counts[f"jobs {job.state}"] += 1
        books.counts["outcomes"] += job.outcomes
        books.enter(judge_job(job, overdue_seconds, idle.jobs))
    books.enter(judge_unsent(*one) for one in facts.unsent(tx))
    _enter_exchanges(books, tx, overdue_seconds, idle)


def _enter_exchanges(
    books: Ledger, tx: Connection, overdue_seconds: float, idle: facts.Idle
) -> None:
    """Enter what goes to other nodes, comes from them, or is told."""
    for delivery in facts.deliveries(tx):
        books.counts[f"deliveries {delivery.state}"] += 1
        books.counts["objects to deliver"] += delivery.items
        books.counts["objects delivered"] += delivery.stored
        books.enter(judge_delivery(delivery, overdue_seconds, idle.deliveries))
    for forward in ledger_forwards.forwards(tx):
        books.counts[f"forwards {forward.state}"] += 1
        books.enter(judge_forward(forward, overdue_seconds))
    for lacking in ledger_forwards.uncopied(tx):
        books.enter(judge_uncopied(lacking, overdue_seconds))
    for asked in facts.confirmations(tx):
        books.counts[f"confirmations {asked.state}"] += 1
        books.enter(judge_confirmation(asked, overdue_seconds, idle.errands))
    for owed in facts.commitments(tx):
        books.counts[f"commitments {owed.state}"] += 1
        books.enter(judge_commitment(owed, overdue_seconds, idle.errands))
    for prior in ledger_priors.priors(tx):
        books.counts[f"priors {prior.state}"] += 1
        books.enter(judge_prior(prior, overdue_seconds, idle.errands))
    unasked = "it is kept as part of a prior study that nobody asked for"
    books.enter(Entry("instance", uid, unasked) for uid in ledger_priors.unasked(tx))
    for told in facts.notifications(tx):
        books.counts[f"notifications {told.state}"] += 1
        books.enter(judge_notification(told, overdue_seconds))


class _Comparison:
    """Rows and files, both in the order of the digests, side by side."""

    def __init__(self, books: Ledger, spool: Spool, overdue_seconds: float, tx: Connection) -> None:
        self._books = books
        self._root = spool.root
        self._overdue = overdue_seconds
        self._at = time.time()
        self._in_slots = stocktake.in_slots(tx)
        self._vouched = stocktake.vouched_slots(spool.root)
        self._rows = stocktake.kept(tx)
        self._files = stocktake.files(spool.root)

    def entries(self) -> Iterator[tuple[Entry, str]]:
        """Yield entries, each with the digest of a file that is missing, or an empty one."""
        file = next(self._files, None)
        owners: list[Kept] = []
        for row in self._rows:
            self._books.counts[f"{row.owner} rows"] += 1
            self._books.counts["instances removed"] += row.removed_for is not None
            while file is not None and (not file.digest or file.digest < row.digest):
                yield from self._of_file(file, owners)
                file, owners = next(self._files, None), []
            found = file if file is not None and file.digest == row.digest else None
            if found is not None:
                owners.append(row)
            for entry in judge_file(row, found, self._slots(row), self._overdue, self._at):
                yield entry, "" if found or entry.remark else row.digest
        while file is not None:
            yield from self._of_file(file, owners)
            file, owners = next(self._files, None), []
        # Of the rest no row knows yet.
        for slot in self._looked_up([slot for names in self._vouched.values() for slot in names]):
            self._books.counts["files without a row yet"] += slot.size is not None
            for entry in judge_vouched(slot, self._overdue, self._at):
                yield entry, ""

    def _slots(self, row: Kept) -> list[stocktake.Slot]:
        names = (
            self._in_slots.pop((row.sop_instance_uid, row.digest), [])
            if row.owner == "instance"
            else []
        )
        self._books.counts["unsettled rows"] += len(names)
        return self._looked_up(names + self._vouched.pop(row.digest, []))

    def _looked_up(self, names: list[str]) -> list[stocktake.Slot]:
        return stocktake.slot_files(self._root, names, self._living) if names else []

    @functools.cached_property
    def _living(self) -> dict[str, bool]:
        return slots.living(self._root)

    def _of_file(self, file: SpoolFile, owners: list[Kept]) -> Iterator[tuple[Entry, str]]:
        self._books.counts["files"] += 1
        self._books.counts["bytes"] += file.size
        if not any(row.removed_for is None for row in owners):
            for entry in judge_unkept(file, self._at, owners):
                yield entry, ""


def _read_files(books: Ledger, spool: Spool) -> Iterator[Entry]:
    """Yield each file whose content is not what its name says."""
    for file in stocktake.files(spool.root):
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
