"""Trying rules on a dropped DICOM file or a study in the spool: what matches, why, what follows.

Of a dropped file only its first bytes are kept, as many as hold a header, until the answer is
there; pixel data is never read.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response
from starlette.datastructures import FormData, UploadFile

from gatekeeper.admin.console import Console
from gatekeeper.admin.forms import Typed, word
from gatekeeper.admin.rendering import render
from gatekeeper.admin.routing import Desk, Routes
from gatekeeper.errors import GatekeeperError
from gatekeeper.identifiers import Uid
from gatekeeper.identity.permission import Permission
from gatekeeper.rules.book import parse_book
from gatekeeper.rules.explain import tested
from gatekeeper.rules.facts import Judged, StudyFacts
from gatekeeper.rules.fields import VERDICTS
from gatekeeper.rules.plan import Phase, Plan
from gatekeeper.rules.read import facts_of, study_facts
from gatekeeper.rules.rule import Rule, needed
from gatekeeper.rules.trial import (
    SHOWN,
    Trial,
    TrialRefused,
    files_of,
    judged_by,
    outcome,
    try_on,
)
from gatekeeper.web.guard import audit_of
from storage import instances, nodes, studies
from storage import rules as stored

routes = Routes()

_MOST_SERIES = 12
"""Series whose conditions are shown one by one."""


@routes.get("/rules/try", Permission.VIEW)
def ask(
    request: Request, console: Desk, study: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Ask for a file or a study."""
    return _page(request, console, {"study": study})


@routes.post("/rules/try", Permission.VIEW)
def try_rules(request: Request, console: Desk, form: Typed) -> Response:
    """Show what the rules say of what was dropped, or of a study; nothing is done."""
    asked = {name: word(form, name) for name in ("study", "source", "verdict", "p_value")}
    try:
        judged = judged_by(asked["verdict"], _p_value(asked["p_value"]), (), None)
        with console.database.read() as tx:
            rules = list(parse_book(stored.listing(tx)).rules)
        facts, strange = _facts(console, form, asked, needed(rules) | SHOWN)
    except GatekeeperError as error:
        audit_of(request.scope).reason = str(error)
        return _page(request, console, asked, problem=str(error))
    found = [_shown(try_on(rules, one, judged), rules, one, judged) for one in facts]
    return _page(request, console, asked, trials=found, strange=strange, rules=rules)


def _facts(
    console: Console, form: FormData, asked: Mapping[str, str], names: frozenset[str]
) -> tuple[list[StudyFacts], int]:
    limits = console.settings.rules
    now = time.time()
    dropped = [one for one in form.getlist("files") if isinstance(one, UploadFile) and one.size]
    if not dropped:
        return [_stored(console, asked["study"], names, now)], 0
    with tempfile.TemporaryDirectory(prefix="gatekeeper-trial-") as folder:
        for number, one in enumerate(dropped):
            head = one.file.read(limits.header_kib << 10)
            (Path(folder) / f"{number:04}.dcm").write_bytes(head)
        found, strange = files_of([Path(folder)], limits)
        if not found:
            raise TrialRefused(
                "no DICOM file: neither a file of PS3.10 nor a data set whose header ends within "
                f"{limits.header_kib} KiB (rules.header_kib)"
            )
        source = asked["source"]
        facts = [facts_of(uid, source, found[uid], now, names, limits) for uid in sorted(found)]
    return facts, strange


def _stored(console: Console, study_uid: str, names: frozenset[str], now: float) -> StudyFacts:
    if not study_uid:
        raise TrialRefused("drop a DICOM file, or say the UID of a study that was received")
    uid = Uid.parse(study_uid)
    with console.database.read() as tx:
        study = studies.get(tx, uid)
        content = [] if study is None else instances.of_study(tx, uid)
    if study is None:
        raise TrialRefused("no study of this UID was received")
    kept = [one for one in content if not one.own_result]
    return study_facts(study, kept, console.spool, now, names, console.settings.rules)


def _shown(
    trial: Trial, rules: Sequence[Rule], facts: StudyFacts, judged: Judged | None
) -> dict[str, Any]:
    by_name = {rule.name: rule for rule in rules}
    plans = [("On receipt", trial.on_receipt, facts.values)]
    if trial.once_judged is not None and judged is not None:
        plans.append(("Once judged", trial.once_judged, {**facts.values, **judged.values()}))
    return {
        "trial": trial,
        "letters": trial.letters,
        "plans": [
            {
                "title": title,
                "outcome": list(outcome(plan, trial.letters)),
                "matches": _matches(plan, by_name, facts, values, trial.letters),
            }
            for title, plan, values in plans
        ],
    }


def _matches(
    plan: Plan,
    rules: Mapping[str, Rule],
    facts: StudyFacts,
    values: Mapping[str, Any],
    letters: Mapping[str, str],
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for match in plan.matches:
        rule = rules[match.rule]
        series = facts.series[:_MOST_SERIES] if rule.by_series else ()
        lines = [
            (
                f"series {letters[one.series_instance_uid]}",
                tested(rule.condition, values, one.values),
            )
            for one in series
        ]
        if not rule.by_series:
            lines = [("", tested(rule.condition, values, {}))]
        found.append({"match": match, "lines": lines})
    return found


def _p_value(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise TrialRefused(f"{text}: a p-value is a number from 0 to 1")
    return value


def _page(
    request: Request,
    console: Console,
    asked: Mapping[str, str],
    *,
    problem: str = "",
    trials: Sequence[Mapping[str, Any]] = (),
    strange: int = 0,
    rules: Sequence[Rule] = (),
) -> Response:
    with console.database.read() as tx:
        senders = [str(node.ae_title) for node in nodes.listing(tx) if node.may_send]
    late = [rule.name for rule in rules if rule.enabled and rule.phase is Phase.JUDGED]
    return render(
        request,
        "rule_trial.html",
        http_status=422 if problem else 200,
        problem=problem,
        asked={"study": "", "source": "", "verdict": "", "p_value": ""} | dict(asked),
        trials=trials,
        strange=strange,
        rules=rules,
        late=late,
        senders=senders,
        verdicts=[("", "not yet"), *((one, one) for one in VERDICTS)],
        header_bytes=console.settings.rules.header_kib << 10,
    )
