"""Ruling: what the site's rules say of a study, when it is complete and once it is judged.

The facts come from the files in the spool, so rules are asked outside of a transaction that writes.
Without a rule no file is opened, and what reads headers is not even imported: a worker needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from gatekeeper.rules.plan import Plan
from gatekeeper.rules.verdict import Verdict
from gatekeeper.settings import RuleSettings
from storage import instances, jobs, outcomes, rules, studies
from storage.engine import Database, now
from storage.records import Forward, Instance, Outcome, Study
from storage.spool import Spool

if TYPE_CHECKING:
    from gatekeeper.rules.facts import Judged


@dataclass(frozen=True, slots=True)
class Court:
    """Where rules are asked.

    Attributes:
        database: with the rules and the rows of the studies.
        spool: with their files.
        limits: of what is read.
    """

    database: Database
    spool: Spool
    limits: RuleSettings

    def on_receipt(self, study_uid: str) -> Plan:
        """Return what rules say of a study as it is now in the database.

        Raises:
            DatabaseUnavailableError: if the database is in trouble.
        """
        return self._ask(study_uid, None, None)

    def when_judged(self, study_uid: str, content: Sequence[Instance], outcome: Outcome) -> Plan:
        """Return what rules say once this content of a study is judged; as `on_receipt`."""
        return self._ask(study_uid, content, lambda: judged_of(outcome))

    def of_forward(self, forward: Forward, verdict: Verdict | None) -> Plan:
        """Return what rules say of a forward that waits too long, or was judged before."""
        return self._ask(
            forward.study_instance_uid, None, lambda: self._judged_before(forward, verdict)
        )

    def _judged_before(self, forward: Forward, verdict: Verdict | None) -> Judged:
        from gatekeeper.rules.facts import Judged

        outcome = None
        if verdict is not None:
            with self.database.read() as tx:
                job = jobs.of_content(tx, forward.study_instance_uid, forward.content_digest)
                outcome = None if job is None else outcomes.of_job(tx, job.id)
        return Judged("") if outcome is None else judged_of(outcome)

    def _ask(
        self,
        study_uid: str,
        content: Sequence[Instance] | None,
        judged: Callable[[], Judged] | None,
    ) -> Plan:
        with self.database.read() as tx:
            if not any(row.enabled for row in rules.listing(tx)):
                return Plan()
            from gatekeeper.rules.book import read_book

            book = read_book(tx).rules
            found = _read(tx, study_uid, content)
        if found is None:
            return Plan()
        from gatekeeper.rules import evaluate
        from gatekeeper.rules.read import study_facts
        from gatekeeper.rules.rule import needed

        study, given, at = found
        facts = study_facts(study, given, self.spool, at, needed(book), self.limits)
        if judged is None:
            return evaluate.on_receipt(book, facts)
        return evaluate.when_judged(book, facts, judged())


def judged_of(outcome: Outcome) -> Judged:
    """Return what rules may ask of an outcome."""
    from gatekeeper.rules.facts import Judged

    scored = [one for one in outcome.evidence.get("series", []) if "p_value" in one]
    own = [bool(one.get("site_calibrated")) for one in scored]
    return Judged(
        verdict="" if outcome.evidence.get("left_out") else outcome.verdict,
        p_value=outcome.p_value,
        detectors=tuple(dict.fromkeys(str(one["profile"]) for one in scored)),
        device_calibrated=all(own) if own else None,
    )


def instructions(plan: Plan) -> dict[str, Any]:
    """Return what a job carries of a plan to the worker; empty when there is nothing to say."""
    found = {"models": dict(plan.models), "skipped": dict(plan.skipped)}
    return {name: value for name, value in found.items() if value}


def _read(
    tx: Connection, study_uid: str, content: Sequence[Instance] | None
) -> tuple[Study, Sequence[Instance], float] | None:
    """Return a study, its content, and the moment that rules about the time are asked about.

    That is its completion, so that a rule says the same before and after the analysis.
    """
    study = studies.get(tx, study_uid)
    if study is None:
        return None
    at = study.completed_at if content is not None else None
    moment = at or tx.execute(select(now())).scalar_one()
    return study, content or instances.of_study(tx, study_uid), moment
