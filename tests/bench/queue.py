"""How fast jobs are claimed and settled, by 1, 4 and 8 workers, on SQLite and on PostgreSQL.

Each worker is a process that claims the oldest job, settles it, and does nothing in between: two
durable transactions a job (SQLite with synchronous=FULL, PostgreSQL with fsync). All of them start
at once and go on for a fixed time; a run's rate is what all have settled, its fairness the fastest
worker's count over the slowest's, its wait the longest that one claim took. Every run has a fresh
database with so many finished jobs in it. Runs take turns, and with `--against` so do two source
trees. With finished jobs, the plans of the statements that look for work are printed as well.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from rich.console import Console
from rich.table import Table
from sqlalchemy import event
from support.postgres import PostgresServer, durable_server

HERE = Path(__file__).resolve().parents[2]
QUEUED = 8000
STUDY = "1.2.826.0.1"

_MIGRATE = """
import sys
from storage.engine import Database
Database.connect(sys.argv[1]).migrate()
"""

_WORKER = """
import json, sys, time
from storage import jobs
from storage.engine import Database
from storage.records import Outcome

url, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
database = Database.connect(url, 30.0)
outcome = Outcome(0, "NORMAL", "bench", 0.5, 0.5, {"series": []}, {"read": 1.0})
with database.read() as tx:
    jobs.get(tx, 1)
print("ready", flush=True)
sys.stdin.readline()
ended = time.monotonic() + seconds
done, longest = 0, 0.0
while time.monotonic() < ended:
    asked = time.monotonic()
    with database.begin() as tx:
        job = jobs.claim(tx, name, 60.0)
    longest = max(longest, time.monotonic() - asked)
    if job is None:
        break
    with database.begin() as tx:
        assert jobs.settle(tx, job.id, job.attempt, outcome, [], [])
    done += 1
print(json.dumps({"done": done, "longest": longest}))
"""


@dataclass(frozen=True)
class Tree:
    """A source tree whose storage is measured."""

    name: str
    folder: Path

    def python(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a script with this tree's packages."""
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


class Site:
    """Where databases are made: copies of one template for each tree."""

    def __init__(self, folder: Path, server: PostgresServer | None) -> None:
        self._folder = folder
        self._server = server
        self._made = itertools.count(1)
        self._templates: dict[tuple[str, str, int], str] = {}

    @contextlib.contextmanager
    def database(self, kind: str, tree: Tree, finished: int) -> Generator[str]:
        """Give the URL of a fresh database with finished and with queued jobs."""
        key = (kind, tree.name, finished)
        if key not in self._templates:
            self._templates[key] = self._template(kind, tree, finished)
        template = self._templates[key]
        if self._server is None or kind == "sqlite":
            path = self._folder / f"{next(self._made)}.db"
            shutil.copyfile(template, path)
            try:
                yield f"sqlite:///{path}"
            finally:
                for file in self._folder.glob(f"{path.name}*"):
                    file.unlink()
        else:
            name = self._server.create(template)
            try:
                yield self._server.url(name)
            finally:
                self._server.drop(name)

    def _template(self, kind: str, tree: Tree, finished: int) -> str:
        if self._server is None or kind == "sqlite":
            name = str(self._folder / f"template-{tree.name}-{finished}.db")
            url = f"sqlite:///{name}"
        else:
            name = self._server.create("template0")
            url = self._server.url(name)
        run = tree.python(_MIGRATE, url)
        run.communicate(timeout=120)
        if run.returncode:
            raise RuntimeError(f"no schema by {tree.name}")
        fill(url, finished, QUEUED)
        return name


def fill(url: str, finished: int, queued: int) -> None:
    """Put one study and its jobs into a database, the finished ones first."""
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
        if engine.dialect.name == "sqlite"
        else "WITH n AS (SELECT generate_series(1, :last) AS i)"
    )
    columns = (
        "study_instance_uid, content_digest, model_digest, revision, state, attempt, "
        "attempts_before, created_at, updated_at, not_before, finished_at, worker, reason"
    )
    with engine.connect() as connection:
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO study (study_instance_uid, source_ae, state, revision, "
                "content_digest, first_received_at, last_received_at) "
                "VALUES (:study, 'SCANNER', 'complete', 1, '', 1, 1)"
            ),
            {"study": STUDY},
        )
        for state, attempt, ended, count in (
            ("done", 1, "1.0", finished),
            ("queued", 0, "NULL", queued),
        ):
            if count:
                statement = (
                    f"INSERT INTO job ({columns}) {numbers} "  # noqa: S608 - all our own words
                    f"SELECT '{STUDY}', '{state}-' || n.i, "
                    f"'model', 1, '{state}', {attempt}, 0, 1, 1, 1, {ended}, '', '' FROM n"
                )
                connection.execute(sqlalchemy.text(statement), {"last": count})
        connection.execute(sqlalchemy.text("ANALYZE"))
    engine.dispose()


