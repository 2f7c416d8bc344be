"""What a page of studies costs: milliseconds a search, on SQLite and PostgreSQL, by what is asked.

The books are made from a seed: studies of ten scanners with a job and an outcome each, one in ten
SUSPECT, one in a thousand UNREADABLE, one in five hundred held, a few on their way. Each search is
of one page of 50 in a transaction of its own; the databases take turns, and the first turn, which
fills the caches, is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text
from support.postgres import PostgresServer, postgres_programs, quick_folder

from gatekeeper.history import find_studies
from storage import study_headers
from storage.engine import Database
from storage.records import StudyHeader
from storage.schema import delivery, forward, job, outcome, study, study_header
from storage.study_search import Position, Stage, StudyFilter

FAMILIES = ("Smith", "Müller", "García", "Nguyễn", "Kowalski", "Yamada", "Okafor", "Ivanova")
ROOT = "1.2.826.0.1.3680043.8.498."
BEGIN = 1.7e9


def searches(count: int) -> dict[str, tuple[StudyFilter, Position | None]]:
    """Return what is asked for, by name; `count` is of the studies kept."""
    middle = Position(BEGIN + 60.0 * (count // 2), "")
    return {
        "the newest": (StudyFilter(), None),
        "a page in the middle": (StudyFilter(), middle),
        "a frequent verdict": (StudyFilter(verdict="SUSPECT"), None),
        "a rare verdict": (StudyFilter(verdict="UNREADABLE"), None),
        "a verdict that nothing has": (StudyFilter(verdict="UNCALIBRATED"), None),
        "held": (StudyFilter(held=True), None),
        "queued": (StudyFilter(stage=Stage.QUEUED), None),
        "done": (StudyFilter(stage=Stage.DONE), None),
        "delivery dead": (StudyFilter(stage=Stage.DELIVERY_DEAD), None),
        "one source, rare verdict": (StudyFilter(source_ae="CT3", verdict="UNREADABLE"), None),
        "one patient's number": (StudyFilter(text=f"pid{count // 3:07d}"), None),
        "a frequent name": (StudyFilter(text="muller"), None),
        "two words": (StudyFilter(text=f"yamada given{count // 7}"), None),
        "text that nothing has": (StudyFilter(text="zzzz"), None),
        "a UID": (StudyFilter(text=uid_of(count // 2)), None),
        "a device": (StudyFilter(device="SIEMENS DEVICE_3"), None),
        "a rare modality": (StudyFilter(modality="PT"), None),
        "a study date": (StudyFilter(study_date_from="20240105", study_date_to="20240105"), None),
        "name, device and verdict": (
            StudyFilter(text="garcia", device="SIEMENS DEVICE_3", verdict="SUSPECT"),
            None,
        ),
        "name and a rare verdict": (StudyFilter(text="okafor", verdict="UNREADABLE"), None),
    }


def uid_of(number: int) -> str:
    """Return the UID of a study, in no order."""
    return f"{ROOT}{random.Random(number).randrange(10**30)}"


def rows(count: int) -> Iterator[tuple[dict[str, Any], StudyHeader, str]]:
    """Yield studies, their headers and their verdicts."""
    chance = random.Random(7)
    for number in range(count):
        uid = uid_of(number)
        at = BEGIN + 60.0 * number
        day = time.gmtime(at)
        device = number % 10
        header = StudyHeader(
            study_instance_uid=uid,
            content_digest="a" * 64,
            instances=200,
            series_count=6,
            patient_name=f"{chance.choice(FAMILIES)}^Given{number}",
            patient_id=f"PID{number:07d}",
            accession_number=f"ACC{chance.randrange(10**9)}",
            study_date=f"{day.tm_year}{day.tm_mon:02d}{day.tm_mday:02d}",
            study_description=chance.choice(("MR Brain", "MR Head with contrast", "CT Thorax")),
            modalities=("MR", "SR") if chance.random() > 0.001 else ("PT",),
            device=f"SIEMENS DEVICE_{device}",
            series=tuple({"n": name, "values": [1.0] * 20} for name in range(6)),
        )
        verdict = chance.choices(("CLEAR", "SUSPECT", "UNREADABLE"), (89.9, 10, 0.1))[0]
        base = {
            "study_instance_uid": uid,
            "source_ae": f"CT{device}",
            "state": "complete",
            "revision": 1,
            "content_digest": "a" * 64,
            "first_received_at": at,
            "last_received_at": at,
            "completed_at": at,
        }
        yield base, header, verdict


def fill(database: Database, url: str, count: int) -> None:
    """Write the books."""
    leased = {
        "attempt": 1,
        "attempts_before": 0,
        "created_at": BEGIN,
        "updated_at": BEGIN,
        "not_before": 0.0,
        "worker": "",
        "reason": "",
    }
    tables: dict[Any, list[dict[str, Any]]] = {
        one: [] for one in (study, study_header, job, outcome, delivery, forward)
    }
    for number, (base, header, verdict) in enumerate(rows(count), 1):
        uid = base["study_instance_uid"]
        state = "queued" if number > count - 20 else "dead" if number % 5000 == 0 else "done"
        tables[study].append(base)
        tables[study_header].append(
            study_headers.values_of(header)
            | {"received_at": base["last_received_at"], "read_at": BEGIN}
        )
        tables[job].append(
            leased
            | {
                "id": number,
                "study_instance_uid": uid,
                "content_digest": "a" * 64,
                "model_digest": "b" * 64,
                "revision": 1,
                "state": state,
            }
        )
        if state == "done":
            tables[outcome].append(
                {
                    "job_id": number,
                    "verdict": verdict,
                    "reason": "Because of a reason of some length, as there are.",
                    "p_value": 0.5,
                    "evidence": {"series": [{"levels": [0.5] * 50}]},
                    "stages": {"read": 1.0},
                    "created_at": base["last_received_at"],
                    "destinations": ["PACS"],
                }
            )
            sent = "dead" if number % 3000 == 0 else "delivered"
            tables[delivery].append(
                leased | {"id": number, "job_id": number, "node": "PACS", "state": sent}
            )
        tables[forward].append(
            {
                "id": number,
                "study_instance_uid": uid,
                "content_digest": "a" * 64,
                "revision": 1,
                "node": "AI",
                "gated": True,
                "state": "held" if number % 500 == 0 else "sent",
                "created_at": BEGIN,
                "verdict": verdict,
                "reason": "",
                "decided_by": "",
            }
        )
    for table, values in tables.items():
        for start in range(0, len(values), 5000):
            with database.begin() as tx:
                tx.execute(table.insert(), values[start : start + 5000])
    if database.dialect == "postgresql":
        # As autovacuum, which is off in a server of tests, does within a minute.
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
        engine.dispose()


@contextlib.contextmanager
def addresses(folder: Path) -> Generator[dict[str, str]]:
    """Yield the URLs of empty databases by name."""
    found = {"sqlite": f"sqlite:///{folder}/bench.db"}
    programs = postgres_programs()
    place = Path(tempfile.mkdtemp(prefix="gatekeeper-bench-", dir=quick_folder()))
    server = None if programs is None else PostgresServer(place, programs)
    try:
        if server is not None:
            server.start()
            server.make_template()
            found["postgresql"] = server.url(server.create())
        yield found
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(place)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    asked = searches(wanted.studies)
    with tempfile.TemporaryDirectory() as folder, addresses(Path(folder)) as urls:
        found = {kind: Database.connect(url, 60) for kind, url in urls.items()}
        for kind, database in found.items():
            database.migrate()
            fill(database, urls[kind], wanted.studies)
        taken: dict[str, dict[str, list[float]]] = {
            name: {kind: [] for kind in found} for name in asked
        }
        counts: dict[str, int] = {}
        for turn in range(wanted.rounds + 1):
            for name, (one, after) in asked.items():
                for kind, database in found.items():
                    began = time.perf_counter()
                    with database.read() as tx:
                        page = find_studies(tx, one, 50, after)
                    if turn:
                        taken[name][kind].append(1000 * (time.perf_counter() - began))
                    counts[name] = len(page.lines)
        for database in found.values():
            database.dispose()
    medians = {
        name: {kind: statistics.median(values) for kind, values in kinds.items()}
        for name, kinds in taken.items()
    }
    if wanted.json:
        print(json.dumps({"studies": wanted.studies, "milliseconds": medians}))  # noqa: T201
        return
    table = Table(title=f"A page of 50 of {wanted.studies:,} studies, median milliseconds")
    table.add_column("asked for")
    table.add_column("on the page", justify="right")
    for kind in found:
        table.add_column(kind, justify="right")
    for name, kinds in medians.items():
        table.add_row(name, str(counts[name]), *(f"{value:.1f}" for value in kinds.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
