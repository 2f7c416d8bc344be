"""A site whose studies pass the gate: received, completed and judged by the program's own ways."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from work.phantoms import encoded

from gatekeeper import periodic
from gatekeeper.assemble.content import content_digest
from gatekeeper.gate import passing
from gatekeeper.gate.limits import Asked
from gatekeeper.gate.policy import Policy
from gatekeeper.rules.plan import Plan
from gatekeeper.settings import Settings
from storage import deliveries, forwards, instances, jobs, nodes, studies
from storage.engine import Database
from storage.records import (
    DeliveryItem,
    Forward,
    Instance,
    Job,
    Node,
    Outcome,
    Result,
    Role,
)
from storage.spool import Spool
from support.objects import mr_slice

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
ARCHIVE = Node("ARCHIVE", "127.0.0.1", 104, roles=(Role.ARCHIVE,), receives_studies=True)
DOWNSTREAM = Node("AI", "127.0.0.1", 105, roles=(Role.DOWNSTREAM,), receives_studies=True)


def no_rules(_forward: Forward, _verdict: Any) -> Plan:
    return Plan()


class Passage:
    """A database, a spool, an archive that is copied to, and an AI behind the gate."""

    def __init__(self, folder: Path, database: Database, known: Sequence[Node] = ()) -> None:
        self.database = database
        self.spool = Spool(folder / "spool")
        base = Settings()
        self.settings = dataclasses.replace(
            base, listen=dataclasses.replace(base.listen, quiet_seconds=0.0)
        )
        self.context = periodic.Context(self.settings, database, self.spool)
        self.policy = Policy()
        self.ask: Asked = no_rules
        self._numbers = itertools.count(1)
        for node in known or (ARCHIVE, DOWNSTREAM):
            self.add(node)

    def add(self, node: Node) -> None:
        with self.database.begin() as tx:
            nodes.save(tx, node)

    def receive(self, study: str, count: int = 2, **fields: Any) -> list[Instance]:
        """Receive so many new instances of a study."""
        received: list[Instance] = []
        for _ in range(count):
            uid = f"{study}.1.{next(self._numbers)}"
            kept = self.spool.store(_image(uid, study))
            values: dict[str, Any] = {
                "sop_instance_uid": uid,
                "sop_class_uid": MR,
                "transfer_syntax_uid": EXPLICIT,
                "study_instance_uid": study,
                "series_instance_uid": f"{study}.1",
                "modality": "MR",
                "digest": kept.digest,
                "size": kept.size,
                "source_ae": "SCANNER",
            }
            instance = Instance(**(values | fields))
            with self.database.begin() as tx:
                instances.record(tx, instance, None)
            received.append(instance)
        return received

    def complete(self, study: str, plan: Plan | None = None) -> Job:
        """Complete a study as the tick does, with what rules say given, and return its job."""
        if plan is None:
            assert periodic.tick_complete(self.context) >= 1
        else:
            self._complete(study, plan)
        with self.database.read() as tx:
            return jobs.listing(tx, study=study)[0]

    def _complete(self, study: str, plan: Plan) -> None:
        with self.database.begin() as tx:
            found = studies.get(tx, study)
            assert found is not None
            content = content_digest(instances.of_study(tx, study))
            revision = studies.complete(tx, study, content, found.last_received_at)
            assert revision is not None
            jobs.enqueue(tx, study, content, "m" * 64, revision)
            passing.expect(tx, study, content, revision, plan, nodes.listing(tx)).close(tx)

    def judge(
        self,
        study: str,
        verdict: str,
        plan: Plan | None = None,
        results: Sequence[Result] = (),
        **evidence: Any,
    ) -> passing.Proceedings:
        """Settle the job of a study's content as a worker does, with results to the archive."""
        done = passing.Proceedings()
        with self.database.begin() as tx:
            claimed = jobs.claim(tx, "test", 600)
            assert claimed is not None
            assert claimed.study_instance_uid == study
            outcome = Outcome(claimed.id, verdict, f"Because {verdict}.", None, None, evidence)
            assert jobs.settle(tx, claimed.id, claimed.attempt, outcome, results, ["ARCHIVE"])
            known = nodes.listing(tx)
            passing.judged(tx, done, claimed, outcome, plan or Plan(), self.policy, known)
        return done

    def walk(self, study: str, verdict: str, plan: Plan | None = None) -> None:
        """Receive, complete and judge a study."""
        self.receive(study)
        self.complete(study)
        self.judge(study, verdict, plan)

    def forward(self, study: str, node: str = "AI") -> Forward:
        """Return the latest forward of a study to a node."""
        with self.database.read() as tx:
            return forwards.listing(tx, study=study, node=node)[0]

    def forwards(self, study: str, node: str = "AI") -> list[str]:
        """Return the states of a study's forwards to a node, the oldest first."""
        with self.database.read() as tx:
            found = forwards.of_study(tx, study)
        return [one.state.value for one in found if one.node == node]

    def sent(self, node: str) -> list[DeliveryItem]:
        """Return the objects of every delivery to a node, the oldest first."""
        with self.database.read() as tx:
            found = deliveries.listing(tx, node=node, limit=10_000)
            return [item for one in reversed(found) for item in deliveries.items_of(tx, one.id)]

    def uids(self, node: str) -> list[str]:
        return [item.sop_instance_uid for item in self.sent(node)]


def _image(uid: str, study: str) -> bytes:
    dataset = mr_slice(1)
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = uid, study
    return encoded(dataset)
