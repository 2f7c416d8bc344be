"""A site from its first start to a study that a person released, in a browser, with real peers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.browser import PATIENCE, Eye, browsing, opened
from support.gate import Gate, free_port, running_gate
from support.pages import PASSWORD
from support.pelvis import FALSE_HOLD_RATE, judging_bundle, pelvis, written
from support.waiting import until
from support.walking import SETTLED_SECONDS, storescu

from storage.engine import Database

pytest.importorskip("playwright")

SIZE = {"width": 1440, "height": 1000}
PICTURES = os.environ.get("GATEKEEPER_PICTURES")
"""Folder for a picture of the heatmap; none is taken without."""
STUDY = "1.2.826.0.1.3680043.8.498.77"
WHY = "The coil was changed; the images are good."
RULE = """name = "pelvis first"
when = ["BodyPartExamined is PELVIS"]
then = [{ priority = "urgent" }]"""


def test_a_site_is_set_up_and_a_held_study_released_in_the_browser(
    tmp_path: Path,
    sqlite_url: str,
    database: Database,
    peer: Callable[[str], str],
    orthanc: Callable[..., Any],
) -> None:
    """First account, nodes, echo, rule; then a study seen live, its heatmap, release and audit."""

    chromium, sender = peer("chromium"), peer("storescu")
    downstream = orthanc(aet="AI")
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    judging_bundle(bundles)
    paths = written(pelvis(STUDY, 9, spot=True), tmp_path / "study")
    port = free_port()
    with (
        running_gate(
            tmp_path / "gate",
            sqlite_url,
            database,
            GATEKEEPER_WEB_HOST="127.0.0.1",
            GATEKEEPER_WEB_PORT=str(port),
            GATEKEEPER_MODELS_DIRECTORY=str(bundles),
            GATEKEEPER_MODELS_FALSE_HOLD_RATE=FALSE_HOLD_RATE,
            GATEKEEPER_WORK_DEVICE="cpu",
            GATEKEEPER_WORK_MEMORY_MIB="4096",
        ) as gate,
        browsing(chromium) as browser,
    ):
        site = Walk(opened(browser, base_url=f"http://127.0.0.1:{port}", viewport=SIZE))
        site.start(until(lambda: code_of(gate), 90, "the web role says its code"))
        site.add_node("SCANNER", "127.0.0.1", "Scanner")
        site.add_node("AI", f"127.0.0.1:{downstream.port}", "Downstream")
        site.echo("AI")
        site.add_rule(RULE)
        site.try_rule(paths[0])

        site.watch_studies()
        storescu(sender, gate, tmp_path / "study")
        site.sees_it_held()
        assert downstream.count() == 0
        site.look_at_the_heatmap()
        site.release()
        until(lambda: downstream.count() == len(paths), SETTLED_SECONDS, "it is forwarded")
        site.sees_it_sent()
        site.finds_the_line()
        assert site.eye.wrong == []


def code_of(gate: Gate) -> str:
    """Return the one-time code in the log; '' before it is there."""
    for line in gate.log.read_text(encoding="utf-8").splitlines():
        if '"first_start"' in line:
            return str(json.loads(line)["code"])
    return ""


class Walk:
    """What a person does, page by page; each step ends when the page shows what it led to."""

    def __init__(self, eye: Eye) -> None:
        self.eye, self.page = eye, eye.page

    def start(self, code: str) -> None:
        page = self.page
        page.goto("/first-start")
        page.get_by_label("One-time code").fill(code)
        page.get_by_label("Your name").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_label("reviewer").check()
        page.get_by_label("physicist").check()
        page.get_by_role("button", name="Make the account").click()
        self.says("Welcome, anna.")

    def add_node(self, title: str, address: str, role: str) -> None:
        page = self.page
        page.goto("/nodes/new")
        page.locator("#f-ae_title").fill(title)
        page.locator("#f-address").fill(address)
        page.get_by_label(role).first.check()
        page.get_by_role("button", name="Save").click()
        page.wait_for_url(lambda url: not url.endswith("/new"))
        page.goto(f"/nodes/{title}")
        page.get_by_role("heading", name=title).wait_for()

    def echo(self, title: str) -> None:
        self.page.goto(f"/nodes/{title}")
        self.page.get_by_role("button", name="C-ECHO").click()
        self.page.locator("#run").get_by_text("All is well").wait_for()

    def add_rule(self, text: str) -> None:
        page = self.page
        page.goto("/rules/new?text=yes")
        page.locator("[name=text]").fill(text)
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/rules")
        self.says("pelvis first")

    def try_rule(self, path: Path) -> None:
        """Drop a file on the page; it is tried as soon as it is dropped."""
        page = self.page
        page.goto("/rules/try")
        page.locator("input[name=files]").set_input_files(path)
        page.locator(".matched", has_text="applies").filter(has_text="pelvis first").wait_for()

    def watch_studies(self) -> None:
        """Open the list; what is written on the window is lost when the page is loaded again."""
        self.page.goto("/studies")
        self.says("No study has come yet")
        self.page.evaluate("window.neverLoadedAgain = true")

    def sees_it_held(self) -> None:
        row = self.page.locator("tbody tr", has_text="Doe Jane")
        row.filter(has_text="SUSPECT").filter(has_text="held from AI").wait_for(
            timeout=1000 * SETTLED_SECONDS
        )
        assert self.page.evaluate("window.neverLoadedAgain") is True

    def look_at_the_heatmap(self) -> None:
        page = self.page
        page.get_by_role("link", name="Doe Jane").click()
        canvas = page.locator("[data-canvas]")
        page.wait_for_selector("[data-canvas][data-shown]", timeout=2 * PATIENCE)
        with_map = until(lambda: _coloured(canvas), 90, "the map lies over the slice it is in")
        if PICTURES:
            page.screenshot(path=Path(PICTURES) / "study.png")
        page.locator("[data-opacity]").fill("0")
        assert page.locator("[data-opacity-said]").inner_text() == "0 %"
        until(lambda: _coloured(canvas) < with_map / 10, 90, "the map is gone")
        page.locator("[data-slice]").fill("1")
        page.wait_for_selector("[data-canvas][data-shown='0']")

    def release(self) -> None:
        page = self.page
        page.get_by_label("Reason").fill(WHY)
        page.get_by_role("button", name="Release").click()
        page.locator("dialog").get_by_role("button", name="Yes").click()
        page.get_by_role("alert").or_(page.get_by_role("status")).filter(
            has_text="eleased"
        ).first.wait_for()

    def sees_it_sent(self) -> None:
        """Wait until the page, which follows by itself, shows who decided and what arrived."""
        row = self.page.locator("tr", has_text="18 of 18").filter(has_text="anna")
        row.filter(has_text="AI").first.wait_for()

    def finds_the_line(self) -> None:
        page = self.page
        page.goto(f"/audit?study={quote(STUDY)}")
        line = page.locator("tbody tr", has_text="anna").filter(has_text=WHY)
        line.first.wait_for()

    def says(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()


def _coloured(canvas: Any) -> int:
    """Return how many pixels of a canvas are no grey."""
    return int(
        canvas.evaluate(
            """canvas => {
                const {data} = canvas.getContext("2d").getImageData(
                    0, 0, canvas.width, canvas.height);
                let found = 0;
                for (let at = 0; at < data.length; at += 4) {
                    const [red, green, blue] = data.subarray(at, at + 3);
                    found += Math.max(red, green, blue) - Math.min(red, green, blue) > 30;
                }
                return found;
            }"""
        )
    )
