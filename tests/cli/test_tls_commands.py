"""TLS on the command line: nodes, certificates, and what is said before one expires."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.authority import Authority, Identity
from support.dicom_peers import ScriptedPeer
from typer.testing import CliRunner

from gatekeeper import log, periodic
from gatekeeper.cli import app
from gatekeeper.settings import Settings
from storage.engine import Database
from storage.spool import Spool

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def own(authority: Authority) -> Identity:
    """Return a certificate of ours with ten days left."""
    return authority.issue(
        "gatekeeper.example", not_before=NOW - 9 * DAY, not_after=NOW + 10.5 * DAY
    )


@pytest.fixture
def site(
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    own: Identity,
    authority: Authority,
) -> Generator[Path]:
    """Stand in an empty folder with a database and TLS, configured by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", database_url)
    monkeypatch.setenv("GATEKEEPER_SPOOL_LOW_WATER_MIB", "1")
    monkeypatch.setenv("GATEKEEPER_LISTEN_TLS_PORT", "2762")
    monkeypatch.setenv("GATEKEEPER_TLS_CERTIFICATE", str(own.certificate))
    monkeypatch.setenv("GATEKEEPER_TLS_KEY", str(own.key))
    monkeypatch.setenv("GATEKEEPER_TLS_CA", str(authority.file))
    yield tmp_path
    structlog.reset_defaults()


def run(*arguments: str, code: int = 0) -> str:
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == code, (answer.output, answer.exception)
    return answer.output


def read(*arguments: str, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code))


def answers(code: int = 0) -> dict[str, tuple[bool, str]]:
    return {one["key"]: (one["ok"], one["text"]) for one in read("check", code=code)}


def test_a_node_is_entered_with_its_certificate(site: Path, authority: Authority) -> None:
    """As a file or a fingerprint; one implies TLS, and what is neither is refused."""
    mine = authority.issue("10.1.2.3")
    print_ = mine.fingerprint
    colons = ":".join(print_[at : at + 2] for at in range(0, 64, 2)).upper()
    run("node", "add", "FILE", "10.1.2.3", "--sends", "--certificate", str(mine.certificate))
    run("node", "add", "TEXT", "10.1.2.3", "--sends", "--certificate", colons)
    run("node", "add", "NAME", "10.1.2.3", "--sends", "--tls")
    run("node", "add", "PLAIN", "10.1.2.3", "--sends")
    bad = ("node", "add", "BAD", "10.1.2.3", "--sends", "--certificate")
    assert "not a fingerprint" in run(*bad, "absent.pem", code=1)
    assert CliRunner().invoke(app, [*bad, str(mine.key)]).exit_code != 0

    listed = {one["ae_title"]: (one["tls"], one["certificate"]) for one in read("node", "list")}
    assert listed == {
        "FILE": (True, print_),
        "TEXT": (True, print_),
        "NAME": (True, ""),
        "PLAIN": (False, ""),
    }
    assert print_[:12] in run("node", "list")


def test_a_certificate_that_expires_soon_is_told_everywhere(
    site: Path, own: Identity, authority: Authority, database: Database
) -> None:
    """`check` fails, `status` and `tls show` give the days, and the daily tick logs them."""
    found = answers(code=1)
    assert found["tls.certificate"][0] is False
    assert "expires in 10 days" in found["tls.certificate"][1]
    assert found["tls.ca"][0] is True
    assert read("status")["certificates"]["tls.certificate"] == 10
    assert "expires in 10 days" in run("status")
    [shown, _ca] = read("tls", "show")
    assert shown["certificate"]["fingerprint"] == own.fingerprint
    assert "gatekeeper.example" in run("tls", "show")

    events = io.StringIO()
    log.configure("INFO", events)
    settings = dataclasses.replace(Settings(), tls=authority.settings(own))
    context = periodic.Context(settings, database, Spool(site / "spool"))
    assert periodic.tick_certificates(context) == 1
    event = json.loads(events.getvalue())
    assert (event["event"], event["days"]) == ("certificate_expires", 10)
    assert event["certificate"] == own.fingerprint
    calm = dataclasses.replace(settings, tls=authority.settings(own, warn_days=10))
    assert periodic.tick_certificates(dataclasses.replace(context, settings=calm)) == 0


def test_check_names_what_tls_lacks(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that needs TLS where none is set up, files that do not fit; no key is printed."""
    monkeypatch.setenv("GATEKEEPER_TLS_WARN_DAYS", "0")
    run("node", "add", "CT1", "127.0.0.1", "--sends", "--tls")
    run("node", "add", "PACS", "127.0.0.1:104", "--results", "--tls")
    assert all(ok for ok, _text in answers().values())

    monkeypatch.setenv("GATEKEEPER_LISTEN_TLS_PORT", "0")
    monkeypatch.setenv("GATEKEEPER_TLS_CA", "")
    found = answers(code=1)
    assert "listen.tls_port is 0" in found["node.CT1"][1]
    assert "tls.ca is not set" in found["node.PACS"][1]
    monkeypatch.setenv("GATEKEEPER_LISTEN_PLAIN", "false")
    assert not answers(code=1)["listen.plain"][0]
    monkeypatch.setenv("GATEKEEPER_LISTEN_TLS_PORT", "2762")
    monkeypatch.setenv("GATEKEEPER_TLS_CERTIFICATE", "absent.pem")
    assert "absent.pem: No such file" in answers(code=1)["tls.certificate"][1]
    assert read("status")["certificates"] == {"tls.certificate": None}
    assert "PRIVATE KEY" not in run("check", code=1)


def test_echo_by_tls_says_why_it_failed(site: Path) -> None:
    """A peer that speaks no TLS: one line with the reason, and exit code 1."""
    with ScriptedPeer() as peer:
        run("node", "add", peer.ae_title, f"127.0.0.1:{peer.port}", "--results", "--tls")
        answer = CliRunner().invoke(app, ["node", "echo", peer.ae_title])
        assert answer.exit_code == 1
        assert str(answer.exception).startswith("TLS: the peer")
        assert peer.associations == 0
