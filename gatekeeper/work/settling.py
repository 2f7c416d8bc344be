"""Settling: all that the end of a job means, in one transaction under its attempt's fence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from sqlalchemy import Connection

from gatekeeper.gate import passing
from gatekeeper.gate.policy import policy_of
from gatekeeper.notify.announce import announce
from gatekeeper.notify.events import StudyNotDecided, is_undecided
from gatekeeper.rules.plan import Plan
from gatekeeper.settings import Settings
from gatekeeper.work.destinations import taken_of
from storage import clinical_values, failpoint, jobs, nodes
from storage import configuration_versions as versions
from storage.records import ClinicalValue, Job, Outcome, Result


def settle(
    tx: Connection,
    done: passing.Proceedings,
    job: Job,
    outcome: Outcome,
    results: Sequence[Result],
    plan: Plan,
    settings: Settings,
    measured: Sequence[ClinicalValue] = (),
) -> bool:
    """Write outcome, results, deliveries, who is told, and what passes the gate.

    Args:
        tx: the open transaction.
        done: takes what the gate did, to be logged once it is committed.
        job: as claimed.
        outcome: what was found.
        results: all result objects.
        plan: what rules say once it is judged.
        settings: of the site.
        measured: what the study's reports bring, to be kept for it and for others.

    Returns:
        False, and nothing written, when the job is no longer this attempt's.
    """
    known = nodes.listing(tx)
    takers = taken_of(known, results)
    policy = policy_of(tx, settings.gate)
    # With what was in force the decision can be followed later; see `gatekeeper config show`.
    in_force = {"configuration": versions.latest_number(tx), "policy": asdict(policy)}
    outcome = replace(outcome, evidence=outcome.evidence | in_force)
    failpoint.reached("worker.settling", job.study_instance_uid)
    if not jobs.settle(tx, job.id, job.attempt, outcome, results, *takers):
        return False
    clinical_values.add(tx, measured)
    if is_undecided(outcome.verdict) and not outcome.evidence.get(passing.LEFT_OUT):
        undecided = StudyNotDecided(job.study_instance_uid, job.id, outcome.verdict)
        announce(tx, undecided, str(job.id))
    passing.judged(tx, done, job, outcome, plan, policy, known)
    return True
