"""Limits: no study waits for a verdict, or is held, for ever. By the database's clock."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from gatekeeper.gate.alerts import Alert, Event
from gatekeeper.gate.passing import OUTCOMES, Proceedings, carry_out
from gatekeeper.gate.policy import Policy, at_limit, decide
from gatekeeper.rules.plan import Plan
from gatekeeper.rules.verdict import Verdict
from storage import forwards, jobs, outcomes, priors, studies
from storage.engine import Database
from storage.records import Forward, JobState, StudyState

_HOUR_SECONDS = 3600.0
_MINUTE_SECONDS = 60.0

Asked = Callable[[Forward, Verdict | None], Plan]
"""What rules say of the study of a forward, with this verdict or with none."""


def look(database: Database, policy: Policy, at_once: int, ask: Asked) -> int:
    """Decide what time decides; return how much. Two may look at once.

    Args:
        database: of the site.
        policy: now in force.
        at_once: most forwards of each kind.
        ask: the rules.

    Raises:
        DatabaseUnavailableError: in trouble; the next call goes on.
    """
    return (
        _without_verdict(database, policy, at_once, ask)
        + _at_limit(database, policy, at_once)
        + _near_limit(database, policy, at_once)
    )


def _without_verdict(database: Database, policy: Policy, at_once: int, ask: Asked) -> int:
    seconds = policy.verdict_minutes * _MINUTE_SECONDS
    with database.read() as tx:
        due = [
            (forward, found)
            for forward, waited in forwards.without_verdict(tx, seconds, at_once)
            if (found := _why(tx, forward, overdue=waited >= seconds, policy=policy))
        ]
    decided = 0
    for forward, (verdict, because, job_id) in due:
        # Read from files, so outside of the transaction that writes.
        plan = ask(forward, verdict)
        decision = decide(verdict, because, forward.node, policy, plan.holds)
        done = Proceedings()
        with database.begin() as tx:
            name = "" if verdict is None else verdict.value
            decided += carry_out(tx, done, forward, decision, name, job_id)
            done.close(tx)
        done.log()
    return decided


def _why(
    tx: Connection, forward: Forward, *, overdue: bool, policy: Policy
) -> tuple[Verdict | None, str, int | None] | None:
    """Return verdict, reason and job that a waiting forward is decided by, None to wait on."""
    job = jobs.of_content(tx, forward.study_instance_uid, forward.content_digest)
    outcome = None if job is None else outcomes.of_job(tx, job.id)
    if job is not None and outcome is not None and priors.pending(tx, forward.study_instance_uid):
        return None
    if job is not None and outcome is not None:
        # The content was judged before, and is the study's content again.
        return Verdict(outcome.verdict), outcome.reason, job.id
    number = None if job is None else job.id
    if overdue:
        because = f"There was none within {policy.verdict_minutes:g} minutes."
        return None, because, number
    study = studies.get(tx, forward.study_instance_uid)
    changing = study is None or study.state is StudyState.RECEIVING
    if job is None or job.state is not JobState.DEAD or changing:
        return None
    return None, f"The analysis was given up: {job.reason}", number


def _at_limit(database: Database, policy: Policy, at_once: int) -> int:
    with database.read() as tx:
        due = forwards.overdue_holds(tx, at_once)
    decided = 0
    for forward in due:
        done = Proceedings()
        with database.begin() as tx:
            decided += carry_out(tx, done, forward, at_limit(policy, forward.reason), "", None)
            done.close(tx)
        done.log()
    return decided


def _near_limit(database: Database, policy: Policy, at_once: int) -> int:
    with database.read() as tx:
        due = forwards.ending_holds(tx, policy.warn_hours * _HOUR_SECONDS, at_once)
    warned = 0
    for forward in due:
        done = Proceedings()
        with database.begin() as tx:
            if forwards.warned(tx, forward):
                outcome = OUTCOMES[policy.at_limit]
                done.alerts.append(
                    Alert(
                        Event.ENDING,
                        forward.study_instance_uid,
                        forward.revision,
                        forward.node,
                        forward.verdict,
                        f"It is {outcome} at the end of the longest hold.",
                        forward.hold_until,
                        outcome,
                    )
                )
            done.close(tx)
        done.log()
        warned += len(done.alerts)
    return warned
