"""A document as Markdown (CommonMark with GitHub's tables): one line for each row and paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gatekeeper.conformance.document import Block, Code, Document, Steps, Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&])")
_AT_THE_START = re.compile(r"^(\d*)([#+.)-])(?=\s|$)")


def render(document: Document) -> str:
    """Return the document as Markdown."""
    lines = [f"# {_text(document.title)}", "", _text(document.notice), ""]
    lines += _rows(("Item", "Value"), document.cover)
    lines += ["", "## Contents", ""]
    for one in document.numbered():
        if one.depth <= 2:
            lines.append(f"{'  ' * (one.depth - 1)}- [{_text(one.heading)}](#{one.anchor})")
    for one in document.numbered():
        lines += ["", f'<a id="{one.anchor}"></a>', ""]
        lines += [f"{'#' * min(one.depth + 1, 6)} {_text(one.heading)}"]
        for block in one.section.blocks:
            lines += ["", *_block(block, one.tables)]
    return "\n".join(lines) + "\n"


def _block(block: Block, tables: dict[str, str]) -> Iterator[str]:
    if isinstance(block, Table):
        yield f"**Table {tables[block.caption]}. {_text(block.caption)}**"
        yield ""
        yield from _rows(block.head, block.rows)
    elif isinstance(block, Steps):
        for place, point in enumerate(block.points, start=1):
            yield f"{f'{place}.' if block.ordered else '-'} {_text(point)}"
    else:
        yield _text(block)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(_text(cell) for cell in head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows),
    ]


def _cell(cell: str) -> str:
    if not isinstance(cell, Code) or not cell:
        return _text(cell)
    line = _one_line(cell)
    if "`" in line or "|" in line:
        return _text(line)
    return f"`{line}`"


def _text(text: str) -> str:
    escaped = _SPECIAL.sub(r"\\\1", _one_line(text))
    return _AT_THE_START.sub(r"\1\\\2", escaped)


def _one_line(text: str) -> str:
    return " ".join(text.split())
