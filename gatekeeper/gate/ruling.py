"""Ruling: what the site's rules say of a study, when it is complete and once it is judged.

The facts come from the files in the spool, so rules are asked outside of a transaction that writes;
without a rule no file is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatekeeper.rules.plan import Plan
from gatekeeper.rules.verdict import Verdict
from storage.engine import Database
from storage.records import Forward, Instance, Outcome
from storage.spool import Spool


def on_receipt(database: Database, spool: Spool, study_uid: str) -> Plan:
    """Return what rules say of a study as it is now in the database."""
    del database, spool, study_uid
    return Plan()


def when_judged(
    database: Database, spool: Spool, content: Sequence[Instance], outcome: Outcome
) -> Plan:
    """Return what rules say once this content of a study is judged."""
    del database, spool, content, outcome
    return Plan()


def of_forward(database: Database, spool: Spool, forward: Forward, verdict: Verdict | None) -> Plan:
    """Return what rules say of a forward that has to do without a verdict of its own time."""
    del database, spool, forward, verdict
    return Plan()


def instructions(plan: Plan) -> dict[str, Any]:
    """Return what a job carries of a plan to the worker; empty when there is nothing to say."""
    found = {"models": dict(plan.models), "skipped": dict(plan.skipped)}
    return {name: value for name, value in found.items() if value}
