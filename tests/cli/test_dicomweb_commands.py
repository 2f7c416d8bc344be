"""What an administrator types about DICOMweb: nodes with a URL, tokens, the web role."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from support.command_line import read, run, runner
from support.objects import write_slices
from support.web_peers import Told, web_peer

from gatekeeper.cli import app


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Stand in an empty folder with a database of its own, configured by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("GATEKEEPER_SPOOL_LOW_WATER_MIB", "1")
    yield tmp_path
    structlog.reset_defaults()


def test_a_node_with_a_url_is_called_there(site: Path) -> None:
    """Added, listed, asked, and sent to by hand, all by DICOMweb."""
    paths = write_slices(site / "files", 3)
    with web_peer() as peer:
        run("node", "add", "VNA", f"{peer.url}/", "--results")
        [node] = read("node", "list")
        assert (node["url"], node["host"]) == (peer.url, "127.0.0.1")
        assert peer.url in run("node", "list")
        sent = read("send", str(site / "files"), "--to", "VNA")
    assert (sent["stored"], sent["failed"]) == (3, [])
    assert [len(one.parts) for one in peer.asked] == [len(paths)]
    with web_peer(lambda _asked: Told(204)) as peer:
        run("node", "add", "VNA", peer.url, "--results")
        assert read("node", "echo", "VNA")["status"] == 204


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("ftp://host/x", "--results"), "not an http or https URL"),
        (("https://user:secret@host/x", "--results"), "must not hold a name or password"),
        (("https://host/x?y=1", "--results"), "no query"),
        (("https://host:port/x", "--results"), "not a URL"),
        (("https://host/x", "--results", "--confirm", "find"), "--confirm is by DIMSE"),
        (("http://host/x", "--results", "--tls"), "are for https"),
    ],
)
def test_a_url_that_could_not_work_is_refused(
    site: Path, arguments: tuple[str, ...], why: str
) -> None:
    """Each with the rule that it breaks, and without the password that it held."""
    answer = runner.invoke(app, ["node", "add", "VNA", *arguments])
    assert answer.exit_code == 1
    said = f"{answer.output} {answer.exception}"
    assert why in said
    assert "secret" not in said
    assert read("node", "list") == []


def test_check_names_what_a_url_still_needs(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https without a CA, credentials without https, a file that others may read."""

    def problem(ae_title: str) -> str:
        answers = read("check", code=1)
        [found] = [one for one in answers if one["key"] == f"node.{ae_title}"]
        return "" if found["ok"] else found["text"]

    run("node", "add", "SAFE", "https://127.0.0.1/dicom-web", "--results")
    run("node", "add", "PLAIN", "http://127.0.0.1/dicom-web", "--results")
    assert problem("SAFE") == "is called by https, but tls.ca is not set"
    assert problem("PLAIN") == ""
    file = site / "credentials.toml"
    file.write_text('PLAIN = "bearer abc"\nSAFE = "secret"\n')
    file.chmod(0o644)
    monkeypatch.setenv("GATEKEEPER_SEND_WEB_CREDENTIALS", str(file))
    assert problem("PLAIN").endswith("chmod 600")
    file.chmod(0o600)
    assert problem("PLAIN") == "has credentials, which are never sent by plain http"
    assert "secret" not in problem("SAFE")
    assert "must be 'bearer TOKEN'" in problem("SAFE")


def test_a_token_is_shown_once_and_its_digest_kept(site: Path) -> None:
    """Made, listed without its text, revoked; its name is never used again."""
    run("node", "add", "ROUTER", "127.0.0.1", "--sends")
    made = read("token", "add", "router", "--stow", "--node", "ROUTER", "--days", "90")
    assert made["token"].startswith("gk_")
    shown = run("token", "add", "viewer", "--read")
    assert "gk_" in shown
    assert made["token"] not in run("token", "list")
    listed = {one["name"]: one for one in read("token", "list")}
    assert (listed["router"]["node"], listed["router"]["scopes"]) == ("ROUTER", ["stow"])
    assert listed["router"]["expires_at"] > listed["router"]["created_at"]
    assert listed["router"]["digest"] == hashlib.sha256(made["token"].encode()).hexdigest()
    run("token", "revoke", "router")
    assert "revoked" in run("token", "list")
    assert "names are used once" in run("token", "add", "router", "--read", code=1)
    assert "no token" in run("token", "revoke", "nobody", code=1)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("x y", "--read"), "name has up to"),
        (("one",), "--stow, --read, --metrics"),
        (("one", "--stow"), "go together"),
        (("one", "--read", "--node", "ROUTER"), "go together"),
        (("one", "--stow", "--node", "UNKNOWN"), "is not known or does not send"),
    ],
)
def test_a_token_that_could_not_work_is_refused(
    site: Path, arguments: tuple[str, ...], why: str
) -> None:
    """With the rule that it breaks."""
    assert why in run("token", "add", *arguments, code=1)
    assert read("token", "list") == []


def test_check_names_what_the_web_role_lacks(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that it serves by http, on this machine alone, and nothing when it is off."""

    def answers() -> dict[str, str]:
        return {one["key"]: one["text"] for one in read("check", code=1)}

    assert answers()["web.port"] == "127.0.0.1:8080"
    assert answers()["web.host"] == "http"
    monkeypatch.setenv("GATEKEEPER_WEB_PORT", "0")
    assert "web.port" not in answers()
    monkeypatch.setenv("GATEKEEPER_WEB_PORT", "8042")
    monkeypatch.setenv("GATEKEEPER_WEB_HOST", "0.0.0.0")
    assert "in the clear" in answers()["web.host"]


def test_without_its_extra_the_web_role_says_what_to_install(site: Path) -> None:
    """The other roles start without it; this one names the extra."""
    program = (
        "import sys\n"
        "for name in ('fastapi', 'uvicorn', 'python_multipart', 'starlette', 'httpx',\n"
        "             'prometheus_client'):\n"
        "    sys.modules[name] = None\n"
        "from gatekeeper.cli import main\n"
        "import gatekeeper.send.sender, gatekeeper.listen.server, gatekeeper.check\n"
        "sys.argv = ['gatekeeper', *sys.argv[1:]]\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, "-c", program, "web"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    assert "install dicom-gatekeeper with its extra `web`" in " ".join(ran.stderr.split())
