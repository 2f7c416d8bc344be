"""Document: sections of paragraphs, lists and tables, numbered, in no format yet.

Texts are plain: whatever is in them, a renderer shows it as text. A cell that is to be shown as it
is typed, a UID or a key, is a `Code`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


class Code(str):
    """A text that is shown as it is typed."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a heading for each column.

    Attributes:
        caption: what it is of; unique in the document.
        head: headings.
        rows: as many cells each.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Steps:
    """Points, one after another.

    Attributes:
        points: a sentence or clause each.
        ordered: whether they happen in this order.
    """

    points: tuple[str, ...]
    ordered: bool = False


Block = str | Table | Steps
"""A `str` is a paragraph."""


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part with its parts."""

    title: str
    blocks: tuple[Block, ...] = ()
    parts: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True)
class Numbered:
    """A section in its place.

    Attributes:
        number: `5.2.1`, or `A.1` in an annex.
        section: itself; its parts come as sections of their own.
        tables: number of each table of its blocks.
    """

    number: str
    section: Section
    tables: dict[str, str]

    @property
    def depth(self) -> int:
        """1 for a chapter or an annex."""
        return self.number.count(".") + 1

    @property
    def anchor(self) -> str:
        """Name of its place in the document."""
        return f"s{self.number.replace('.', '-').lower()}"

    @property
    def heading(self) -> str:
        """Number and title."""
        prefix = "Annex " if self.depth == 1 and self.number.isalpha() else ""
        return f"{prefix}{self.number} {self.section.title}"


@dataclass(frozen=True, slots=True)
class Document:
    """A whole document.

    Attributes:
        title: of the whole.
        cover: name and value of each line of the cover page.
        notice: what whoever reads it must know first.
        chapters: numbered from 1.
        annexes: lettered from A.
    """

    title: str
    cover: tuple[tuple[str, str], ...]
    notice: str
    chapters: tuple[Section, ...]
    annexes: tuple[Section, ...]

    def numbered(self) -> Iterator[Numbered]:
        """Yield every section in the order of reading."""
        for place, section in enumerate(self.chapters, start=1):
            yield from _numbered(section, str(place))
        for place, section in enumerate(self.annexes):
            yield from _numbered(section, chr(ord("A") + place))

    def table(self, caption: str) -> Table:
        """Return the table of this caption.

        Raises:
            KeyError: if there is none.
        """
        for one in self.numbered():
            for block in one.section.blocks:
                if isinstance(block, Table) and block.caption == caption:
                    return block
        raise KeyError(caption)


def _numbered(section: Section, number: str) -> Iterator[Numbered]:
    captions = [block.caption for block in section.blocks if isinstance(block, Table)]
    tables = {caption: f"{number}-{place}" for place, caption in enumerate(captions, start=1)}
    yield Numbered(number, section, tables)
    for place, part in enumerate(section.parts, start=1):
        yield from _numbered(part, f"{number}.{place}")
