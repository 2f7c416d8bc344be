"""`gatekeeper backtest`: past studies decided by other terms, before anyone activates them."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from gatekeeper.cli.output import console, emit_json, error_console, fail
from gatekeeper.cli.site import AsJson, Site, site_of
from gatekeeper.errors import ConfigurationError
from storage.engine import Database

if TYPE_CHECKING:
    from gatekeeper.backtest.candidate import Candidate
    from gatekeeper.backtest.comparison import Comparison
    from gatekeeper.backtest.past import Past

SHOWN = 30
"""Changed studies that the terminal lists."""

FalseHoldRate = Annotated[
    float | None, typer.Option("--false-hold-rate", help="threshold of the verdict, as 0.02")
]
RuleFile = Annotated[
    Path | None,
    typer.Option("--rules", help="TOML file of rules, in place of all that are in force"),
]
PolicyValues = Annotated[
    list[str] | None, typer.Option("--policy", help="KEY=VALUE as `policy show` lists it; repeat")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="file of `config export`: all that it says")
]
Model = Annotated[
    str,
    typer.Option("--model", help="BUNDLE, or BUNDLE@FOLDER of one that is not installed here"),
]
Since = Annotated[str, typer.Option(help="only studies judged from then on: 2026-05-01")]
Out = Annotated[Path | None, typer.Option(help="write one HTML page there")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(backtest)


def backtest(
    context: typer.Context,
    false_hold_rate: FalseHoldRate = None,
    rules: RuleFile = None,
    policy: PolicyValues = None,
    config: ConfigFile = None,
    model: Model = "",
    since: Since = "",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="most studies, the newest; 200 with --model, else 100000"),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="file of answers of --model: what is in it is not analysed again"),
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Show which past studies would be held or passed otherwise. Nothing is changed or sent."""
    need_worker_libraries()
    from gatekeeper.backtest.past import Past

    site = site_of(context)
    with site.database() as database:
        wanted = candidate_of(site, database, false_hold_rate, rules, policy, config, model)
        usual = 200 if wanted.models is not None else 100_000
        past = Past(database, moment_of(since), limit or usual)
        found = _run(site, database, wanted, past, keep)
    if out is not None:
        write_page(out, found)
    if as_json:
        emit_json(as_document(found))
        return
    show(found)


def need_worker_libraries() -> None:
    """End the command where the libraries are missing that look back: those of a worker."""
    if importlib.util.find_spec("scipy") is None:
        fail("looking back takes the worker's libraries: pip install 'dicom-gatekeeper[worker]'")


def candidate_of(
    site: Site,
    database: Database,
    false_hold_rate: float | None,
    rules: Path | None,
    policy: list[str] | None,
    config: Path | None,
    model: str,
) -> Candidate:
    """Return the candidate of a command's options: exactly one kind, or ends the command."""
    from gatekeeper.backtest import candidate
    from gatekeeper.configuration import file
    from gatekeeper.configuration.whole import Whole
    from gatekeeper.rules.book import surroundings
    from gatekeeper.rules.document import write_rule
    from gatekeeper.rules.toml_text import read_rules
    from models.registry import Registry, read_bundle

    given = [false_hold_rate is not None, rules is not None, bool(policy), config is not None]
    if sum([*given, bool(model)]) != 1:
        fail("say one of --false-hold-rate, --rules, --policy, --config and --model")
    if false_hold_rate is not None:
        return candidate.of_policy({candidate.FALSE_HOLD_RATE: false_hold_rate})
    if policy:
        return candidate.of_policy(dict(_pair(one) for one in policy))
    if rules is not None:
        with database.read() as tx:
            around = surroundings(tx, site.settings)
        return candidate.of_rules([write_rule(one) for one in read_rules(rules, "")], around)
    if config is not None:
        whole, stated = Whole.of(site.settings), file.stated(config)
        with database.read() as tx:
            running = whole.read(tx)
        # As `config import` takes it: a section that the file does not name is left as it is.
        kept = {name: items for name, items in running.items() if name not in stated}
        rules_too = any(section.name == "rules" for section in whole.sections)
        return candidate.of_configuration(kept | whole.parse(stated), rules=rules_too)
    name, _, folder = model.partition("@")
    if folder:
        return candidate.of_model(read_bundle(Path(folder) / name), folder=folder)
    return candidate.of_model(Registry(site.settings.models.directories).get(name))


