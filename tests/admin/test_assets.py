"""What pages are made of: every asset shipped, known, and used from here alone."""

from __future__ import annotations

import re
import tomllib
from hashlib import sha256
from pathlib import Path

import gatekeeper.admin
from gatekeeper.admin.rendering import STATIC

TEMPLATES = Path(gatekeeper.admin.__file__).parent / "templates"
VENDOR = STATIC / "vendor"


def test_every_asset_of_others_is_the_one_that_is_written_down() -> None:
    """Package, version and licence are known, and no file was changed or added by hand."""

    assets = tomllib.loads((VENDOR / "vendor.toml").read_text("utf-8"))["asset"]
    known = {name: digest for asset in assets for name, digest in asset["sha256"].items()}
    found = {
        path.relative_to(VENDOR).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.suffix in {".js", ".css", ".woff2"}
    }
    assert found == known
    for asset in assets:
        assert (VENDOR / f"LICENSE-{asset['package'].rpartition('/')[2]}.txt").is_file()


def test_no_page_asks_another_server_for_anything() -> None:
    """The pages work where there is no internet."""

    ours = [*TEMPLATES.rglob("*.html"), *STATIC.glob("*.css"), *STATIC.glob("*.js")]
    assert ours
    for path in ours:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""(src|href|url|import)\s*[=(]\s*["']?(https?:)?//""", text), path


def test_no_template_has_a_script_a_style_or_a_handler_inside() -> None:
    """The policy forbids them, so that they would not work, and nobody is tempted to loosen it."""

    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text("utf-8")
        inside = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", text)
        assert not inside, path
        assert not re.search(r"""<style\b|\sstyle\s*=|\son[a-z]+\s*=\s*["']""", text), path


def test_nothing_leaves_autoescape() -> None:
    """No template marks text as safe: what is marked is made in `rendering` and `showing`."""

    for path in TEMPLATES.rglob("*.html"):
        assert "|safe" not in path.read_text("utf-8").replace(" ", ""), path
        assert "autoescape" not in path.read_text("utf-8"), path
