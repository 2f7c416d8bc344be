"""The slice viewer: pictures for who may look at studies, and for nobody else."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.pages import Pages, running_pages, text_of
from support.passage import EXPLICIT, MR, Passage
from support.waiting import until
from support.web import settings_for
from viewing.test_drawing import head
from work.phantoms import STUDY, encoded

from storage import instances
from storage.engine import Database
from storage.records import Instance


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Passage:
    return Passage(tmp_path, database)


@pytest.fixture
def pages(tmp_path: Path, site: Passage) -> Generator[Pages]:
    with running_pages(settings_for(tmp_path / "spool"), site.database) as found:
        yield found


def receive(site: Passage, number: int, **attributes: Any) -> None:
    for one in head(4, number=number, **attributes):
        kept = site.spool.store(encoded(one))
        instance = Instance(
            sop_instance_uid=str(one.SOPInstanceUID),
            sop_class_uid=MR,
            transfer_syntax_uid=EXPLICIT,
            study_instance_uid=STUDY,
            series_instance_uid=str(one.SeriesInstanceUID),
            modality="MR",
            digest=kept.digest,
            size=kept.size,
            source_ae="SCANNER",
        )
        with site.database.begin() as tx:
            instances.record(tx, instance, None)


def ready(pages: Pages, path: str) -> httpx.Response:
    """Return the viewer once it has its pictures, or says why not."""
    until(lambda: 'hx-trigger="every' not in pages.get(path).text, 60, "the series is drawn")
    return pages.get(path)


def test_slices_are_drawn_when_somebody_looks_and_served_to_who_may(
    site: Passage, pages: Pages
) -> None:
    """The first look has them drawn; a picture is private, and nobody else's study has it."""

    receive(site, 1)
    receive(site, 2, SeriesDescription="<script>alert(1)</script>")
    site.complete(STUDY)
    page = ready(pages, f"/studies/{STUDY}/viewer?series={STUDY}.2").text
    assert "No detector answered on this series" in text_of(page)
    assert "<script" not in page
    found = re.search(r'data-viewer="([^"]*)"', page)
    assert found is not None
    figure = json.loads(html.unescape(found[1]))
    assert len(figure["slices"]) == 4

    picture = pages.get(figure["path"] + "2.png", "viewer")
    assert picture.status_code == 200
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["cache-control"] == "private, no-store"
    assert pages.get(figure["path"] + "2.png", "").status_code == 303
    elsewhere = figure["path"].replace(STUDY, "1.2.3")
    for path in (
        figure["path"] + "4.png",
        figure["path"] + "manifest.json",
        figure["path"] + "..%2F0.png",
        elsewhere + "2.png",
        f"/studies/{STUDY}/view/{'0' * 64}/0.png",
        f"/studies/{STUDY}/view/nonsense/0.png",
    ):
        assert pages.get(path).status_code == 404


def test_a_study_without_files_says_so(site: Passage, pages: Pages) -> None:
    """Once retention has removed them there is nothing to show."""

    assert pages.get("/studies/1.2.3/viewer").status_code == 404
    receive(site, 1)
    site.complete(STUDY)
    with site.database.begin() as tx:
        for one in instances.of_study(tx, STUDY):
            instances.withdraw(tx, one.sop_instance_uid, one.digest)
    assert "There are no files to show" in pages.get(f"/studies/{STUDY}/viewer").text
