"""Text from headers and callers is a value wherever it goes, and never a statement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog
from listen.wire import (
    EXPLICIT,
    MR,
    associated,
    image_file,
    rejection,
    running,
    settings_for,
)
from sqlalchemy import inspect
from support.waiting import until
from typer.testing import CliRunner

from gatekeeper import periodic
from gatekeeper.cli import app
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.transport import SendObject
from gatekeeper.settings import SendSettings
from storage import instances, nodes
from storage.engine import Database
from storage.records import Instance, Node
from storage.schema import metadata

AE_TITLES = ("';DROP TABLE job", '"or 1=1;--', "%s%(uid)s:uid{0}")
"""Each 16 characters or fewer, as an AE title is."""
TEXTS = (
    "'; DROP TABLE instance; --",
    '" OR "1"="1',
    "%s %(name)s :name {0} ${x}",
    "x'); DELETE FROM node; --",
)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.filterwarnings("ignore:The value length")
def test_sql_in_headers_and_ae_titles_is_text(
    tmp_path: Path, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent by C-STORE, assembled, and listed: kept to the letter, and every table is as it was."""
    settings = settings_for(tmp_path / "spool", quiet_seconds=0.0)
    kept: list[Instance] = []
    with running(settings, database) as listening:
        for number, hostile in enumerate((*TEXTS, *AE_TITLES), 1):
            uid = f"1.2.826.9.{number}"
            calling = AE_TITLES[number % len(AE_TITLES)]
            with database.begin() as tx:
                nodes.save(tx, Node(calling, "127.0.0.1", 0, may_send=True, description=hostile))
            path = image_file(
                tmp_path / "files",
                uid,
                study=f"1.2.826.8.{number}",
                modality=hostile,
                PatientName=hostile,
                PatientID=hostile,
                StudyDescription=hostile,
                AccessionNumber=hostile,
            )
            sent = DimseTransport(calling, SendSettings()).send(
                [SendObject(MR, uid, EXPLICIT, path)],
                Node("GATEKEEPER", "127.0.0.1", listening.port),
            )
            assert [answer.status for answer in sent] == [0x0000]
            with associated(listening.port, calling="'OR'1'='1") as stranger:
                assert rejection(stranger) is not None
            kept += listening.kept(uid)
        spool = listening.spool
    context = periodic.Context(settings, database, spool)
    completed: list[int] = []

    def complete() -> bool:
        completed.append(periodic.tick_complete(context))
        return sum(completed) == len(kept)

    until(complete, 60, "every study is complete")
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", database_url)
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["study", "list", "--json"])
    structlog.reset_defaults()
    with database.read() as tx:
        tables = set(inspect(tx).get_table_names())
        count, known = instances.count(tx), {node.ae_title for node in nodes.listing(tx)}

    assert answer.exit_code == 0, answer.output
    listed = json.loads(answer.stdout)
    assert {row["source_ae"] for row in listed} == set(AE_TITLES)
    assert {row["stage"] for row in listed} == {"queued"}
    assert len(listed) == count == len(kept) == len(TEXTS) + len(AE_TITLES)
    assert {one.modality for one in kept} == {""}
    assert known >= set(AE_TITLES)
    assert tables >= set(metadata.tables)
