"""Rules as stored, from completion through the worker to the gate."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.passage import DOWNSTREAM
from work.phantoms import Ward, series

from gatekeeper import periodic
from gatekeeper.rules.book import save, surroundings
from gatekeeper.rules.document import parse_rule
from gatekeeper.work.worker import Worker
from storage import audit, forwards, instances, jobs, nodes, outcomes, priors
from storage.records import Forward, Job, Node, Role

CT, OTHER = "1.2.826.0.1.3680043.8.498.80", "1.2.826.0.1.3680043.8.498.81"


class Line:
    """A ward whose studies are completed by the tick and analysed by a worker of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.ward = Ward(folder, url)
        settings = self.ward.settings
        self.ward.settings = replace(settings, listen=replace(settings.listen, quiet_seconds=0.0))
        self.context = periodic.Context(self.ward.settings, self.ward.database, self.ward.spool)
        self.worker = Worker(self.ward.settings, self.ward.database, self.ward.spool)
        with self.ward.database.begin() as tx:
            nodes.save(tx, DOWNSTREAM)
            nodes.save(tx, Node("PACS", "127.0.0.1", 104, receives_results=True))
            nodes.save(tx, Node("READING", "127.0.0.1", 11, roles=(Role.WORKSTATION,)))

    def rule(self, name: str, when: list[Any], then: list[Any]) -> None:
        rule = parse_rule({"name": name, "when": when, "then": then})
        with self.ward.database.begin() as tx:
            save(tx, rule, surroundings(tx, self.ward.settings))

    def receive(self, study: str, **fields: Any) -> Job:
        """Receive and complete a study, and return its job."""
        self.ward.receive(series(2, modality="CT", study=study, **fields))
        assert periodic.tick_complete(self.context) == 1
        with self.ward.database.read() as tx:
            return jobs.listing(tx, study=study)[0]

    def forward(self, study: str, node: str = "AI") -> Forward:
        with self.ward.database.read() as tx:
            return forwards.listing(tx, study=study, node=node)[0]


@pytest.fixture
def line(tmp_path: Path, sqlite_url: str) -> Generator[Line]:
    made = Line(tmp_path, sqlite_url)
    yield made
    made.worker.close()
    made.ward.database.dispose()


def test_without_rules_no_file_is_opened_and_nothing_is_said(line: Line) -> None:
    """A job of routine without instructions, though its files are gone."""
    line.ward.receive(series(2, modality="CT", study=CT))
    with line.ward.database.read() as tx:
        for one in instances.of_study(tx, CT):
            line.ward.spool.remove(one.digest)
    assert periodic.tick_complete(line.context) == 1
    with line.ward.database.read() as tx:
        [job] = jobs.listing(tx, study=CT)

    assert (job.priority, job.instructions) == (0, {})


def test_a_study_that_rules_leave_out_passes_without_results(line: Line) -> None:
    """The job carries the rule to the child, which makes no result object; the gate lets pass."""
    line.rule("no scouts", ["SeriesDescription is SCOUT"], [{"skip": True}])
    job = line.receive(CT, description="SCOUT")
    assert job.instructions == {"skipped": {f"{CT}.1": "no scouts"}}

    assert line.worker.run_once()

    with line.ward.database.read() as tx:
        outcome = outcomes.of_job(tx, job.id)
        assert outcomes.results_of_job(tx, job.id) == []
        lines = audit.listing(tx, CT)
    assert outcome is not None
    assert outcome.reason == "Not assessed: left out by rule 'no scouts'."
    # What was in force, for the decision record.
    assert outcome.evidence["policy"]["suspect"] == "hold"
    assert outcome.evidence["configuration"] >= 0
    forward = line.forward(CT)
    assert (forward.state, forward.decided_by) == ("sent", "rule no scouts")
    assert [one.actor for one in lines] == ["rule no scouts"]


def test_rules_about_the_verdict_hold_and_forward_with_the_job(line: Line) -> None:
    """What is not calibrated passes by policy, unless a rule holds it; another one sends it on."""
    line.rule("look first", ["verdict is UNCALIBRATED"], [{"hold": "AI", "hours": 3}])
    line.rule("tell", ["verdict is UNCALIBRATED"], [{"forward": "READING"}])
    line.receive(CT)

    assert line.worker.run_once()
    periodic.tick_forward(line.context)

    held = line.forward(CT)
    assert held.state == "held"
    assert held.reason.startswith("Held by rule look first as UNCALIBRATED.")
    assert held.hold_until is not None
    assert held.held_at is not None
    assert held.hold_until - held.held_at == pytest.approx(3 * 3600, abs=1)
    assert line.forward(CT, "READING").state == "sent"


def test_urgent_studies_are_analysed_first_and_every_third_claim_takes_the_oldest(
    line: Line,
) -> None:
    """Nobody waits for ever behind what is urgent."""
    line.rule("urgent", ["StudyDescription is STROKE"], [{"priority": "urgent"}])
    routine = [line.receive(f"{CT}.{number}").id for number in range(2)]
    urgent = [
        line.receive(f"{OTHER}.{number}", StudyDescription="STROKE").id for number in range(3)
    ]
    for _ in range(5):
        assert line.worker.run_once()

    with line.ward.database.read() as tx:
        done = sorted(jobs.listing(tx), key=lambda job: job.finished_at or 0.0)
    first, second, third = urgent
    assert [job.id for job in done] == [first, second, routine[0], third, routine[1]]


def test_a_rule_asks_for_priors_when_a_study_is_complete(line: Line) -> None:
    """In the commit that completes it, so that no verdict comes before the question."""
    with line.ward.database.begin() as tx:
        archive = Node("PACS", "127.0.0.1", 104, receives_results=True, roles=(Role.ARCHIVE,))
        nodes.save(tx, archive)
    line.rule("compare", ["Modality is CT"], [{"priors": "PACS", "count": 2}])
    line.receive(CT)

    with line.ward.database.read() as tx:
        (asked,) = priors.listing(tx, CT)
        assert (asked.node, asked.rule, asked.count) == ("PACS", "compare", 2)
        assert priors.pending(tx, CT)
