"""Who may read the metrics, and what health and readiness say."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
from listen.wire import sqlite_only
from support.watching import ask, sample, scrape, watched
from support.web import Web, running_web

from gatekeeper.config import checked
from gatekeeper.errors import ConfigurationError
from gatekeeper.settings import rows
from gatekeeper.web.access import new_token
from storage import tokens
from storage.engine import Database
from storage.records import Scope
from storage.schema import metadata

NOBODY = {"networks": ("192.0.2.0/24",)}


@sqlite_only
def test_health_says_that_the_process_lives_and_no_more(web: Web) -> None:
    """To anybody, by GET and HEAD."""
    assert ask(web, "/health").text == "ok\n"
    url = f"http://127.0.0.1:{web.port}"
    assert httpx.head(url + "/health", timeout=60).status_code == 200
    assert httpx.head(url + "/ready", timeout=60).status_code == 200


def test_a_site_that_takes_studies_is_ready(web: Web) -> None:
    """On both databases."""
    answer = ask(web, "/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "failing": []})


@sqlite_only
def test_ready_names_what_fails_and_nothing_else(tmp_path: Path, database: Database) -> None:
    """Disk, spool and schema, by our own words; 503 so that nobody is sent here."""
    settings = watched(tmp_path / "spool")
    with running_web(settings, database) as web:
        shutil.rmtree(tmp_path / "spool")
        with database.begin() as tx:
            tx.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        answer = ask(web, "/ready")
        assert (answer.status_code, answer.json()["failing"]) == (503, ["schema", "spool"])
        assert answer.headers["Retry-After"] == str(settings.web.retry_after_seconds)
        assert ask(web, "/health").status_code == 200


@sqlite_only
def test_a_disk_under_its_low_water_mark_is_not_ready(tmp_path: Path, database: Database) -> None:
    """As instances are refused then."""
    with running_web(watched(tmp_path / "spool", low_water_mib=1 << 40), database) as web:
        assert ask(web, "/ready").json()["failing"] == ["space"]


@sqlite_only
def test_a_database_that_is_gone_leaves_the_other_metrics(web: Web) -> None:
    """Each subject says whether it could be collected; nothing is answered with an error."""
    with web.database.begin() as tx:
        for table in reversed(metadata.sorted_tables):
            tx.exec_driver_sql(f"DROP TABLE {table.name}")
    text = scrape(web)
    assert sample(text, "gatekeeper_collector_success", subject="queues") == 0
    assert sample(text, "gatekeeper_collector_success", subject="processes") == 1


@sqlite_only
def test_metrics_are_for_addresses_that_are_named_or_tokens_of_their_scope(
    tmp_path: Path, database: Database
) -> None:
    """A token of another scope is not enough; one of this scope is enough for nothing else."""
    text, token = new_token("prometheus", (Scope.METRICS,), "")
    with database.begin() as tx:
        tokens.add(tx, token)
    with running_web(watched(tmp_path / "spool", NOBODY), database) as web:
        assert ask(web, "/metrics").status_code == 401
        assert ask(web, "/metrics", web.reader).status_code == 403
        assert ask(web, "/metrics", text).status_code == 200
        assert ask(web, "/dicom-web/studies", text).status_code == 403


@sqlite_only
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_a_proxy_on_this_machine_lends_nobody_its_address(web: Web, header: str) -> None:
    """What came through it needs a token."""
    assert ask(web, "/metrics").status_code == 200
    assert ask(web, "/metrics", **{header: "10.0.0.1"}).status_code == 401


@sqlite_only
def test_who_scrapes_too_often_is_given_what_was_collected(
    tmp_path: Path, database: Database
) -> None:
    """The database is asked once in `metrics.cache_seconds`, however often it is scraped."""
    settings = watched(tmp_path / "spool", {"cache_seconds": 300.0})
    with running_web(settings, database) as web:
        assert scrape(web) == scrape(web)


def test_a_network_that_is_none_is_refused_with_its_key() -> None:
    """Before anything starts."""
    [row] = [row for row in rows() if row.key == "metrics.networks"]
    with pytest.raises(ConfigurationError, match=r"metrics\.networks"):
        checked(row, ["the hospital"])
    assert checked(row, ["10.1.2.3"]) == ("10.1.2.3",)
