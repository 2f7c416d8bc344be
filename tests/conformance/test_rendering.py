"""The statement as Markdown and as a page: the same cells, and text is nothing but text."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conformance import golden
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from gatekeeper.cli import app
from gatekeeper.conformance import as_html, as_markdown
from gatekeeper.conformance.document import Code, Document, Section, Steps, Table
from gatekeeper.conformance.statement import statement
from storage.records import Node

HOSTILE = "<script>alert(1)</script> | `x` *a* _b_ [l](http://x.example) \\ &amp; # 1. ~~s~~"


class _Read(HTMLParser):
    """What a page holds: its cells, headings, paragraphs and points, and every tag with names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def attributes(self, name: str) -> list[str]:
        return [value for _, names in self.tags if (value := names.get(name)) is not None]


def hostile() -> Document:
    """Return a document with text in every place that would be something else if it could."""
    return Document(
        HOSTILE,
        ((HOSTILE, HOSTILE), ("code", Code(HOSTILE))),
        HOSTILE,
        (
            Section(
                HOSTILE,
                (
                    HOSTILE,
                    "# no heading",
                    "1. no list",
                    "- no point",
                    Steps((HOSTILE, "+ no point")),
                    Table(HOSTILE, (HOSTILE, "b"), ((HOSTILE, Code(HOSTILE)), ("", Code("")))),
                ),
            ),
        ),
        (),
    )


@pytest.mark.parametrize("document", [golden.document(), hostile()], ids=["golden", "hostile"])
def test_markdown_and_page_have_the_same_cells_and_text(document: Document) -> None:
    """As a reader of each gets them, whatever was typed."""
    marked = _Read(
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .render(as_markdown.render(document))
    )
    page = _Read(as_html.render(document))
    tables = [
        block
        for one in document.numbered()
        for block in one.section.blocks
        if isinstance(block, Table)
    ]
    cells = [cell for table in tables for row in table.rows for cell in row]

    assert [" ".join(text.split()) for text in page.texts["td"]] == _plain(cells)
    cover = [cell for row in document.cover for cell in row]
    assert marked.texts["td"] == _plain([*cover, *cells])
    headings = [one.heading for one in document.numbered()]
    for read in (marked, page):
        found = [text for tag in ("h1", "h2", "h3", "h4") for text in read.texts.get(tag, [])]
        assert sorted(set(found) - {"Contents"}) == sorted({document.title, *headings})
        assert "script" not in read.texts
        assert {tag for tag, _ in read.tags}.isdisjoint({"del", "em", "img", "script", "link"})


def test_the_page_loads_nothing_and_can_be_read_by_everyone() -> None:
    """No script and no address but places in itself; landmarks, a language, captions, headings."""
    page = as_html.render(golden.document())
    read = _Read(page)
    places = set(read.attributes("id"))

    assert read.attributes("src") == []
    assert all(link.startswith("#") and link[1:] in places for link in read.attributes("href"))
    assert len(places) == len(read.attributes("id"))
    assert "url(" not in page
    assert "@import" not in page
    tags = [tag for tag, _ in read.tags]
    assert tags.count("main") == tags.count("nav") == tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption") == tags.count("thead")
    assert read.attributes("lang") == ["en"]
    assert set(read.attributes("scope")) == {"col"}
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_what_an_administrator_typed_is_text() -> None:
    """An institution, a host: nothing that is typed becomes a tag."""
    site = golden.site()
    results = dataclasses.replace(site.settings.results, institution=HOSTILE)
    typed = dataclasses.replace(
        site,
        settings=dataclasses.replace(site.settings, results=results),
        nodes=(*site.nodes, Node("EVIL", "<img src=x onerror=alert(1)>", 104, may_send=True)),
    )

    page = as_html.render(statement(typed))
    assert "<img" not in page
    assert "<script" not in page
    assert "EVIL" in page


def test_the_command_writes_both_forms(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both to a folder, and one to the output; without nodes, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", sqlite_url)
    runner = CliRunner()

    answer = runner.invoke(app, ["conformance", "--output", "out"])
    assert answer.exit_code == 0, answer.output
    page = (tmp_path / "out" / "conformance-statement.html").read_text(encoding="utf-8")
    marked = (tmp_path / "out" / "conformance-statement.md").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert marked.startswith("# DICOM Conformance Statement\n")
    assert runner.invoke(app, ["conformance"]).output == page
    assert runner.invoke(app, ["conformance", "--format", "markdown"]).output == marked


def _plain(cells: list[str]) -> list[str]:
    return [" ".join(cell.split()) for cell in cells]
