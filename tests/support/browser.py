"""A headless Chromium that tells of everything that goes wrong in its pages."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Dialog, Page, sync_playwright

PATIENCE = 90_000
"""Milliseconds that a page may take on a busy machine."""


@dataclass
class Eye:
    """A page, with what went wrong in it.

    Attributes:
        page: the page.
        wrong: dialogs that opened, scripts that failed, and what the console called an error, a
            breach of the content security policy among them.
    """

    page: Page
    wrong: list[str] = field(default_factory=list[str])

    def dismiss(self, dialog: Dialog) -> None:
        self.wrong.append(f"a dialog: {dialog.message}")
        dialog.dismiss()


@contextmanager
def browsing(chromium: str) -> Generator[Browser]:
    """Run Debian's Chromium until the end of the block.

    Args:
        chromium: its path.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        with contextlib.closing(browser):
            yield browser


def opened(browser: Browser, **options: Any) -> Eye:
    """Open an empty page that is looked at; options are those of a browser's context."""
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    page.set_default_navigation_timeout(PATIENCE)
    eye = Eye(page)
    page.on("pageerror", lambda error: eye.wrong.append(f"{page.url}: {error}"))
    page.on(
        "console",
        lambda one: eye.wrong.append(f"{page.url}: {one.text}") if one.type == "error" else None,
    )
    page.on("dialog", eye.dismiss)
    return eye
