"""What `deploy/` gives to Prometheus and Grafana fits what is scraped, by their own judgement."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from listen.wire import running, sqlite_only
from support.waiting import until
from support.watching import ask, scrape, watched
from support.web import running_web
from typer.testing import CliRunner

from gatekeeper.cli import app
from gatekeeper.metrics import families
from gatekeeper.web.access import new_token
from storage import tokens
from storage.engine import Database
from storage.records import Scope

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="deploy/ is not beside these tests")

RULES = "gatekeeper.rules.yml"
TESTS = ("alerts.test.yml", "alerts-week.test.yml")
_NAME = re.compile(r"gatekeeper_[a-z_]+")


def dashboard() -> Any:
    return json.loads((DEPLOY / "grafana" / "gatekeeper.json").read_text(encoding="utf-8"))


def expressions() -> list[str]:
    """Return the queries of the dashboard, as Grafana would send them."""
    found = [
        target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())
    ]
    values = {"$__rate_interval": "1m", "$instance": ".+", "$device": ".+"}
    for name, value in values.items():
        found = [one.replace(name, value) for one in found]
    assert not [one for one in found if "$" in one]
    return found


def rules() -> str:
    return (DEPLOY / "prometheus" / RULES).read_text(encoding="utf-8")


def known() -> set[str]:
    """Return the names that a scrape has samples of."""
    parts = ("_bucket", "_count", "_sum")
    histograms = {one.name for one in families.CATALOGUE if one.kind is families.Kind.HISTOGRAM}
    whole = {one.name for one in families.CATALOGUE if one.kind is not families.Kind.HISTOGRAM}
    return whole | {name + part for name in histograms for part in parts}


def test_every_alert_fires_where_it_is_due_and_is_silent_where_all_is_well(
    tmp_path: Path, promtool: str
) -> None:
    """By promtool's unit tests of the rules; each alert has one of both."""
    tests = [Path(__file__).with_name(name) for name in TESTS]
    alerts = set(re.findall(r"- alert: (\w+)", rules()))
    text = "".join(one.read_text(encoding="utf-8") for one in tests)
    assert set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", text)) == alerts
    assert set(re.findall(r"alertname: (\w+)\n", text)) == alerts
    shutil.copy(DEPLOY / "prometheus" / RULES, tmp_path)
    for one in tests:
        shutil.copy(one, tmp_path)
    assert told(promtool, "test", "rules", *TESTS, folder=tmp_path).count("SUCCESS") == len(TESTS)


def test_the_rules_and_the_example_are_ones_that_prometheus_takes(promtool: str) -> None:
    """Checked where they lie."""
    folder = DEPLOY / "prometheus"
    told(promtool, "check", "rules", RULES, folder=folder)
    told(promtool, "check", "config", "--syntax-only", "prometheus.yml", folder=folder)


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    """Each name is one of the catalogue, and each of the catalogue is of use to somebody."""
    asked = {name for text in (rules(), *expressions()) for name in _NAME.findall(text)}
    assert asked <= known()
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    unused = {one.name for one in families.CATALOGUE} - shown - asked
    # The version is what the dashboard chooses its site by; the rest is to look into trouble with.
    assert unused <= {
        "gatekeeper_build_info",
        "gatekeeper_instances_answered_bytes_total",
        "gatekeeper_spool_unsettled_files",
    }


def test_the_dashboard_is_one_that_grafana_knows() -> None:
    """Through Grafana's own types and back, nothing is unknown to them and nothing is lost."""
    register_default_plugins()
    given = dashboard()
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
    assert read == given
    places = [panel["gridPos"] for panel in given["panels"]]
    cells = [
        (x, y)
        for one in places
        for x in range(one["x"], one["x"] + one["w"])
        for y in range(one["y"], one["y"] + one["h"])
    ]
    assert len(cells) == len(set(cells)), "no panel lies on another"
    assert max(x for x, _ in cells) < 24


def test_every_command_that_an_alert_names_exists() -> None:
    """Who is woken can run it."""
    for words in re.findall(r"`gatekeeper ([a-z]+(?: [a-z]+)?)", rules()):
        answer = CliRunner().invoke(app, [*words.split(), "--help"])
        assert answer.exit_code == 0, words


@sqlite_only
def test_prometheus_scrapes_with_a_token_and_answers_every_query_of_the_dashboard(
    tmp_path: Path, database: Database, peer: Callable[[str], str]
) -> None:
    """The program itself, with the example's job and the rules, on a running listener."""
    program = peer("prometheus")
    text, token = new_token("prometheus", (Scope.METRICS,), "")
    with database.begin() as tx:
        tokens.add(tx, token)
    (tmp_path / "token").write_text(text)
    settings = watched(tmp_path / "spool", {"networks": ()})
    with running_web(settings, database) as web, running(settings, database):
        assert ask(web, "/metrics").status_code == 401
        with prometheus(program, tmp_path, web.port, tmp_path / "token") as query:
            listeners = 'gatekeeper_associations_open{process=~".+[.]listen"}'
            until(lambda: query(f"up == 1 and on (job, instance) {listeners}"), 60, "a scrape")
            for expression in expressions():
                query(expression)
            alerts = query("ALERTS")
    assert alerts == []


@contextmanager
def prometheus(
    program: str, folder: Path, port: int, token: Path
) -> Generator[Callable[[str], list[Any]]]:
    """Run Prometheus on the example with this site as its target; give a function that asks it."""
    example = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    for was, becomes in (
        ("gate.hospital.example:8042", f"127.0.0.1:{port}"),
        ("scheme: https", "scheme: http"),
        ("/etc/prometheus/gatekeeper.token", str(token)),
        ("ca_file: /etc/prometheus/imaging-ca.pem", "insecure_skip_verify: true"),
        ("_interval: 15s", "_interval: 1s"),
    ):
        assert was in example
        example = example.replace(was, becomes)
    (folder / "prometheus.yml").write_text(example, encoding="utf-8")
    shutil.copy(DEPLOY / "prometheus" / RULES, folder)
    errors = (folder / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            program,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:0",
        ],
        cwd=folder,
        stderr=errors,
    )

    def address() -> str:
        log = (folder / "prometheus.log").read_text(encoding="utf-8")
        found = re.search(r'msg="Listening on" address=(\S+)', log)
        assert process.poll() is None, log
        return "" if found is None else found[1]

    def query(expression: str) -> list[Any]:
        answer = client.get(f"{url}/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["result"]

    client = httpx.Client(timeout=60)
    try:
        url = "http://" + until(address, 60, "Prometheus listens")
        until(lambda: client.get(f"{url}/-/ready").is_success, 60, "it is ready")
        yield query
    finally:
        client.close()
        process.terminate()
        process.wait(60)
        errors.close()


def told(program: str, *arguments: str, folder: Path) -> str:
    """Run a checker, and return what it says."""
    ran = subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@sqlite_only
def test_a_scrape_has_the_metrics_that_alerts_need_from_the_start(
    tmp_path: Path, database: Database
) -> None:
    """A counter that first appears at one would rise unseen."""
    settings = watched(tmp_path / "spool")
    with running_web(settings, database) as web, running(settings, database):

        def counted() -> str | None:
            text = scrape(web)
            wanted = ('outcome="too many associations"', 'status="A700"', 'verdict="SUSPECT"')
            return text if all(one in text for one in wanted) else None

        until(counted, 30, "zeros are there")