def main() -> None:
    """Read the arguments, measure, and print a table."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench queue", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--finished", type=int, nargs="+", default=[0], help="finished jobs before")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another source tree, in turns with this one")
    parser.add_argument("--folder", type=Path, help="where the databases lie; not in memory")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    trees = [Tree("here", HERE)]
    if arguments.against:
        trees.append(Tree("against", arguments.against.resolve()))
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-bench-", dir=arguments.folder))
    runs: dict[tuple[str, int, int, str], list[dict[str, float]]] = {}
    plans: dict[str, list[str]] = {}
    try:
        with _server(folder, arguments.databases) as server:
            site = Site(folder, server)
            cases = list(
                itertools.product(arguments.databases, arguments.finished, arguments.workers)
            )
            for _ in range(arguments.repeats):
                for (kind, finished, workers), tree in itertools.product(cases, trees):
                    with site.database(kind, tree, finished) as url:
                        found = measure(tree, url, workers, arguments.seconds)
                    runs.setdefault((kind, finished, workers, tree.name), []).append(found)
            for kind in arguments.databases:
                with site.database(kind, trees[0], max(arguments.finished)) as url:
                    plans[kind] = list(explained(url))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        rows = [{"case": list(case), "runs": found} for case, found in runs.items()]
        print(json.dumps({"rows": rows, "plans": plans}, indent=2))  # noqa: T201
        return
    _print(runs, plans, arguments)


@contextlib.contextmanager
def _server(folder: Path, databases: list[str]) -> Generator[PostgresServer | None]:
    if "postgresql" not in databases:
        yield None
        return
    with durable_server(folder) as server:
        yield server


def measure(tree: Tree, url: str, workers: int, seconds: float) -> dict[str, float]:
    """Return jobs settled a second, the fairness, and the longest wait in milliseconds."""
    processes = [
        tree.python(_WORKER, url, f"worker-{number}", str(seconds)) for number in range(workers)
    ]
    try:
        for process in processes:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError(f"a worker of {tree.name} did not start")
        for process in processes:
            if process.stdin is not None:
                process.stdin.write("go\n")
                process.stdin.flush()
        ended = time.monotonic() + seconds + 60
        found = [
            json.loads(process.communicate(timeout=ended - time.monotonic())[0])
            for process in processes
        ]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    counts = [one["done"] for one in found]
    return {
        "rate": sum(counts) / seconds,
        "fairness": max(counts) / max(min(counts), 0.5),
        "longest": 1000 * max(one["longest"] for one in found),
    }


def explained(url: str) -> Iterator[str]:
    """Yield the plans of both kinds of claim and of the rescue, as the database tells them."""
    from storage import jobs, leases
    from storage.schema import job

    engine = sqlalchemy.create_engine(url)
    word = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith(("UPDATE", "SELECT")):
            statements.append(statement)
            given.append(parameters)

    given: list[Any] = []
    with engine.connect() as connection:
        event.listen(engine, "before_cursor_execute", note)
        jobs.claim(connection, "bench", 60.0)
        jobs.claim(connection, "bench", 60.0, oldest=True)
        leases.rescue(connection, job, 3, 0.0, "worker")
        event.remove(engine, "before_cursor_execute", note)
        for statement, parameters in zip(statements, given, strict=True):
            rows = connection.exec_driver_sql(f"{word} {statement}", parameters)
            yield from (str(row[-1]) for row in rows)
            yield ""
        connection.rollback()
    engine.dispose()


def _print(
    runs: Mapping[tuple[str, int, int, str], list[dict[str, float]]],
    plans: Mapping[str, list[str]],
    arguments: argparse.Namespace,
) -> None:
    table = Table(
        title=f"claim and settle, {arguments.seconds:g} s a run, medians of {arguments.repeats}",
        title_justify="left",
    )
    for heading in ("database", "finished", "workers", "tree"):
        table.add_column(heading)
    for heading in ("jobs/s", "least", "most", "fastest/slowest", "longest claim ms"):
        table.add_column(heading, justify="right")
    for (kind, finished, workers, tree), found in sorted(runs.items()):
        rates = [one["rate"] for one in found]
        table.add_row(
            kind,
            f"{finished:,}",
            str(workers),
            tree,
            f"{statistics.median(rates):.0f}",
            f"{min(rates):.0f}",
            f"{max(rates):.0f}",
            f"{statistics.median(one['fairness'] for one in found):.2f}",
            f"{statistics.median(one['longest'] for one in found):.0f}",
        )
    console = Console(width=120)
    console.print(table)
    for kind, lines in plans.items():
        console.print(f"[bold]{kind}[/bold]", *lines, sep="\n", highlight=False)


if __name__ == "__main__":
    main()
