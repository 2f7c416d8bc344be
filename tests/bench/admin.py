"""What a page costs: milliseconds of server time, of every page that is asked by GET.

The real web role runs in this process, over the books of a site with many studies, and somebody
who may see everything is signed in. Every route of the pages is asked with values that mean work:
a held study, a stage with dead rows, a search for a name. Pages take turns, and so do databases;
the first turn, which fills the caches, is left out. Time is taken around the application, so that
the network and this process's own client are not in it. A route that has no entry here is an error.

One route has no target: to verify the audit trail is to read all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Generator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from bench.search import addresses
from rich.console import Console
from rich.table import Table
from starlette.types import ASGIApp, Receive, Scope, Send
from support.busy_site import fill, uid_of
from support.pages import Pages, running_pages
from support.waiting import until
from support.web import settings_for

from gatekeeper import log
from gatekeeper.admin.app import PAGES
from storage.engine import Database

TARGET = 200.0
"""Milliseconds, median."""
WITHOUT_TARGET = ("/audit/verify",)
REST = "/api/v1"
SINCE = "2024-02-01"


def asked(studies: int) -> Mapping[str, Sequence[str]]:
    """Return the addresses that each route is asked with, by route."""
    held = uid_of(200 * (studies // 400))
    device = quote("SIEMENS DEVICE_3")
    lists = [
        "",
        "?text=muller",
        "?text=zzzz",
        f"?text={held}",
        "?verdict=SUSPECT",
        "?verdict=UNREADABLE",
        "?held=yes",
        f"?device={device}&text=garcia",
        f"?study_from={SINCE}&study_to={SINCE}",
    ]
    stages = ("analysis", "delivery", "notification", "audit")
    return {
        "/sign-in": ["/sign-in"],
        "/first-start": [],
        # Of a provider that is not there.
        "/sign-in/elsewhere": [],
        "/sign-in/callback": [],
        "/": ["/"],
        "/studies": [f"/studies{one}" for one in lists],
        "/studies/{uid}": [f"/studies/{held}", f"/studies/{uid_of(studies)}"],
        "/studies/{uid}/record": [f"/studies/{held}/record"],
        # Pixels: drawn once in a process of its own, whatever the books hold.
        "/studies/{uid}/view/{key}/{name}": [],
        "/queue/{stage}": [f"/queue/{one}" for one in stages],
        "/queue/{stage}/rows": [f"/queue/{one}/rows" for one in stages],
        "/models/{bundle}": ["/models/mr-brain-t1"],
        "/models/shadows/{name}": ["/models/shadows/stricter"],
        "/accounts/person/{name}": ["/accounts/person/viewer"],
        "/drift/{number:int}": ["/drift/7"],
        "/drift/scanner": [f"/drift/scanner?name={device}%2012345"],
        "/configuration/{number:int}": ["/configuration/150", "/configuration/150?before=2"],
        "/configuration/{number:int}/gatekeeper-configuration.toml": [
            "/configuration/150/gatekeeper-configuration.toml"
        ],
        "/audit": ["/audit", "/audit?actor=anna", "/audit?actor=nobody", f"/audit?study={held}"],
        "/nodes/{ae:path}": ["/nodes/PACS"],
        "/nodes/{ae:path}/edit": ["/nodes/PACS/edit"],
        "/nodes/{ae:path}/sheet": ["/nodes/PACS/sheet"],
        "/node-parts/show/{ae:path}": ["/node-parts/show/PACS"],
        # Looks at the machine, and not at what the books hold.
        "/watch/check": [],
        # A call of a node that runs: in memory.
        "/node-parts/run/{key}": [],
        "/rules/{name}/edit": ["/rules/first/edit"],
        "/setup-parts/transfer": ["/setup-parts/transfer?scanner=CT3"],
    } | {
        f"/studies/{{uid}}/{part}": [f"/studies/{held}/{part}"]
        for part in ("verdict", "standing", "verify", "viewer")
    }


@dataclass
class Stopwatch:
    """An ASGI layer that takes the time of the application below it."""

    application: ASGIApp
    milliseconds: float = 0.0
    taken: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        try:
            await self.application(scope, receive, send)
        finally:
            self.milliseconds = 1000 * (time.perf_counter() - began)
            self.taken += 1


@dataclass
class Site:
    """A running web role over books of many studies."""

    pages: Pages
    stopwatch: Stopwatch
    taken: MutableMapping[str, list[float]] = field(default_factory=dict[str, list[float]])

    def ask(self, path: str, *, note: bool) -> None:
        """Ask one page; an error of the server ends the measurement."""
        before = self.stopwatch.taken
        answer = self.pages.get(path)
        # The answer is here a moment before its time is taken.
        until(lambda: self.stopwatch.taken > before, 10, "the time is taken")
        if answer.status_code not in (200, 204, 303):
            raise SystemExit(f"{path}: {answer.status_code}\n{answer.text[-2000:]}")
        if note:
            self.taken.setdefault(path, []).append(self.stopwatch.milliseconds)


@contextlib.contextmanager
def running(folder: Path, url: str, studies: int) -> Generator[Site]:
    """Yield a site with so many studies."""
    database = Database.connect(url, 60)
    database.migrate()
    settings = settings_for(folder)
    fill(database, url, settings, studies)
    with running_pages(settings, database) as pages:
        application = pages.server.application
        assert application is not None
        made = application.middleware_stack or application.build_middleware_stack()
        application.middleware_stack = stopwatch = Stopwatch(made)
        enter_rule(pages)
        begin_shadow(pages)
        yield Site(pages, stopwatch)
    database.dispose()


def enter_rule(pages: Pages) -> None:
    """Enter one rule, by the page."""
    text = 'when = ["Modality is MR"]\nthen = [{ forward = "AI" }]'
    form = {"name": "first", "text": text, "enabled": "yes"}
    answer = pages.post("/rules/new", form)
    if answer.status_code != 303:
        raise SystemExit(f"no rule could be entered: {answer.status_code}\n{answer.text[-3000:]}")


def begin_shadow(pages: Pages) -> None:
    """Begin a shadow, by the page."""
    form = {"name": "stricter", "kind": "rate", "rate": "0.01", "why": "fewer holds"}
    answer = pages.post("/models/shadows", form)
    if answer.status_code != 303:
        raise SystemExit(f"no shadow could be begun: {answer.status_code}\n{answer.text[-3000:]}")


def addresses_of(studies: int) -> list[str]:
    """Return every address that is asked, of the routes as they are declared."""
    known = asked(studies)
    found: list[str] = []
    for routes in PAGES:
        for route in routes.router.routes:
            path: str = getattr(route, "path")  # noqa: B009
            if "GET" not in getattr(route, "methods"):  # noqa: B009
                continue
            if path not in known and "{" in path:
                raise SystemExit(f"{path}: say in tests/bench/admin.py what it is to be asked with")
            found.extend(known.get(path, [path]))
    return [*found, f"{REST}/status", f"{REST}/studies", f"{REST}/held"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    log.configure("ERROR")
    paths = addresses_of(wanted.studies)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sites: dict[str, Site] = {}
        for kind, url in stack.enter_context(addresses(folder)).items():
            if wanted.database in (kind, "both"):
                place = folder / f"spool-{kind}"
                sites[kind] = stack.enter_context(running(place, url, wanted.studies))
        for turn in range(wanted.rounds + 1):
            for path in paths:
                for site in sites.values():
                    site.ask(path, note=turn > 0)
        taken = {kind: dict(site.taken) for kind, site in sites.items()}
    report(taken, wanted.studies, as_json=wanted.json)


def report(
    taken: Mapping[str, Mapping[str, Sequence[float]]], studies: int, *, as_json: bool
) -> None:
    """Print the median and the 95th percentile of each page, and what misses the target."""
    figures = {
        kind: {
            path: (statistics.median(values), sorted(values)[int(0.95 * (len(values) - 1) + 0.5)])
            for path, values in pages.items()
        }
        for kind, pages in taken.items()
    }
    if as_json:
        print(json.dumps({"studies": studies, "milliseconds": figures}))  # noqa: T201
        return
    table = Table(title=f"Server time of a page, {studies:,} studies, milliseconds")
    table.add_column("page", overflow="fold")
    for kind in figures:
        table.add_column(kind, justify="right")
        table.add_column("95 %", justify="right")
    late = 0
    for path in next(iter(figures.values())):
        cells: list[str] = []
        for pages in figures.values():
            median, most = pages[path]
            missed = median > TARGET and not path.startswith(WITHOUT_TARGET)
            late += missed
            cells += [f"{median:.1f}{' !' if missed else ''}", f"{most:.1f}"]
        table.add_row(path if len(path) < 60 else path[:24] + "…" + path[-24:], *cells)
    out = Console(width=120)
    out.print(table)
    out.print(f"{late} of the medians are above {TARGET:.0f} ms (marked !).")


if __name__ == "__main__":
    main()
