"""History: what a version was, and to which version the active models go back."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from gatekeeper.configuration.document import Document, canonical
from gatekeeper.errors import ConfigurationError
from storage import configuration_versions as versions
from storage.records import ConfigurationVersion

_PAGE = 50


def version(tx: Connection, number: int) -> ConfigurationVersion:
    """Return a version by its number.

    Raises:
        ConfigurationError: if there is none.
    """
    found = versions.get(tx, number)
    if found is None:
        newest = versions.latest_number(tx)
        raise ConfigurationError(
            f"version {number}",
            f"there is none; the newest is {newest}" if newest else "no version",
        )
    return found


def newest_first(tx: Connection) -> Iterator[ConfigurationVersion]:
    """Yield every version, read in pages."""
    before: int | None = None
    while page := versions.listing(tx, _PAGE, before):
        yield from page
        before = page[-1].number


def changes_of(tx: Connection, section: str) -> list[ConfigurationVersion]:
    """Return the versions in which a section changed, and the first, the newest first."""
    found: list[ConfigurationVersion] = []
    later: ConfigurationVersion | None = None
    for one in newest_first(tx):
        if later is not None and _part(one, section) != _part(later, section):
            found.append(later)
        later = one
    if later is not None:
        found.append(later)
    return found


def previous(tx: Connection, section: str) -> ConfigurationVersion | None:
    """Return the version that a section goes back to; None when there is nothing to undo.

    It is the one before the last change that was not itself undone, so that going back twice
    undoes two changes.
    """
    numbers = changes_of(tx, section)
    place = 0
    while place < len(numbers) - 1:
        restored = numbers[place].restored_from
        if restored is None:
            return versions.get(tx, numbers[place].number - 1)
        # Go on from the change that the restored version's section came from.
        place = next(
            (later for later, one in enumerate(numbers) if one.number <= restored), len(numbers)
        )
    return None


def with_section(document: Document, section: str, other: Document) -> Document:
    """Return a document with one section as another document has it."""
    rest = {name: items for name, items in document.items() if name != section}
    return rest | ({section: other[section]} if section in other else {})


def _part(one: ConfigurationVersion, section: str) -> bytes:
    return canonical(one.document.get(section, {}))
