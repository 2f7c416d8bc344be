"""Trying rules on files: which match, why, and what would happen; nothing is done."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from gatekeeper.cli.output import console, emit_json, fail
from gatekeeper.cli.site import Site
from gatekeeper.rules.book import parse_book
from gatekeeper.rules.facts import Judged
from gatekeeper.rules.plan import Phase, Plan
from gatekeeper.rules.read import facts_of
from gatekeeper.rules.rule import Rule, needed
from gatekeeper.rules.toml_text import read_rules
from gatekeeper.rules.trial import SHOWN, Trial, files_of, judged_by, outcome, try_on
from storage import rules as stored

__all__ = ["Question", "judged_by", "try_rules"]


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        paths: DICOM files and folders.
        source: AE title that they came from.
        at: local time that they were received at; None for now.
        judged: what was found in them; None when rules about that are not asked.
        rules: TOML file of the rules; None for those of the site.
    """

    paths: list[Path]
    source: str
    at: datetime | None
    judged: Judged | None
    rules: Path | None


def try_rules(site: Site, question: Question, *, as_json: bool) -> None:
    """Print what the rules say of each study among the files."""
    asked = (
        _rules_of_site(site)
        if question.rules is None
        else read_rules(question.rules, question.rules.stem)
    )
    limits = site.settings.rules
    studies, strange = files_of(question.paths, limits)
    if not studies:
        fail("no DICOM file there")
    now = time.time() if question.at is None else question.at.timestamp()
    names = needed(asked) | SHOWN
    answers = [
        try_on(
            asked, facts_of(uid, question.source, studies[uid], now, names, limits), question.judged
        )
        for uid in sorted(studies)
    ]
    if as_json:
        emit_json([asdict(answer) for answer in answers])
        return
    if not asked:
        console.print("No rules yet; `gatekeeper rule add` adds one.")
    for answer in answers:
        _print(answer, asked)
    if strange:
        console.print(f"{strange} files are not DICOM, or cannot be read.")


def _rules_of_site(site: Site) -> list[Rule]:
    with site.database() as database, database.read() as tx:
        return list(parse_book(stored.listing(tx)).rules)


def _print(answer: Trial, rules: list[Rule]) -> None:
    console.print(f"[bold]{escape(answer.study)}[/]", highlight=False)
    letters = answer.letters
    for uid, words in answer.series.items():
        console.print(f"  series {letters[uid]}: {words}", markup=False, highlight=False)
    for problem in answer.problems:
        console.print(f"  [yellow]{escape(problem)}[/]", highlight=False)
    _print_matches("On receipt", answer.on_receipt, letters)
    _print_plan(answer.on_receipt, letters)
    late = [rule.name for rule in rules if rule.enabled and rule.phase is Phase.JUDGED]
    if answer.once_judged is not None:
        _print_matches("Once judged", answer.once_judged, letters)
        _print_plan(answer.once_judged, letters)
    elif late:
        console.print(
            f"Asked once there is a verdict (--verdict, --p): {', '.join(late)}", markup=False
        )


def _print_matches(title: str, plan: Plan, letters: dict[str, str]) -> None:
    if not plan.matches:
        return
    table = Table(title=title, title_justify="left")
    for heading in ("rule", "applies", "because", "series"):
        table.add_column(heading, overflow="fold")
    for match in plan.matches:
        table.add_row(
            escape(match.rule),
            "[bold green]yes[/]" if match.matched else "no",
            escape("\n".join(match.because)),
            ", ".join(letters[uid] for uid in match.series),
        )
    console.print(table)


def _print_plan(plan: Plan, letters: dict[str, str]) -> None:
    for line in outcome(plan, letters):
        console.print(f"  → {line}", markup=False, highlight=False)
