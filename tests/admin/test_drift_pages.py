"""Drift's pages: what was found, shown to everybody, and decided with a name and a reason."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Generator
from pathlib import Path
from urllib.parse import quote

import pytest
from drift.test_watch import SETTINGS, SKYRA, Site
from support.pages import Pages, running_pages, text_of
from support.web import settings_for

from gatekeeper.drift import overview
from gatekeeper.drift.course import course
from models.drift.sequential import Statistic
from storage import audit, drift
from storage.engine import Database


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


@pytest.fixture
def drift_pages(tmp_path: Path, database: Database) -> Generator[Pages]:
    """Run the pages with the settings of drift's tests."""
    settings = dataclasses.replace(settings_for(tmp_path / "spool"), drift=SETTINGS)
    with running_pages(settings, database) as found:
        yield found


def test_what_drifts_is_found_and_decided_on_its_page(site: Site, drift_pages: Pages) -> None:
    """First in the list, with its statistic over the limit; a reason is asked for, and kept."""
    pages = drift_pages
    site.judge(30)
    site.judge(20, shift=4.0)
    site.look()
    number = site.line.number

    assert "drifts" in text_of(pages.get("/drift", "viewer").text)
    shown = pages.get(f"/drift/{number}", "viewer")
    assert "The score is higher by about" in text_of(shown.text)
    assert "Begin the reference anew" not in shown.text
    figures = re.findall(r'(?s)<script type="application/json">(.*?)</script>', shown.text)
    statistic = json.loads(figures[0])
    assert (
        max(point["y"] for point in statistic["series"][0]["values"]) > statistic["lines"][0]["y"]
    )
    assert pages.post(f"/drift/{number}", {"do": "reset", "why": "x"}, "admin").status_code == 403

    refused = pages.post(f"/drift/{number}", {"do": "acknowledge", "why": " "}, "physicist")
    assert refused.status_code == 422
    assert "say why" in text_of(refused.text)
    pages.post(f"/drift/{number}", {"do": "acknowledge", "why": "service was here"}, "physicist")
    assert site.line.state == overview.ACKNOWLEDGED
    pages.post(f"/drift/{number}", {"do": "reset", "why": "new coil"}, "physicist")
    assert site.line.state == overview.COLLECTING
    assert "gathers its reference" in text_of(pages.get("/drift").text)
    with site.database.read() as tx:
        done = [(one.actor, one.action, one.detail.get("why")) for one in audit.listing(tx)]
    assert ("physicist", "drift acknowledged", "service was here") in done
    assert ("physicist", "drift reference reset", "new coil") in done
    assert pages.get("/drift/999").status_code == 404
    assert pages.get(f"/drift/{number}?attribute=other").status_code == 404


def test_a_scanner_has_its_software_and_its_clock_on_a_page(site: Site, drift_pages: Pages) -> None:
    """Whatever it calls its software; its lag is taken for the usual one with a reason."""
    site.judge(6)
    site.judge(6, lag=-3600.0, software="<script>alert(1)</script>\u202e")
    site.look()
    path = f"/drift/scanner?name={quote(f'{SKYRA} 45023')}"

    shown = drift_pages.get(path)
    assert "<script>alert(1)" not in shown.text
    assert "\u202e" not in shown.text
    text = text_of(shown.text)
    assert "60 min in the future" in text
    assert "E11" in text
    form = {"name": f"{SKYRA} 45023", "why": "it is in another zone"}
    assert drift_pages.post("/drift/scanner", form | {"why": ""}).status_code == 422
    assert drift_pages.post("/drift/scanner", form).status_code == 303
    assert "ahead" in text_of(drift_pages.get("/drift").text)
    assert drift_pages.get("/drift/scanner?name=none").status_code == 404


def test_the_course_of_a_statistic_ends_where_the_statistic_is(site: Site) -> None:
    """Worked out anew from the values, it is what was kept as they came."""
    site.judge(45)
    site.look()

    with site.database.read() as tx:
        stream = drift.get(tx, site.line.number)
        assert stream is not None
        observed = drift.observations(tx, stream)
    for attribute in ("score", "repetition_time"):
        steps = course(observed, attribute, SETTINGS.reference_series)
        kept = Statistic.of_json(stream.statistics[attribute]).value
        assert len(steps) == 45
        assert steps[-1].statistic == pytest.approx(kept)
        assert steps[19].statistic is None
