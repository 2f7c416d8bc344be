"""Trials: what the rules would say of a file or of a study that was received; nothing is done."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import File, Form, UploadFile
from pydantic import Field

from gatekeeper.admin.console import Console
from gatekeeper.admin.routing import Desk, NotFound
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import Answer, Asked, Line
from gatekeeper.identifiers import Uid
from gatekeeper.identity.permission import Permission
from gatekeeper.rules.book import parse_book
from gatekeeper.rules.facts import Judged
from gatekeeper.rules.plan import Plan
from gatekeeper.rules.read import facts_of, study_facts
from gatekeeper.rules.rule import Rule, needed
from gatekeeper.rules.trial import SHOWN, Trial, TrialRefused, files_of, judged_by, outcome, try_on
from gatekeeper.rules.verdict import Verdict
from storage import instances, studies
from storage import rules as stored

routes = ApiRoutes("Rules")

PValue = Annotated[float, Field(ge=0, le=1)]


class OfStudy(Asked):
    """A study that was received, and a verdict that it might have."""

    study: Annotated[Line, Field(max_length=64)]
    verdict: Verdict | None = None
    p_value: PValue | None = None


class Match(Answer):
    """What one rule says, and because of which tests."""

    rule: str
    matched: bool
    because: list[str]
    series: list[str]


class Planned(Answer):
    """What would be done, in words, and what each rule says."""

    outcome: list[str]
    matches: list[Match]


class TrialAnswer(Answer):
    """What the rules say of one study."""

    study: str
    series: dict[str, str]
    problems: list[str]
    on_receipt: Planned
    once_judged: Planned | None


@routes.post("/trials/study", Permission.VIEW, 404)
def try_study(console: Desk, asked: OfStudy) -> TrialAnswer:
    """Tell what the rules would do with a study that was received."""
    rules, judged = _rules(console), _judged(asked.verdict, asked.p_value)
    uid = Uid.parse(asked.study)
    with console.database.read() as tx:
        study = studies.get(tx, uid)
        content = [] if study is None else instances.of_study(tx, uid)
    if study is None:
        raise NotFound("no study of this UID is known")
    kept = [one for one in content if not one.own_result]
    limits, names = console.settings.rules, needed(rules) | SHOWN
    facts = study_facts(study, kept, console.spool, time.time(), names, limits)
    return _told(try_on(rules, facts, judged))


@routes.post("/trials/file", Permission.VIEW)
def try_file(
    console: Desk,
    file: Annotated[UploadFile, File(description="DICOM file; its header is enough.")],
    source: Annotated[Line, Form(max_length=16, description="AE title that sends it.")] = "",
    verdict: Annotated[Verdict | None, Form()] = None,
    p_value: Annotated[PValue | None, Form()] = None,
) -> list[TrialAnswer]:
    """Tell what the rules would do with a study that had this file; it is not kept."""
    rules, judged = _rules(console), _judged(verdict, p_value)
    limits, names = console.settings.rules, needed(rules) | SHOWN
    with tempfile.TemporaryDirectory(prefix="gatekeeper-trial-") as folder:
        (FilePath(folder) / "file.dcm").write_bytes(file.file.read(limits.header_kib << 10))
        found, _ = files_of([FilePath(folder)], limits)
        if not found:
            raise TrialRefused(
                "no DICOM file: neither a file of PS3.10 nor a data set whose header ends within "
                f"{limits.header_kib} KiB (rules.header_kib)"
            )
        return [
            _told(try_on(rules, facts_of(uid, source, files, time.time(), names, limits), judged))
            for uid, files in sorted(found.items())
        ]


def _rules(console: Console) -> list[Rule]:
    with console.database.read() as tx:
        return list(parse_book(stored.listing(tx)).rules)


def _judged(verdict: Verdict | None, p_value: float | None) -> Judged | None:
    return judged_by("" if verdict is None else verdict.value, p_value, (), None)


def _told(trial: Trial) -> TrialAnswer:
    def planned(plan: Plan) -> Planned:
        matches = [Match.model_validate(one) for one in plan.matches]
        return Planned(outcome=list(outcome(plan, trial.letters)), matches=matches)

    later: Any = trial.once_judged
    return TrialAnswer(
        study=trial.study,
        series=trial.series,
        problems=list(trial.problems),
        on_receipt=planned(trial.on_receipt),
        once_judged=None if later is None else planned(later),
    )
