"""The fault campaign, in short: what `gatekeeper bench crash --kills 1000` does for minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.campaign import Plan, Report, come_to_rest, run
from support.gate import free_port
from support.orthanc import Orthanc
from support.scanners import Journal, TransportScanner
from support.waiting import until

from storage.engine import Database

KILLS = 15
SECONDS = 12.0
"""Longest disturbance; what was begun then comes to rest in peace, however long it takes."""
SEED = 20261126


@pytest.fixture(params=["sqlite", "postgres"])
def report(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    peer: Callable[[str], str],
    orthanc: Callable[..., Orthanc],
) -> Report:
    """Run a campaign on each kind of database; PostgreSQL's has a server that may be stopped."""
    peer("storescu")
    server: Any = None
    url = f"sqlite:///{tmp_path}/campaign.db"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        url = request.getfixturevalue("postgres_url")
    plan = Plan(
        KILLS,
        SEED,
        SECONDS,
        scanners=2,
        workers=1,
        cut_seconds=1.0,
        calm_seconds=1.0,
        disk_mib=256,
    )
    return run(plan, tmp_path / "site", url, orthanc(), server)


# Of a busy machine nothing is promised but that it comes to rest.
@pytest.mark.timeout(1800)
def test_a_campaign_of_kills_and_cuts_loses_and_doubles_nothing(report: Report) -> None:
    """Acknowledged is kept, each revision is in Orthanc once, and the books balance."""
    assert report.faults == [], report.log[-4000:]
    assert report.counts["instances acknowledged"] > 0
    assert report.counts["objects in the archive"] > 0


def test_a_campaign_that_does_not_come_to_rest_ends_and_says_why(
    database: Database, tmp_path: Path
) -> None:
    """A scanner that nobody listens to is a fault with its last answer once the time is over."""
    scanner = TransportScanner(1, free_port(), tmp_path / "scanner", Journal(), SEED)
    scanner.start()
    until(lambda: "connect" in scanner.last, 60, "a study was tried")

    told: list[str] = []
    faults = come_to_rest([scanner], database, time.monotonic(), told.append)

    missing = f"SCANNER1 is not told of {len(scanner.left)} instances that they are kept"
    assert faults == [f"not at rest: {missing}, last: {scanner.last}"]
    assert "1 scanners and 0 rows under way" in told[0]
    assert not scanner.sending
