"""The command line: what an administrator types, and what comes back."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from support.command_line import read, run, runner

from gatekeeper.cli import app
from gatekeeper.results.kinds import USUAL, VIEWERS
from storage import instances, jobs, studies
from storage.engine import Database
from storage.records import Instance


@pytest.fixture
def site(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Stand in an empty folder with a database of its own, configured by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", database_url)
    monkeypatch.setenv("GATEKEEPER_SPOOL_LOW_WATER_MIB", "1")
    yield tmp_path
    structlog.reset_defaults()


def a_study(database: Database) -> str:
    """Record one complete study with one job, and return its UID."""
    instance = Instance("1.2.3.4", "1.2", "1.2.1", "1.2.3", "1.2.3.5", "MR", "a" * 64, 10, "CT1")
    with database.begin() as tx:
        association = instances.open_association(tx, "CT1", "127.0.0.1")
        instances.record(tx, instance, association)
        instances.close_association(tx, association)
        study = studies.get(tx, "1.2.3")
        assert study is not None
        revision = studies.complete(tx, "1.2.3", "b" * 64, study.last_received_at)
        assert revision == 1
        jobs.enqueue(tx, "1.2.3", "b" * 64, "c" * 64, revision)
    return "1.2.3"


def test_init_writes_settings_that_check_accepts_and_never_replaces_them(site: Path) -> None:
    """A second init keeps what an administrator has edited."""
    run("init")
    file = site / "gatekeeper.toml"
    assert file.stat().st_mode & 0o077 == 0
    file.write_text(file.read_text() + "\n# edited\n")
    assert "--force" in run("init", code=1)
    assert "# edited" in file.read_text()


def test_only_a_node_that_receives_results_confirms_them(site: Path) -> None:
    """How it confirms is listed, and without results there is nothing to confirm."""
    run("node", "add", "PACS", "10.1.9.9:104", "--results", "--confirm", "commitment")
    [listed] = read("node", "list")
    assert listed["confirm"] == "commitment"
    assert "receives --results" in run(
        "node", "add", "CT1", "10.1.2.3", "--sends", "--confirm", "find", code=1
    )


def test_reconcile_says_what_is_not_analysed_and_ends_with_a_failure(
    site: Path, database: Database
) -> None:
    """Nothing to compare is balanced; a study whose job waits is a difference with its cause."""
    assert "0 compared" in run("reconcile")
    assert "not known" in run("reconcile", "--node", "PACS", code=1)
    assert "not known" in run("reconcile", "--study", "1.2.3", code=1)
    run("node", "add", "PACS", "10.1.9.9:104", "--results")
    a_study(database)

    assert "not analysed: job 1 is queued" in run("reconcile", code=1)
    [balance] = read("reconcile", code=1)
    assert (balance["node"], balance["received"], balance["analysed"]) == ("PACS", 1, False)


def test_a_node_that_was_added_is_listed_replaced_and_removed(site: Path) -> None:
    """Nodes are facts in the database; adding twice replaces."""
    run("node", "add", "CT1", "10.1.2.3", "--sends", "--quiet", "120", "--network", "10.1.2.0/24")
    run("node", "add", "PACS", "10.1.9.9:104", "--results")
    run("node", "add", "PACS", "10.1.9.9:11112", "--results")
    listed = {node["ae_title"]: node for node in read("node", "list")}
    assert listed["CT1"]["may_send"]
    assert listed["CT1"]["networks"] == ["10.1.2.0/24"]
    assert listed["CT1"]["quiet_seconds"] == 120
    assert listed["PACS"]["port"] == 11112
    run("node", "remove", "CT1")
    assert [node["ae_title"] for node in read("node", "list")] == ["PACS"]
    assert "not known" in run("node", "remove", "CT1", code=1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("SEVENTEEN_LETTERS", "10.1.2.3", "--sends"),
        ("PACS", "10.1.9.9:port", "--results"),
        ("PACS", "10.1.9.9", "--results"),
        ("PACS", "10.1.9.9:104"),
        ("CT1", "10.1.2.3", "--sends", "--network", "10.1.2.3.4"),
    ],
)
def test_a_node_that_could_not_work_is_refused(site: Path, arguments: tuple[str, ...]) -> None:
    """A bad title, port or network is an error when it is entered, and nothing is saved."""
    assert runner.invoke(app, ["node", "add", *arguments]).exit_code != 0
    assert read("node", "list") == []


def test_check_passes_a_site_with_a_sender_and_a_receiver(site: Path) -> None:
    """A fit site answers ok for every key, exit 0."""
    run("node", "add", "CT1", "127.0.0.1", "--sends")
    run("node", "add", "PACS", "127.0.0.1:104", "--results")
    answers = read("check")
    assert all(answer["ok"] for answer in answers), answers
    assert {"database.url", "spool.directory", "node.PACS", "model.mr-brain-t1"} <= {
        answer["key"] for answer in answers
    }


def test_check_names_every_bad_key_and_exits_non_zero(site: Path) -> None:
    """Settings first: each bad value by its key."""
    (site / "gatekeeper.toml").write_text("[listen]\nport = 0\n[work]\ndevice = 'tpu'\n")
    answers = read("check", code=1)
    assert [answer["key"] for answer in answers] == ["work.device", "listen.port"] or {
        answer["key"] for answer in answers
    } == {"listen.port", "work.device"}


def test_a_node_takes_the_results_that_its_viewer_shows(site: Path) -> None:
    """By kind, by viewer, or the usual ones; what is no kind is refused."""
    run("node", "add", "PACS", "127.0.0.1:104", "--results", "--viewer", "ohif")
    run("node", "add", "VNA", "127.0.0.1:104", "--results", "--objects", "key-objects, report-2d")
    run("node", "add", "OLD", "127.0.0.1:104", "--results")

    taken = {node["ae_title"]: node["objects"] for node in read("node", "list")}
    assert taken == {
        "PACS": list(VIEWERS["ohif"]),
        "VNA": ["report-2d", "key-objects"],
        "OLD": [],
    }
    assert all(kind in run("node", "list") for kind in USUAL)
    add = ("node", "add", "X", "127.0.0.1:104")
    assert "there are: report" in run(*add, "--results", "--objects", "hologram", code=1)
    assert "there are: ohif" in run(*add, "--results", "--viewer", "crystal", code=1)
    assert "not both" in run(*add, "--results", "--viewer", "ohif", "--objects", "report", code=1)
    assert "receives --results" in run(*add, "--sends", "--viewer", "ohif", code=1)


def test_check_says_what_a_site_without_nodes_lacks(site: Path) -> None:
    """Nobody may send and nobody receives: both are said."""
    run("node", "list")
    wrong = [answer for answer in read("check", code=1) if not answer["ok"]]
    assert [answer["key"] for answer in wrong] == ["nodes", "nodes"]


def test_check_refuses_a_tampered_model(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle whose weights are not those of its manifest is named."""
    import shutil

    from models.registry import SHIPPED_BUNDLES

    folder = site / "bundles"
    shutil.copytree(SHIPPED_BUNDLES / "mr-brain-t1", folder / "mr-brain-t1")
    weights = next((folder / "mr-brain-t1").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setenv("GATEKEEPER_MODELS_DIRECTORY", str(folder))
    wrong = [answer for answer in read("check", code=1) if not answer["ok"]]
    assert any("mr-brain-t1" in answer["text"] for answer in wrong)


def test_a_study_is_shown_with_its_stage(site: Path, database: Database) -> None:
    """List and show tell where a study is on its way."""
    uid = a_study(database)
    listed = read("study", "list")
    assert [(row["study_instance_uid"], row["stage"]) for row in listed] == [(uid, "queued")]
    shown = read("study", "show", uid)
    assert shown["jobs"][0]["job"]["state"] == "queued"
    assert uid in run("study", "show", uid)
    assert "not known" in run("study", "show", "1.2.9", code=1)


def test_a_dead_job_is_retried_and_a_live_one_is_not(site: Path, database: Database) -> None:
    """Retry gives a dead job another chance; anything else is refused with its state."""
    a_study(database)
    job = read("job", "list")[0]["id"]
    assert "queued" in run("job", "retry", str(job), code=1)
    with database.begin() as tx:
        claimed = jobs.claim(tx, "worker", 60)
        assert claimed is not None
        jobs.fail(tx, claimed.id, claimed.attempt, "a test's reason", None)
    assert "a test's reason" in run("job", "list", "--state", "dead")
    run("job", "retry", str(job))
    assert read("job", "list")[0]["state"] == "queued"


def test_status_counts_what_waits(site: Path, database: Database) -> None:
    """One queued job of one complete study."""
    a_study(database)
    status = read("status")
    assert status["jobs"]["queued"] == 1
    assert status["studies"] == {"complete": 1}
    assert "1 queued" in run("status")


def test_the_ledger_ends_with_1_and_names_what_does_not_add_up(
    site: Path, database: Database
) -> None:
    """An empty site balances; a row without its file does not, and is named with its cause."""
    assert "balanced" in run("ledger", "--verify")
    a_study(database)
    books = read("ledger", code=1)

    assert not books["balanced"]
    assert books["counts"]["differences"] == 1
    assert books["differences"][0]["key"] == "1.2.3.4"
    assert "is missing" in run("ledger", code=1)


def test_a_wrong_setting_ends_a_command_with_one_line(
    site: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No traceback: the key and the rule."""
    import sys

    from gatekeeper.cli import main

    (site / "gatekeeper.toml").write_text("[listen]\nport = 0\n")
    monkeypatch.setattr(sys, "argv", ["gatekeeper", "status"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "listen.port: must be at least 1" in " ".join(capfd.readouterr().err.split())


def test_a_node_takes_its_results_in_its_language(site: Path) -> None:
    """It is shown, and English for whoever states none."""
    run("node", "add", "KLINIK", "127.0.0.1:104", "--results", "--language", "de")
    run("node", "add", "PACS", "127.0.0.1:105", "--results")

    assert [node["language"] for node in read("node", "list")] == ["de", "en"]
    assert "language" in run("node", "list")


def test_a_language_without_a_catalogue_is_refused(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the node is entered; and by the check, when its catalogue breaks a rule later."""
    answer = run("node", "add", "PACS", "127.0.0.1:104", "--results", "--language", "fr", code=1)
    assert "there is no catalogue fr.toml" in answer
    assert "--results" in run(
        "node", "add", "CT1", "127.0.0.1", "--sends", "--language", "de", code=1
    )
    monkeypatch.setenv("GATEKEEPER_RESULTS_CATALOGUES", str(site))
    run("node", "add", "PACS", "127.0.0.1:104", "--results", "--language", "de")
    (site / "de.toml").write_text("[catalogue]")

    answer = run("check", code=1)
    assert "must have language, name and decimal" in answer
