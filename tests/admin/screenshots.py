"""`make page-screenshots`: pictures of the pages, for the documentation.

A made-up site: scanners with studies, holds, dead letters, streams of scores, rules. The study with
a heatmap is photographed by tests/admin/test_end_to_end.py on its way, where a model has judged it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import shutil
import sys
import tempfile
from pathlib import Path

from bench.admin import addresses_of, begin_shadow, enter_rule
from PIL import Image
from playwright.sync_api import Browser
from sqlalchemy import update
from support.browser import browsing, opened
from support.busy_site import fill
from support.pages import Pages, running_pages
from support.web import settings_for

from gatekeeper.settings import Settings
from storage.engine import Database
from storage.schema import drift_device, drift_stream, study_header

STUDIES = 1200
BEST = {
    "overview": "/",
    "studies": "/studies",
    "held": "/held",
    "queue": "/queue",
    "drift": "/drift/7",
}
SCANNERS = (
    "SIEMENS Skyra",
    "SIEMENS Prisma",
    "GE SIGNA Premier",
    "Philips Ingenia",
    "SIEMENS Vida",
)
COLOURS = 256


def main() -> None:
    """Write every page into a folder, and the best, small, into another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--best", type=Path)
    wanted = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("screenshots need Debian's chromium")
    wanted.folder.mkdir(parents=True, exist_ok=True)
    taken = wanted.folder / "study.png"
    if wanted.best is not None and taken.is_file():
        (wanted.best / "page-study.png").write_bytes(small(taken.read_bytes()))
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatekeeper-pages-")))
        url = f"sqlite:///{work / 'site.db'}"
        database = Database.connect(url, 60)
        stack.callback(database.dispose)
        settings = settings_for(work / "spool")
        seed(database, url, settings)
        pages = stack.enter_context(running_pages(settings, database))
        enter_rule(pages)
        begin_shadow(pages)
        browser = stack.enter_context(browsing(chromium))
        for path in addresses_of(STUDIES):
            if "?" not in path and not path.startswith("/api"):
                found = pages.get(path)
                is_page = "<!doctype html>" in found.text[:40].lower()
                if is_page and "content-disposition" not in found.headers:
                    name = path.strip("/").replace("/", "-")[:60] or "overview"
                    picture = photographed(browser, pages, path, 1440, "light", whole=True)
                    (wanted.folder / f"{name}.png").write_bytes(picture)
        for name, path in BEST.items():
            for width, scheme in ((390, "light"), (1440, "dark"), (390, "dark")):
                picture = photographed(browser, pages, path, width, scheme, whole=True)
                (wanted.folder / f"{name}-{width}-{scheme}.png").write_bytes(picture)
            if wanted.best is not None:
                picture = photographed(browser, pages, path, 1440, "light", whole=False)
                (wanted.best / f"page-{name}.png").write_bytes(small(picture))


def seed(database: Database, url: str, settings: Settings) -> None:
    """Write the books, with the names of scanners as they are."""
    database.migrate()
    fill(database, url, settings, STUDIES)
    with database.begin() as tx:
        for number, name in enumerate(SCANNERS * 2):
            old = f"SIEMENS DEVICE_{number}"
            tx.execute(update(study_header).values(device=name).where(study_header.c.device == old))
            tx.execute(update(drift_stream).values(device=name).where(drift_stream.c.device == old))
            tx.execute(update(drift_device).values(device=name).where(drift_device.c.device == old))
        kinds = ("T1_MPRAGE", "T2_TSE", "FLAIR", "DWI")
        for row in tx.execute(drift_stream.select()).all():
            kind = f"{random.Random(row.id).choice(kinds)}_{row.id}"
            tx.execute(
                update(drift_stream).values(protocol=kind).where(drift_stream.c.id == row.id)
            )


def photographed(
    browser: Browser, pages: Pages, path: str, width: int, scheme: str, *, whole: bool
) -> bytes:
    """Return a picture of a page, with somebody signed in who may do everything."""
    eye = opened(
        browser,
        viewport={"width": width, "height": 900 if width > 500 else 844},
        color_scheme=scheme,
        reduced_motion="reduce",
        base_url=pages.url,
    )
    with contextlib.closing(eye.page.context):
        eye.page.context.add_cookies(
            [
                {"name": one.name, "value": one.value or "", "url": pages.url}
                for one in pages.of("anna").cookies.jar
            ]
        )
        eye.page.goto(path)
        eye.page.evaluate("document.fonts.ready")
        return eye.page.screenshot(full_page=whole)


def small(picture: bytes) -> bytes:
    """Return nearly the same pixels, of a palette, as a small PNG."""
    out = io.BytesIO()
    found = Image.open(io.BytesIO(picture)).convert("RGB")
    found.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