def _run(
    site: Site, database: Database, wanted: Candidate, past: Past, keep: Path | None
) -> Comparison:
    from gatekeeper.backtest.candidate import IN_FORCE
    from gatekeeper.backtest.replay import Ground, Replay, compared

    with database.read() as tx:
        now, then = (one.terms(tx, site.settings) for one in (IN_FORCE, wanted))
    ground = Ground(database, site.spool, site.settings.rules)
    with (
        Progress(console=error_console, transient=True) as bar,
        _answering(site, database, wanted, keep) as answer,
    ):
        task = bar.add_task("studies", total=None if wanted.models is None else past.limit)
        replay = Replay(ground, now, then, answer)
        return compared(
            replay, past, wanted.in_words, lambda count: bar.update(task, completed=count)
        )


@contextmanager
def _answering(
    site: Site, database: Database, wanted: Candidate, keep: Path | None
) -> Generator[Any]:
    """Yield what analyses studies with the candidate's models; None where it names none."""
    import threading

    from gatekeeper.backtest.again import Again, other_models
    from gatekeeper.backtest.kept import Keeping
    from gatekeeper.work.process import Child, ChildLimits

    with database.read() as tx:
        models = other_models(tx, wanted, site.settings)
    if models is None:
        yield None
        return
    work = site.settings.work
    child = Child(ChildLimits(work.memory_mib, work.device, work.threads))
    again = Again(database, site.spool, site.settings, models, child, threading.Event())
    try:
        yield Keeping(again, keep).answer
    finally:
        child.stop()


def show(found: Comparison) -> None:
    """Print a comparison as a table, with the newest studies that would change."""
    from gatekeeper.backtest.tables import COLUMNS, comparison_rows

    table = Table(title=f"Candidate: {escape(found.candidate)}", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in comparison_rows(found):
        table.add_row(*map(escape, row))
    console.print(table)
    for reason, count in sorted(found.not_replayable.items()):
        console.print(f"Not replayable: {count:,} ({reason}).", markup=False)
    for sentence in found.problems:
        console.print(sentence, markup=False)
    for pair in found.changed[:SHOWN]:
        console.print(f"{pair.study_instance_uid}", style="bold", markup=False)
        console.print(f"  now:  {pair.before.reason}", markup=False)
        console.print(f"  then: {pair.after.reason}", markup=False)
    if len(found.changed) > SHOWN:
        console.print(f"{len(found.changed) - SHOWN:,} more; --json or --out has them.")
    if not found.changed:
        console.print("No study would be decided otherwise.")


def as_document(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON: counts with intervals, and every changed study."""
    return {
        "candidate": found.candidate,
        "total": _counts(found.total),
        "groups": [
            {"origin": asdict(origin), **_counts(counts)} for origin, counts in found.groups.items()
        ],
        "transitions": [
            {"before": before, "after": after, "studies": count}
            for (before, after), count in sorted(found.transitions.items())
        ],
        "not_replayable": dict(found.not_replayable),
        "problems": list(found.problems),
        "changed": [asdict(pair) for pair in found.changed],
    }


def _counts(counts: Any) -> dict[str, Any]:
    return {
        **asdict(counts),
        "before": counts.before.as_list(),
        "after": counts.after.as_list(),
        "mcnemar_p": counts.mcnemar,
    }


def write_page(path: Path, found: Comparison, title: str = "Backtest") -> None:
    """Write the page of a comparison, or end the command without what draws."""
    try:
        from gatekeeper.backtest.page import of_comparison
    except ModuleNotFoundError:
        fail("--out draws with matplotlib: pip install 'dicom-gatekeeper[training]'")
    path.write_text(of_comparison(found, title), encoding="utf-8")
    error_console.print(f"Wrote {path}.", highlight=False)


def moment_of(text: str) -> float:
    """Return a local date or time as seconds since the epoch; 0 for an empty text."""
    import datetime

    if not text:
        return 0.0
    try:
        return datetime.datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        fail(f"--since {text!r} is not a date such as 2026-05-01")


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigurationError(text, "is not KEY=VALUE")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
