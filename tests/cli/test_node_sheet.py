"""The onboarding sheet: what has to be typed in, escaped, self-contained, on one page."""

from __future__ import annotations

import dataclasses
import datetime
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gatekeeper.node_sheet import checks, sheet
from gatekeeper.peering import with_roles
from gatekeeper.settings import Settings
from storage.records import Confirm, Node, Retrieve, Role

TODAY = datetime.date(2026, 3, 1)
SCANNER = with_roles(Node("MR1", "10.1.2.3", 0, description="MR, room 3"), (Role.SCANNER,))
PACS = dataclasses.replace(
    with_roles(
        Node("PACS", "pacs.hospital.example", 11112, description="the archive of the hospital"),
        (Role.ARCHIVE, Role.SCANNER),
    ),
    retrieve=Retrieve.MOVE,
    confirm=Confirm.COMMITMENT,
    receives_studies=True,
    tls=True,
)


def settings(**listen: Any) -> Settings:
    plain = Settings()
    return dataclasses.replace(plain, listen=dataclasses.replace(plain.listen, **listen))


def text_of(page: str) -> str:
    return re.sub(r"<[^>]+>", " ", page.partition("<body>")[2])


def test_a_scanners_sheet_has_what_is_typed_in_and_what_to_try() -> None:
    """Our title, host and port; its own as we know it; classes, quiet time and checks."""
    node = dataclasses.replace(SCANNER, sop_classes=("MR",), quiet_seconds=90)
    page = text_of(sheet(node, settings(port=11113), "gate.example", TODAY))

    for said in ("GATEKEEPER", "gate.example", "11113", "MR1", "10.1.2.3", "90 s", "2026-03-01"):
        assert said in page
    assert "MR Image" in page
    assert "C-ECHO from MR1 to GATEKEEPER" in page
    assert "roundtrip" not in page


def test_a_node_with_tls_is_told_that_port_and_no_other() -> None:
    """Else somebody enters the plain one, and is rejected."""
    page = text_of(sheet(PACS, settings(port=11113, tls_port=2762), "gate.example", TODAY))

    assert "2762" in page
    assert "11113" not in page


def test_an_archive_is_told_of_c_move_and_tries_both_ways() -> None:
    """What we call it for is on its checklist."""
    todo = [check.todo for check in checks(PACS, Settings())]

    assert any("node roundtrip PACS" in one for one in todo)
    assert "which your archive has to know" in text_of(sheet(PACS, Settings(), "gate", TODAY))


def test_what_was_typed_is_escaped_and_nothing_is_loaded() -> None:
    """A description is text, whatever is in it."""
    node = dataclasses.replace(SCANNER, description='<img src="http://x.example/">&')
    page = sheet(node, Settings(), "<b>gate</b>", TODAY)

    assert "&lt;img src=&quot;" in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "url(" not in page
    assert "<script" not in page
    assert "<link" not in page


def test_the_longest_sheet_is_one_page_of_a4(peer: Callable[[str], str], tmp_path: Path) -> None:
    """As Chromium prints it."""
    page = tmp_path / "sheet.html"
    page.write_text(sheet(PACS, settings(tls_port=2762), "gate.hospital.example", TODAY))
    printed = tmp_path / "sheet.pdf"
    subprocess.run(
        [
            peer("chromium"),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-pdf-header-footer",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--print-to-pdf={printed}",
            page.as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )

    assert len(re.findall(rb"/Type\s*/Page[^s]", printed.read_bytes())) == 1
