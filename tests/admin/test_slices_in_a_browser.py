"""The slice viewer in a real browser, by the keyboard alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from admin.test_slices import receive
from playwright.sync_api import expect, sync_playwright
from support.pages import PASSWORD, running_pages
from support.passage import Passage
from support.web import settings_for
from work.phantoms import STUDY

from storage.engine import Database


def test_slices_are_gone_through_by_the_keyboard(
    tmp_path: Path, database: Database, peer: Callable[[str], str]
) -> None:
    """Arrows, Page keys, Home and End lead through the slices, and nothing breaks the policy."""

    site = Passage(tmp_path, database)
    receive(site, 1)
    site.complete(STUDY)
    said: list[str] = []
    with (
        running_pages(settings_for(tmp_path / "spool"), database) as pages,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=peer("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda one: said.append(one.text) if one.type == "error" else None)
        page.goto(f"{pages.url}/sign-in?next=/studies/{STUDY}")
        page.get_by_label("Name").fill("viewer")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        canvas = page.locator("[data-canvas]")
        expect(canvas).to_have_attribute("data-shown", "2", timeout=60_000)
        page.locator("[data-stage]").focus()
        for key, expected in (
            ("Home", "0"),
            ("ArrowDown", "1"),
            ("ArrowRight", "2"),
            ("ArrowUp", "1"),
            ("End", "3"),
            ("PageUp", "0"),
        ):
            page.keyboard.press(key)
            expect(canvas).to_have_attribute("data-shown", expected, timeout=30_000)
        page.locator("[data-centre]").fill("40")
        expect(canvas).to_have_attribute("aria-label", "Slice 1 of 4")
        browser.close()
    assert said == []
