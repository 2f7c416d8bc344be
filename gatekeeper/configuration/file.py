"""The file: a document as one readable TOML file, and back.

The same document is written as the same bytes below the heading of comments, which is for people:
it is not read. A section that the file does not name is left as it is by an import.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import tomli_w

from gatekeeper.configuration.document import Document, Items
from gatekeeper.configuration.section import Section
from gatekeeper.errors import ConfigurationError
from storage.records import ConfigurationVersion

FORMAT = 1
LARGEST_BYTES = 16 << 20
FIRST = ("position", "enabled", "host", "port", "kind", "address", "bundle", "when", "then")
"""Keys that a person looks for first; the others follow by name."""


def heading(version: ConfigurationVersion) -> str:
    """Return the comments that say which version a file is of."""
    when = datetime.datetime.fromtimestamp(version.at, datetime.UTC).isoformat(timespec="seconds")
    lines = [
        f"Gatekeeper's configuration, version {version.number}",
        f"digest {version.digest}",
        f"by {version.who} at {when}: {version.why}",
        "",
        "`gatekeeper config import FILE` shows what differs from what is in force, and asks.",
        "What is not said is at its default. A section that is not in the file is left as it is.",
    ]
    return "".join(f"# {_one_line(line)}".rstrip() + "\n" for line in lines)


def written(document: Document, sections: Sequence[Section]) -> str:
    """Return the TOML of a canonical document: every section, also one without items."""
    parts = [f"format = {FORMAT}\n"]
    for section in sections:
        items = document.get(section.name, {})
        parts.append(f"\n# {section.title}\n")
        ordered = {item: _ordered(items[item]) for item in sorted(items, key=_place(items))}
        parts.append(tomli_w.dumps({section.name: ordered}))
    return "".join(parts)


def stated(path: Path) -> dict[str, Any]:
    """Return what a file states, its values not yet checked.

    Raises:
        ConfigurationError: if it cannot be read, is not TOML, or is of another format.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ConfigurationError(str(path), "too large to be a configuration")
        return parsed(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {type(error).__name__}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(str(path), "is not UTF-8") from None


def parsed(text: str, name: str) -> dict[str, Any]:
    """Return what a TOML text states; raises as `stated` does, naming it `name`."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(name, f"not TOML: {error}") from None
    except RecursionError:
        raise ConfigurationError(name, "not a configuration: nested too deeply") from None
    stated_format = found.pop("format", FORMAT)
    if stated_format != FORMAT:
        raise ConfigurationError(name, f"format {stated_format!r} is of another version")
    return found


def _place(items: Items) -> Callable[[str], tuple[int, str]]:
    """Return what orders the items of a section: their position, if any, then their name."""
    return lambda item: (items[item].get("position", 0), item)


def _ordered(value: Any) -> Any:
    """Return a value with its keys in order, tables after what stands in a line."""
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        keys = sorted(table, key=lambda key: (isinstance(table[key], dict), _rank(key), key))
        return {key: _ordered(table[key]) for key in keys}
    return value


def _rank(key: str) -> int:
    return FIRST.index(key) if key in FIRST else len(FIRST)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
