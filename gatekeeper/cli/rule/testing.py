"""`gatekeeper rule test`: which rules match files, why, and what would happen; nothing is done."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from gatekeeper.cli.output import console, emit_json, fail
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.rules.book import read_book
from gatekeeper.rules.evaluate import on_receipt, when_judged
from gatekeeper.rules.facts import Judged, StudyFacts
from gatekeeper.rules.fields import VERDICTS
from gatekeeper.rules.header import UnreadableHeader, read_header, tags_of
from gatekeeper.rules.plan import Phase, Plan
from gatekeeper.rules.read import File, facts_of
from gatekeeper.rules.rule import Rule, needed
from gatekeeper.rules.toml_text import read_rules
from gatekeeper.settings import RuleSettings
from gatekeeper.work.source import quiet
from gatekeeper.work.values import text

_MOST_FILES = 20_000
_IDENTIFYING = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "Modality",
)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(name="test")(test_rules)


@dataclass(frozen=True)
class _Answer:
    """What the rules say of one study."""

    study: str
    series: dict[str, str]
    problems: tuple[str, ...]
    on_receipt: Plan
    once_judged: Plan | None


def test_rules(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders", exists=True)],
    source: Annotated[str, typer.Option(help="AE title that sent it")] = "",
    at: Annotated[
        datetime | None, typer.Option(help="local time it was received at; default: now")
    ] = None,
    verdict: Annotated[str, typer.Option(help=f"ask further with {', '.join(VERDICTS)}")] = "",
    p_value: Annotated[float | None, typer.Option("--p", help="with this p-value")] = None,
    detector: Annotated[
        list[str] | None, typer.Option(help="with a verdict by this bundle; repeat")
    ] = None,
    calibrated: Annotated[
        bool | None,
        typer.Option(help="with a device that has, or has not, a calibration of its own"),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="ask the rules of a TOML file, not those of the site")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which rules match files, why, and what would happen. Nothing is done."""
    judged = _judged(verdict, p_value, tuple(detector or ()), calibrated)
    site = site_of(context)
    asked = _rules_of_file(rules) if rules is not None else _rules_of_site(context)
    studies, strange = _files(paths, site.settings.rules)
    if not studies:
        fail("no DICOM file there")
    now = time.time() if at is None else at.timestamp()
    answers: list[_Answer] = []
    for uid in sorted(studies):
        limits = site.settings.rules
        facts = facts_of(uid, source, studies[uid], now, needed(asked) | _SHOWN, limits)
        answers.append(_answer(asked, facts, judged))
    if as_json:
        emit_json([asdict(answer) for answer in answers])
        return
    if not asked:
        console.print("No rules yet; `gatekeeper rule add` adds one.")
    for answer in answers:
        _print(answer, asked)
    if strange:
        console.print(f"{strange} files are not DICOM, or cannot be read.")


_SHOWN = frozenset({"Modality", "SeriesDescription", "series.kind", "series.images"})


def _judged(
    verdict: str, p_value: float | None, detectors: tuple[str, ...], calibrated: bool | None
) -> Judged | None:
    if verdict and verdict.upper() not in VERDICTS:
        fail(f"no verdict {verdict!r}; there are: {', '.join(VERDICTS)}")
    if p_value is not None and not 0 <= p_value <= 1:
        fail("--p is between 0 and 1")
    if not verdict and p_value is None and not detectors and calibrated is None:
        return None
    return Judged(verdict.upper(), p_value, detectors, calibrated)


def _rules_of_site(context: typer.Context) -> list[Rule]:
    with site_of(context).database() as database, database.read() as tx:
        return list(read_book(tx).rules)


def _rules_of_file(path: Path) -> list[Rule]:
    return read_rules(path, path.stem)


def _files(paths: list[Path], settings: RuleSettings) -> tuple[dict[str, list[File]], int]:
    """Return the files of each study, and how many are no DICOM files."""
    studies: dict[str, list[File]] = defaultdict(list)
    strange = 0
    tags = tags_of(_IDENTIFYING)
    for number, path in enumerate(_walk(paths)):
        if number >= _MOST_FILES:
            fail(f"over {_MOST_FILES} files there; name a smaller folder")
        try:
            header = read_header(path, tags, settings.header_kib << 10)
        except (UnreadableHeader, OSError):
            strange += 1
            continue
        with quiet():
            study, series, sop_instance, sop_class, modality = (
                text(header, keyword) for keyword in _IDENTIFYING
            )
        if not study or not series:
            strange += 1
            continue
        studies[study].append(File(series, sop_instance, sop_class, modality, path))
    return studies, strange


def _walk(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(folder) / name for name in sorted(names))


def _answer(rules: list[Rule], facts: StudyFacts, judged: Judged | None) -> _Answer:
    return _Answer(
        study=facts.study_instance_uid,
        series={one.series_instance_uid: _shown(one.values) for one in facts.series},
        problems=facts.problems,
        on_receipt=on_receipt(rules, facts, trace=True),
        once_judged=None if judged is None else when_judged(rules, facts, judged, trace=True),
    )


def _shown(values: Any) -> str:
    words = (values.get(name, ()) for name in ("Modality", "series.kind", "SeriesDescription"))
    found = [str(one[0]) for one in words if one]
    images = values.get("series.images", ())
    return ", ".join([*found, *(f"{images[0]} images" for _ in images[:1])])


def _print(answer: _Answer, rules: list[Rule]) -> None:
    console.print(f"[bold]{escape(answer.study)}[/]", highlight=False)
    letters = {uid: str(number) for number, uid in enumerate(answer.series, start=1)}
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
    for line in _lines(plan, letters):
        console.print(f"  → {line}", markup=False, highlight=False)


def _lines(plan: Plan, letters: dict[str, str]) -> Iterator[str]:
    for uid, bundle in plan.models.items():
        yield f"series {letters[uid]} is analysed with {bundle}"
    for uid, rule in plan.skipped.items():
        yield f"series {letters[uid]} is not analysed (rule {rule})"
    for forwarding in plan.forwards:
        yield f"forwarded to {forwarding.node} (rule {forwarding.rule})"
    for holding in plan.holds:
        node = holding.node or "every gated node"
        until = "" if holding.hours is None else f", {holding.hours:g} hours at most"
        yield f"held from {node}{until} (rule {holding.rule})"
    for telling in plan.tells:
        yield f"channel {telling.channel} is told (rule {telling.rule})"
    for fetching in plan.fetches:
        what = f"{fetching.count} prior {fetching.modality or 'studies of its modality'}"
        yield f"{what} fetched from {fetching.node} (rule {fetching.rule})"
    if plan.priority:
        yield f"analysed with priority {plan.priority}"
