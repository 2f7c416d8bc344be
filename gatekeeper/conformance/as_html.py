"""A document as one page of HTML: self-contained, no script, for screen, dark screen and paper.

It loads nothing. Everything that comes from the site is escaped. Landmarks, a link past the
contents, captions and column headings are there for screen readers; a table that is wider than the
screen scrolls by itself, with the keyboard too.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from gatekeeper.conformance.document import Block, Code, Document, Numbered, Steps, Table

STYLE = """
:root { color-scheme: light dark; --ink: #1a2129; --soft: #55606d; --paper: #ffffff;
  --panel: #f3f5f8; --line: #cfd6de; --accent: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #a5b0bd; --paper: #12171d;
  --panel: #1b222b; --line: #36414d; --accent: #7db8f5; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
a { color: var(--accent); text-underline-offset: 0.15em; }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--accent);
  outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: 0.5rem 1rem; z-index: 1; }
.layout { display: grid; grid-template-columns: 19rem minmax(0, 1fr); max-width: 88rem;
  margin: 0 auto; }
nav { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto;
  padding: 2rem 1rem 2rem 1.5rem; border-right: 1px solid var(--line); font-size: 0.875rem; }
nav p { margin: 0 0 0.5rem; font-weight: 650; }
nav ol { list-style: none; margin: 0; padding: 0; }
nav li { margin: 0.1rem 0; }
nav .deep { padding-left: 1rem; }
nav a { color: inherit; text-decoration: none; display: block; padding: 0.15rem 0.25rem; }
nav a:hover { color: var(--accent); text-decoration: underline; }
main { padding: 2rem 2.5rem 4rem; min-width: 0; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 1rem; text-wrap: balance; }
h2, h3, h4 { line-height: 1.25; text-wrap: balance; }
h2 { font-size: 1.5rem; margin: 3rem 0 0.75rem; padding-top: 1rem;
  border-top: 2px solid var(--line); }
h3 { font-size: 1.2rem; margin: 2rem 0 0.5rem; }
h4 { font-size: 1.03rem; margin: 1.5rem 0 0.5rem; }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
p { margin: 0.5rem 0; }
main ol, main ul { padding-left: 1.4rem; }
.notice { border-left: 4px solid var(--accent); background: var(--panel); padding: 0.75rem 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.3rem 1.5rem; margin: 1.5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.5rem 0; caption-side: top; }
caption span { position: sticky; left: 0; display: inline-block; max-width: calc(100vw - 2rem); }
th { text-align: left; background: var(--panel); font-weight: 600; }
th, td { padding: 0.4rem 0.7rem; border: 1px solid var(--line); vertical-align: top; }
code { font: 0.92em/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
td code { white-space: nowrap; overflow-wrap: normal; }
footer { color: var(--soft); font-size: 0.875rem; margin-top: 3rem; }
@media (max-width: 60rem) {
  .layout { display: block; }
  nav { position: static; max-height: none; border-right: 0; border-bottom: 1px solid var(--line);
    padding: 1.25rem 1rem; }
  nav .deep { display: none; }
  main { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  dl { display: block; }
  dd { margin-bottom: 0.5rem; }
}
@media print {
  :root { --ink: #000; --soft: #333; --paper: #fff; --panel: #eee; --line: #999; --accent: #000; }
  @page { size: A4; margin: 16mm 14mm; }
  body { font-size: 9.5pt; }
  .skip { display: none; }
  .layout { display: block; max-width: none; }
  nav { position: static; max-height: none; border: 0; padding: 0; break-after: page; }
  nav .deep { display: block; }
  main { padding: 0; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  td code { white-space: normal; overflow-wrap: anywhere; }
  tr { break-inside: avoid; }
  thead { display: table-header-group; }
  h2, h3, h4, caption { break-after: avoid; }
  a { color: inherit; text-decoration: none; }
}
"""


def render(document: Document) -> str:
    """Return the whole page."""
    title = escape(document.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">Skip to the content</a>\n'
        f'<div class="layout">\n{contents(document)}\n'
        f'<main id="content">\n{body(document)}\n</main>\n</div>\n</body>\n</html>\n'
    )


def contents(document: Document) -> str:
    """Return the contents as a navigation landmark."""
    lines = [
        f'<li{_deep(one)}><a href="#{one.anchor}">{escape(one.heading)}</a></li>'
        for one in document.numbered()
        if one.depth <= 2
    ]
    return (
        '<nav aria-labelledby="contents">\n<p id="contents">Contents</p>\n<ol>\n'
        + "\n".join(lines)
        + "\n</ol>\n</nav>"
    )


def body(document: Document) -> str:
    """Return cover, chapters and annexes, without the page around them."""
    cover = "".join(
        f"<dt>{escape(name)}</dt><dd>{_cell(text)}</dd>" for name, text in document.cover
    )
    lines = [
        f"<header><h1>{escape(document.title)}</h1>",
        f'<p class="notice">{escape(document.notice)}</p>',
        f"<dl>{cover}</dl></header>",
    ]
    for one in document.numbered():
        level = min(one.depth + 1, 6)
        lines.append(f'<h{level} id="{one.anchor}">{escape(one.heading)}</h{level}>')
        for block in one.section.blocks:
            lines += _block(block, one)
    return "\n".join(lines)


def _deep(one: Numbered) -> str:
    return ' class="deep"' if one.depth > 1 else ""


def _block(block: Block, place: Numbered) -> Iterator[str]:
    if isinstance(block, Table):
        yield from _table(block, place.tables[block.caption])
    elif isinstance(block, Steps):
        tag = "ol" if block.ordered else "ul"
        yield f"<{tag}>"
        for point in block.points:
            yield f"<li>{escape(point)}</li>"
        yield f"</{tag}>"
    else:
        yield f"<p>{escape(block)}</p>"


def _table(table: Table, number: str) -> Iterator[str]:
    caption = f"Table {number}. {table.caption}"
    yield f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
    yield f"<caption><span>{escape(caption)}</span></caption>"
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in table.head)
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for row in table.rows:
        yield f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>"
    yield "</tbody></table></div>"


def _cell(cell: str) -> str:
    return f"<code>{escape(cell)}</code>" if isinstance(cell, Code) and cell else escape(cell)
