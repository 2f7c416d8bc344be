"""Decision records: signed once per decision, chained, and compared with the facts of today."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from gatekeeper import config, decision_record, signing
from gatekeeper.cli import app
from gatekeeper.decision_record import PAYLOAD_TYPE
from gatekeeper.errors import ConfigurationError
from gatekeeper.signing import SignatureRefusedError, Signed, SigningKey
from storage import decision_records, instances, jobs, schema, studies
from storage.engine import Database
from storage.records import Instance, Outcome, Result
from storage.spool import Spool

STUDY = "1.2.826.1"
CONTENT = "a" * 64
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Site:
    """A study that was judged, the key, and the command line on both."""

    def __init__(self, folder: Path, url: str, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.spool = Spool(folder / "spool")
        self.key = folder / "keys" / "signing.pem"
        self.file = folder / config.DEFAULT_FILE
        self.file.write_text(
            f'[database]\nurl = "{url}"\n[spool]\ndirectory = "{self.spool.root}"\n'
            f'[records]\nsigning_key = "{self.key}"\n'
        )
        self.file.chmod(0o600)

    def receive(self, number: int) -> Instance:
        stored = self.spool.store(b"instance %d" % number)
        one = Instance(
            f"{STUDY}.{number}",
            "1.2.840.10008.5.1.4.1.1.4",
            "1.2.840.10008.1.2.1",
            STUDY,
            "1.2.3.4",
            "MR",
            stored.digest,
            stored.size,
            "CT1",
        )
        with self.database.begin() as tx:
            instances.record(tx, one, None)
        return one

    def judge(self, verdict: str, content: str = CONTENT) -> None:
        with self.database.begin() as tx:
            study = studies.get(tx, STUDY)
            assert study is not None
            revision = studies.complete(tx, STUDY, content, study.last_received_at)
            assert revision is not None
            assert jobs.enqueue(tx, STUDY, content, "b" * 64, revision) is not None
            job = jobs.claim(tx, "test", 60.0)
            assert job is not None
            report = Result(
                f"{STUDY}.9.{revision}", "1.2.3", "1.2.9", "1.2.5", "report", CONTENT, 7
            )
            evidence = {"false_hold_rate": 0.05, "series": [{"series_instance_uid": "1.2.3.4"}]}
            outcome = Outcome(job.id, verdict, "Held.", 3.5, 0.05, evidence)
            assert jobs.settle(tx, job.id, job.attempt, outcome, [report], [])

    def sign(self) -> int:
        return decision_record.sign_due(self.database, self.key, 100)

    def cli(self, *arguments: str | Path, code: int = 0) -> str:
        answer = CliRunner().invoke(
            app, ["--config", str(self.file), "study", *map(str, arguments)]
        )
        assert answer.exit_code == code, answer.output
        return answer.output


@pytest.fixture
def site(tmp_path: Path, database_url: str, database: Database) -> Site:
    """Give a site whose study was received, judged and recorded."""
    made = Site(tmp_path, database_url, database)
    for number in (1, 2):
        made.receive(number)
    made.judge("SUSPECT")
    assert made.sign() == 1
    return made


def test_a_verdict_is_signed_once(site: Site) -> None:
    """A second tick signs nothing; the record says what was received, found and on what."""
    assert site.sign() == 0
    with site.database.read() as tx:
        (record,) = decision_records.of_study(tx, STUDY)
    document = json.loads(record.payload)

    assert (document["number"], document["previous"]) == (1, "")
    assert [one["sop_instance_uid"] for one in document["received"]] == [f"{STUDY}.1", f"{STUDY}.2"]
    (judgement,) = document["judgements"]
    assert (judgement["verdict"], judgement["p_value"]) == ("SUSPECT", 0.05)
    assert judgement["false_hold_rate"] == 0.05
    assert judgement["results"][0]["kind"] == "report"
    assert site.cli("verify", STUDY).rstrip().endswith("Genuine, and as recorded.")


def test_the_next_record_names_the_one_before_it(site: Site) -> None:
    """A revision makes record 2; until it is signed, what came since is told, not refused."""
    site.receive(3)
    assert "1 newer: the next record is due" in site.cli("verify", STUDY)
    site.judge("CLEAR", "c" * 64)
    assert site.sign() == 1

    with site.database.read() as tx:
        first, second = decision_records.of_study(tx, STUDY)
    assert json.loads(second.payload)["previous"] == first.digest
    answers = json.loads(site.cli("verify", STUDY, "--json"))
    assert answers["ok"]
    assert [one["what"] for one in answers["answers"][:2]] == ["record 1", "record 2"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            update(schema.outcome).values(verdict="CLEAR"),
            "judgements: 1 recorded entries are not as they were",
        ),
        (
            update(schema.instance).where(schema.instance.c.id == 1).values(digest="f" * 64),
            "received: 1 recorded entries are not as they were",
        ),
        (
            update(schema.decision_record).values(payload='{"number": 1}'),
            "record 1: the signature is not that of this document",
        ),
        (
            update(schema.decision_record).values(key_id="0" * 64),
            "record 1: signed by a key that is not known",
        ),
    ],
)
def test_a_change_behind_the_back_is_found(site: Site, change: object, said: str) -> None:
    """Of a verdict, of what was received, of the record, of the signer."""
    with site.database.begin() as tx:
        tx.execute(change)  # pyright: ignore[reportCallIssue, reportArgumentType]

    assert said in " ".join(site.cli("verify", STUDY, code=1).split())


def test_a_changed_file_is_found(site: Site) -> None:
    """Received files are read and hashed; one that retention removed is no forgery."""
    with site.database.read() as tx:
        first, second = instances.of_study(tx, STUDY)
    changed = site.spool.path(first.digest)
    changed.chmod(0o600)
    changed.write_bytes(b"other")
    assert "1 have other content" in site.cli("verify", STUDY, code=1)

    changed.write_bytes(b"instance 1")
    site.spool.remove(second.digest)
    assert "1 are not kept any more" in site.cli("verify", STUDY)


@sqlite_only
def test_records_are_verified_without_the_site(site: Site) -> None:
    """With the file and a public key alone; another key, a gap or an edit is refused."""
    site.receive(3)
    site.judge("CLEAR", "c" * 64)
    site.sign()
    file, elsewhere = site.folder / "record.json", site.folder / "elsewhere"
    site.cli("record", STUDY, "--out", file)
    elsewhere.mkdir()
    site.file.unlink()
    (public,) = (site.folder / "keys").glob("*.pub.pem")
    SigningKey.make(elsewhere / "other.pem")
    (other,) = elsewhere.glob("*.pub.pem")

    assert "Genuine" in site.cli("verify", "--file", file, "--key", public)
    site.cli("verify", "--file", file, "--key", other, code=1)
    site.cli("verify", "1.2.3", "--file", file, "--key", public, code=1)
    envelopes = json.loads(file.read_text())
    file.write_text(json.dumps(envelopes[1:]))
    assert "a record is missing" in site.cli("verify", "--file", file, "--key", public, code=1)
    payload = base64.b64decode(envelopes[0]["payload"]).replace(b"SUSPECT", b"CLEAR")
    envelopes[0]["payload"] = base64.b64encode(payload).decode()
    file.write_text(json.dumps(envelopes))
    assert "not that of this document" in site.cli(
        "verify", "--file", file, "--key", public, code=1
    )


@sqlite_only
def test_a_key_that_is_gone_is_not_replaced_in_silence(site: Site) -> None:
    """What is due stays due; put back, or replaced by hand, it goes on, and old records verify."""
    key = site.key
    site.receive(3)
    site.judge("CLEAR", "c" * 64)
    key.rename(key.with_suffix(".away"))
    with pytest.raises(ConfigurationError, match="records were signed with it"):
        site.sign()

    SigningKey.make(key)
    assert site.sign() == 1
    assert "Genuine" in site.cli("verify", STUDY)


@sqlite_only
def test_a_key_that_others_may_read_is_refused(site: Site) -> None:
    """Who can read it can sign."""
    site.key.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        SigningKey.read(site.key)


def test_an_envelope_is_dsse(tmp_path: Path) -> None:
    """The signature covers DSSE's encoding of type and bytes, as its specification writes it."""
    key = SigningKey.make(tmp_path / "signing.pem")
    keys = signing.public_keys(tmp_path / "signing.pem")
    signed = key.sign(b"hello world", "http://example.com/HelloWorld")
    encoded = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"

    keys[key.key_id].verify(base64.b64decode(signed.signature), encoded)
    signing.verify(signed, "http://example.com/HelloWorld", keys)
    for wrong in (
        dataclasses.replace(signed, payload=b"hello World"),
        Signed(signed.payload, signed.key_id, "!"),
    ):
        with pytest.raises(SignatureRefusedError):
            signing.verify(wrong, "http://example.com/HelloWorld", keys)
    with pytest.raises(SignatureRefusedError):
        signing.verify(signed, PAYLOAD_TYPE, keys)
