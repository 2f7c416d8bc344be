"""The guided set-up: each part by a form, resumed where it was left, over when it is said so."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from listen.wire import encoded, image
from support.dicom_peers import ScriptedPeer
from support.pages import Pages, make_people, text_of
from support.receiving import receive_data, running_receiver
from support.waiting import until
from support.web import answers, settings_for

from gatekeeper import config
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.web.server import WebServer
from storage import audit, nodes
from storage.engine import Database
from storage.spool import Spool

MARK = "<script>alert(1)</script>"


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Generator[tuple[Pages, Path]]:
    """Run a web role of a new site that knows its settings file."""
    file = tmp_path / "gatekeeper.toml"
    file.write_text(config.template(), "utf-8")
    settings = settings_for(tmp_path / "spool")
    make_people(database, ["admin", "viewer"])
    spool = Spool(Path(settings.spool.directory))
    server = WebServer(settings, database, spool, file)
    server.start()
    until(lambda: answers(server.port), 30, "the web role answers")
    pages = Pages(server, database, spool, f"http://127.0.0.1:{server.port}")
    yield pages, file
    pages.close()
    server.stop()


def test_a_new_site_is_set_up_part_by_part(site: tuple[Pages, Path], database: Database) -> None:
    """Our title in the file, an archive that answers, a scanner, a study that arrives, done."""
    pages, file = site

    def page(path: str = "/setup") -> str:
        return text_of(pages.get(path, "admin").text)

    assert "Finish set-up" in page("/")
    assert "Finish set-up" not in text_of(pages.get("/", "viewer").text)
    assert pages.get("/setup", "viewer").status_code == 403
    assert "Our AE title" in page()
    wrong = pages.post("/setup/title", {"ae_title": f"{MARK}"}, "admin")
    assert (wrong.status_code, MARK in wrong.text) == (422, False)
    assert pages.post("/setup/title", {"ae_title": "RADIOLOGY"}, "admin").status_code == 303
    assert config.load(file, {}).listen.ae_title == "RADIOLOGY"
    assert "Restart Gatekeeper" in page()

    with ScriptedPeer() as peer:
        address = f"127.0.0.1:{peer.port}"
        archive = {"part": "archive", "ae_title": "SCRIPTED", "address": address, "studies": "yes"}
        refused = pages.post("/setup/node", archive | {"address": "10.1.1.1"}, "admin")
        assert (refused.status_code, "HOST:PORT" in text_of(refused.text)) == (422, True)
        assert pages.post("/setup/node", archive, "admin").status_code == 303
        call = {"node": "SCRIPTED", "call": "echo", "part": "archive"}
        begun = pages.post("/setup/call", call, "admin")
        assert begun.status_code == 303
        until(lambda: "All is well" in page(begun.headers["location"]), 60, "the archive answers")
    assert "Enter it" in page()
    scanner = {"part": "scanner", "ae_title": "MR1", "address": "127.0.0.1"}
    assert pages.post("/setup/node", scanner, "admin").status_code == 303
    with database.read() as tx:
        assert [(n.ae_title, n.may_send, n.receives_studies) for n in nodes.listing(tx)] == [
            ("MR1", True, False),
            ("SCRIPTED", False, True),
        ]
    waits = pages.get("/setup-parts/transfer", "admin").text
    assert (waits.count("waited for"), waits.count('"done"')) == (5, 0)
    with running_receiver(database, pages.spool) as receiver:
        scanner_of = OpenAssociation("MR1", "127.0.0.1")
        assert receive_data(receiver, "1.2.3.1", encoded(image("1.2.3.1")), scanner_of).status == 0
    came = text_of(pages.get("/setup-parts/transfer", "admin").text)
    assert "MR1 connected" in came
    assert "1 object in 1 series, from MR1" in came
    assert "Finish set-up" not in page("/")


def test_a_dismissed_set_up_is_offered_no_more(
    site: tuple[Pages, Path], database: Database
) -> None:
    """Whoever dismissed it stands in the audit trail; the pages of it are still there."""
    pages, _file = site
    assert pages.post("/setup/end", {}, "admin").status_code == 303
    assert "Finish set-up" not in text_of(pages.get("/", "admin").text)
    assert pages.get("/setup", "admin").status_code == 200
    with database.read() as tx:
        assert [one.actor for one in audit.listing(tx, action="setup ended")] == ["admin"]


def test_a_title_that_cannot_be_written_from_here_is_told_with_its_line(
    site: tuple[Pages, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line to put into the file, and why; nothing is offered that does not work."""
    pages, _file = site
    monkeypatch.setenv("GATEKEEPER_LISTEN_AE_TITLE", "FROMENV")
    page = pages.get("/setup?part=title", "admin").text
    assert "GATEKEEPER_LISTEN_AE_TITLE" in page
    assert "ae_title = &#34;FROMENV&#34;" in page
    assert 'action="/setup/title"' not in page
    assert pages.post("/setup/title", {"ae_title": "OTHER"}, "admin").status_code == 422
