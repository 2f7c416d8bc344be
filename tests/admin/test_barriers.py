"""Every page in a browser: no barrier, nothing of a scanner's text runs, no sideways scrolling."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from bench.admin import addresses_of
from sqlalchemy import Table, update
from support.browser import Eye, browsing, opened
from support.busy_site import fill, uid_of
from support.pages import PASSWORD, Pages, running_pages
from support.web import settings_for

from storage import nodes
from storage.engine import Database
from storage.records import Node, Role
from storage.schema import (
    delivery,
    drift_device,
    drift_stream,
    forward,
    job,
    node,
    outcome,
    stage_pause,
    study,
    study_header,
)

pytest.importorskip("playwright")

STUDIES = 400
LONG = "W" * 150
HOSTILE = f"<script>alert(1)</script><img src=x onerror=alert(2)>\u202e'\"{LONG}"
TITLE = "<b onload=a()>'\""
"""As hostile as an AE title has room to be."""
LOOKS = ((1440, 900, "light"), (390, 844, "dark"))
BARRIERS = """async () => {
    const found = await axe.run(document, {resultTypes: ["violations"]});
    return found.violations.filter(one => ["serious", "critical"].includes(one.impact)).map(
        one => `${one.id}: ` + one.nodes.slice(0, 3).map(at => at.html.slice(0, 160)
            + " " + at.failureSummary.replace(/\\s+/g, " ").slice(0, 200)).join(" | "));
}"""
WIDTHS = """() => {
    const {scrollWidth, clientWidth} = document.scrollingElement;
    if (scrollWidth <= clientWidth) return "";
    const wide = [...document.querySelectorAll("main *")].filter(
        one => one.getBoundingClientRect().right > clientWidth + 1).slice(-1)[0];
    return `${scrollWidth} pixels wide: ${wide?.outerHTML.slice(0, 200)}`;
}"""
FOCUSED = """() => {
    const one = document.activeElement;
    const style = getComputedStyle(one);
    return {
        text: one.textContent.trim(),
        name: one.getAttribute("name") ?? "",
        row: one.classList.contains("row-link"),
        seen: style.outlineStyle !== "none" || style.boxShadow !== "none",
    };
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    """Return the program of axe-core; where GATEKEEPER_AXE names a folder, it must be there."""
    cache = Path(__file__).resolve().parents[2] / ".cache" / "axe"
    folder = Path(os.environ.get("GATEKEEPER_AXE", cache))
    path = folder / "axe.min.js"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    missing = "peer missing: axe-core (tests/viewer/fetch-axe.sh)"
    if "GATEKEEPER_AXE" in os.environ:
        pytest.fail(f"{missing}, and GATEKEEPER_AXE names it")
    pytest.skip(missing)


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str, database: Database) -> Generator[Pages]:
    """Run the pages of a site whose every text from elsewhere means harm."""
    settings = settings_for(tmp_path / "spool")
    fill(database, sqlite_url, settings, STUDIES)
    poison(database)
    with running_pages(settings, database) as pages:
        text = f'name = "first"\ndescription = {json.dumps(HOSTILE)}\n'
        text += 'when = ["Modality is MR"]\nthen = [{ forward = "AI" }]'
        assert pages.post("/rules/new", {"text": text}).status_code == 303
        yield pages


def poison(database: Database) -> None:
    """Have every text that a scanner, a node or a person chooses be a hostile one."""
    texts: dict[Table, dict[str, Any]] = {
        study: {"source_ae": TITLE},
        study_header: dict.fromkeys(
            (
                "patient_name",
                "patient_id",
                "accession_number",
                "study_description",
                "body_part",
                "manufacturer",
                "model_name",
                "station_name",
                "software_versions",
                "protocol_name",
                "series_description",
                "device",
            ),
            HOSTILE,
        ),
        job: {"reason": HOSTILE},
        outcome: {"reason": HOSTILE},
        delivery: {"reason": HOSTILE, "node": TITLE},
        forward: {"reason": HOSTILE},
        drift_stream: {"detector": HOSTILE},
        drift_device: {"device": HOSTILE, "station": HOSTILE, "serial": HOSTILE},
        node: {"description": HOSTILE},
    }
    with database.begin() as tx:
        for table, values in texts.items():
            tx.execute(update(table).values(**values))
        nodes.save(tx, Node(TITLE, "192.0.2.7", 104, roles=(Role.SCANNER,), may_send=True))
        tx.execute(
            stage_pause.insert(),
            {"stage": "delivery", "since": 1.7e9, "by": "anna", "why": HOSTILE},
        )


def pages_of(site: Pages) -> list[str]:
    """Return an address of every route that answers with a whole page."""
    shown = {"/no-such-page": "/no-such-page"}
    for path in addresses_of(STUDIES):
        found = site.get(path)
        is_page = "<!doctype html>" in found.text[:40].lower() and found.status_code == 200
        if is_page and "content-disposition" not in found.headers:
            shown.setdefault(path.partition("?")[0], path)
    return list(shown.values())


def signed_in(site: Pages, eye: Eye) -> None:
    kept = site.of("anna").cookies.jar
    eye.page.context.add_cookies(
        [{"name": one.name, "value": one.value or "", "url": site.url} for one in kept]
    )


def test_no_page_has_a_barrier_runs_a_scanners_text_or_scrolls_sideways(
    site: Pages, axe: str, peer: Callable[[str], str]
) -> None:
    """Wide and light, narrow and dark: axe finds nothing serious, no dialog opens, no policy is
    broken, and the longest names stay within the page."""

    wrong: list[str] = []
    paths = pages_of(site)
    assert len(paths) > 25
    with browsing(peer("chromium")) as browser:
        for width, height, scheme in LOOKS:
            eye = opened(
                browser,
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                reduced_motion="reduce",
                base_url=site.url,
            )
            for path in ["/sign-in", *paths]:
                eye.page.goto(path)
                eye.page.evaluate(axe)
                found = [*eye.page.evaluate(BARRIERS), eye.page.evaluate(WIDTHS)]
                wrong += [f"{path}, {width} {scheme}: {one}" for one in found if one]
                if path == "/sign-in":
                    signed_in(site, eye)
            wrong += [one for one in eye.wrong if "no-such-page" not in one]
            eye.page.context.close()
    assert wrong == [], "\n".join(wrong)


def test_a_study_is_reached_from_the_sign_in_by_the_keyboard_alone(
    site: Pages, peer: Callable[[str], str]
) -> None:
    """Tab and Enter lead there, and what has the focus is seen to have it."""

    with browsing(peer("chromium")) as browser:
        eye = opened(browser, base_url=site.url)
        page = eye.page
        page.goto("/sign-in?next=/")
        tab_to(eye, lambda one: one["name"] == "name")
        page.keyboard.type("viewer")
        tab_to(eye, lambda one: one["name"] == "password")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "sign-in" not in url)
        tab_to(eye, lambda one: one["text"] == "Studies")
        page.keyboard.press("Enter")
        page.wait_for_url("**/studies")
        tab_to(eye, lambda one: bool(one["row"]))
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/studies/{uid_of(STUDIES)}")
        page.get_by_role("heading", level=1).wait_for()
        assert eye.wrong == []


def tab_to(eye: Eye, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Press Tab until this has the focus."""
    for _ in range(60):
        found = eye.page.evaluate(FOCUSED)
        if wanted(found):
            assert found["seen"], f"nobody sees that {found} has the focus"
            return
        eye.page.keyboard.press("Tab")
    raise AssertionError("sixty times Tab do not lead there")
