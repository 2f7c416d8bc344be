"""A small site whose books are balanced by tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sqlalchemy import text

from gatekeeper.ledger import Ledger, balance
from storage import deliveries, instances, jobs, nodes, studies
from storage.engine import Database
from storage.intake import Intake
from storage.records import Instance, Node, Outcome, Result
from storage.spool import Digest, Spool


class Site:
    """A site with one study, analysed and delivered, whose books balance."""

    def __init__(self, database: Database, spool: Spool, an_instance: Callable[..., Instance]):
        self.database, self.spool = database, spool
        with database.begin() as tx:
            nodes.save(tx, Node("PACS", "127.0.0.1", 104, receives_results=True))
            for number in range(3):
                stored = spool.store(f"image {number}".encode())
                item = an_instance(number, digest=stored.digest, size=stored.size)
                instances.record(tx, item, None)
            (found,) = studies.open_studies(tx)
            self.study = found.study.study_instance_uid
            digest = Digest.of(b"content")
            revision = studies.complete(tx, self.study, digest, found.study.last_received_at)
            assert revision == 1
            made = jobs.enqueue(tx, self.study, digest, Digest.of(b"models"), revision)
            assert made is not None
            self.job = made

    def settle(self, outcome: Outcome) -> int:
        """Settle the job with two results, deliver them, and return the delivery."""
        results = [self.result(number) for number in range(2)]
        with self.database.begin() as tx:
            jobs.claim(tx, "worker", 60)
            assert jobs.settle(tx, self.job, 1, outcome, results, ["PACS"])
            sent = deliveries.claim(tx, "sender", 60)
            assert sent is not None
            for item in results:
                deliveries.record_item(tx, sent.id, 1, item.sop_instance_uid, 0, True)
            assert deliveries.finish(tx, sent.id, 1)
        return sent.id

    def result(self, number: int) -> Result:
        """Keep a result and return it."""
        stored = self.spool.store(f"result {number}".encode())
        uid, sop_class = f"2.25.{number + 1}", "1.2.840.10008.5.1.4.1.1.88.34"
        return Result(
            uid, sop_class, "2.25.9", "1.2.840.10008.1.2.1", "report", stored.digest, stored.size
        )

    def take_in(self, instance: Instance, content: bytes, intake: Intake) -> None:
        """Receive as a listener does."""
        with intake.writer() as writer:
            writer.write(content)
            whole = dataclasses.replace(instance, digest=writer.digest, size=writer.size)
            intake.keep(writer, whole, None)

    def books(self, *, verify: bool = False, overdue: float = 300.0) -> Ledger:
        """Balance the books."""
        return balance(self.database, self.spool, verify=verify, overdue_seconds=overdue)

    def execute(self, statement: str) -> None:
        """Write past the program's own ways."""
        with self.database.begin() as tx:
            tx.execute(text(statement))
