"""Catalogue: what the results say to people, in one language; text is data, not code.

A catalogue is a TOML file, shipped in `catalogues` or a hospital's own, whose comments document
each text; `catalogues/en.toml` has the rules. It is checked as a whole when it is read, so that no
report fails halfway for the lack of a sentence. Texts hold placeholders and nothing that is run:
each is filled once, so what is filled in is never filled again.

What the judge says comes in English sentences, with numbers and names in them. They are known by
their English texts in the shipped catalogue and told in the catalogue's language.

No DICOM library is needed to read a catalogue, as the worker needs none.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from gatekeeper.errors import GatekeeperError
from gatekeeper.identifiers import Digest
from gatekeeper.results.letters import is_latin, latin, plain
from gatekeeper.results.texts import Text

ENGLISH = "en"
"""The language of whoever states none, and of what the judge says."""
LARGEST_FILE = 256 << 10
"""Bytes of a catalogue that are read."""
LONGEST_TEXT = 1024
"""Characters of one text."""

_SHIPPED = Path(str(files("gatekeeper.results"))) / "catalogues"
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_NUMBER = re.compile(r"-?[0-9]+([.,][0-9]+)*(e[+-]?[0-9]+)?%?")
_HEAD = "catalogue"
_SAID = "said"


class CatalogueError(GatekeeperError):
    """A catalogue that cannot be used; names the rule that it breaks."""


@dataclass(frozen=True)
class Catalogue:
    """The texts of one language, checked.

    Attributes:
        language: its RFC 5646 tag.
        name: the language's English name.
        decimal: what stands between whole number and fraction.
        texts: every text, by its table and key with a dot between.
        identity: what tells it apart in UIDs; empty for the shipped English one.
    """

    language: str
    name: str
    decimal: str
    texts: Mapping[str, str] = field(repr=False)
    identity: tuple[str, ...] = ()

    def say(self, text: Text, /, **values: str | int) -> str:
        """Return a text with its placeholders filled; a float is made a text by `number`."""
        return _filled(self.texts[text], values)

    def verdict(self, verdict: str) -> str:
        """Return what a verdict is called in sentences."""
        return self.texts[f"verdict.{verdict}"]

    def concept(self, value: str) -> str | None:
        """Return what the concept of a code value is called on a page; None when it has no name."""
        return self.texts.get(f"concept.{value}")

    def number(self, value: float, form: str) -> str:
        """Return a number as people of this language write it.

        Args:
            value: the number.
            form: as Python formats it, such as ``.3g``.
        """
        return self._localised(format(value, form))

    def told(self, sentence: str) -> str:
        """Return in this language what the judge says in English, or the English sentence."""
        known = plain(sentence)
        return self._told(known) or known if self.identity else known

    @cached_property
    def alphabet(self) -> str:
        """Every letter and sign of its texts, for the character set of what holds them."""
        return "".join(sorted(set("".join((*self.texts.values(), self.decimal)))))

    @cached_property
    def in_ascii(self) -> Catalogue:
        """The same in ASCII, for what states no character set; English where that is no script."""
        if self.alphabet.isascii():
            return self
        if not is_latin(self.alphabet):
            return english()
        texts = {key: latin(text) for key, text in self.texts.items()}
        return replace(self, texts=texts, decimal=latin(self.decimal))

    def _told(self, sentence: str) -> str | None:
        for pattern, key in _said():
            found = pattern.fullmatch(sentence)
            if found is not None:
                values = {name: self._value(value) for name, value in found.groupdict().items()}
                return _filled(self.texts[key], values)
        return None

    def _value(self, value: str) -> str:
        """Return what fills a placeholder of a sentence: a number, a part of one, or a name."""
        return self._list(value) or value

    def _part(self, value: str) -> str | None:
        """Return a number, or one known part of a sentence."""
        return self._localised(value) if _NUMBER.fullmatch(value) else self._told(value)

    def _list(self, value: str) -> str | None:
        """Return one number or known part, or several with commas or 'and' between them."""
        told = self._part(value)
        if told is not None:
            return told
        for separator, word in (
            (", ", ", "),
            (" and the ", f" {self.texts[Text.AND]} "),
            (" and ", f" {self.texts[Text.AND]} "),
        ):
            before, found, after = value.partition(separator)
            while found:
                first, rest = self._part(before), None
                if first is not None:
                    rest = self._list(after)
                if first is not None and rest is not None:
                    return f"{first}{word}{rest}"
                more, found, after = after.partition(separator)
                before = f"{before}{separator}{more}"
        return None

    def _localised(self, number: str) -> str:
        if self.decimal == ".":
            return number
        return number.translate(str.maketrans({".": self.decimal, ",": "."}))


def read(language: str, folder: str | Path = "") -> Catalogue:
    """Return the catalogue of a language: the hospital's own, else the shipped one.

    Args:
        language: an RFC 5646 tag.
        folder: of the hospital's own catalogues; empty when there is none.

    Raises:
        CatalogueError: if there is none for the language, or it breaks a rule, which is named.
    """
    if len(language) > 16 or not _LANGUAGE.fullmatch(language):
        raise CatalogueError(f"{language!r} is not the RFC 5646 tag of a language, such as 'de'")
    if not folder:
        return _shipped(language)
    own = Path(folder) / f"{language}.toml"
    try:
        with own.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return _shipped(language)
    except OSError as error:
        raise CatalogueError(f"catalogue {own}: cannot be read: {error.strerror}") from None
    return _parsed(content, language, str(own))


def languages(folder: str | Path = "") -> list[str]:
    """Return the languages that there is a catalogue for."""
    folders = [_SHIPPED, *([Path(folder)] if folder else [])]
    return sorted({path.stem for one in folders for path in one.glob("*.toml")})


@functools.cache
def english() -> Catalogue:
    """Return the shipped English catalogue."""
    content = (_SHIPPED / f"{ENGLISH}.toml").read_bytes()
    return replace(_checked(content, ENGLISH, "the English catalogue"), identity=())


@functools.cache
def _shipped(language: str) -> Catalogue:
    if language == ENGLISH:
        return english()
    path = _SHIPPED / f"{language}.toml"
    if not path.is_file():
        known = ", ".join(languages())
        raise CatalogueError(
            f"there is no catalogue {language}.toml in results.catalogues, and none shipped for "
            f"language {language!r}; shipped are: {known}"
        )
    return _parsed(path.read_bytes(), language, path.name)


def _parsed(content: bytes, language: str, source: str) -> Catalogue:
    """Return a catalogue that has what the English one has.

    Raises:
        CatalogueError: if it breaks a rule.
    """
    found = _checked(content, language, source)
    expected = english().texts
    for rule, keys in (
        ("lacks", expected.keys() - found.texts.keys()),
        ("has, but en.toml has not,", found.texts.keys() - expected.keys()),
    ):
        if keys:
            raise CatalogueError(f"catalogue {source} {rule} the key {min(keys)}")
    for key, text in expected.items():
        wanted, there = _placeholders(text), _placeholders(found.texts[key])
        if wanted != there:
            shown = ", ".join(f"{{{name}}}" for name in sorted(wanted)) or "none"
            raise CatalogueError(f"catalogue {source}: {key} must have the placeholders: {shown}")
    return found


def _checked(content: bytes, language: str, source: str) -> Catalogue:
    """Return a catalogue each text of which keeps the rules.

    Raises:
        CatalogueError: if one breaks a rule.
    """
    tables = _tables(content, source)
    head = tables.pop(_HEAD, {})
    if head.keys() != {"language", "name", "decimal"}:
        raise CatalogueError(
            f"catalogue {source}: [{_HEAD}] must have language, name and decimal, and no more"
        )
    if head["language"] != language:
        raise CatalogueError(f"catalogue {source}: its language is not that of its name")
    if head["decimal"] not in (".", ","):
        raise CatalogueError(f"catalogue {source}: decimal must be '.' or ','")
    if not head["name"].isascii() or len(head["name"]) > 64:
        raise CatalogueError(f"catalogue {source}: name must be in ASCII, at most 64 characters")
    texts = {f"{table}.{key}": text for table, of in tables.items() for key, text in of.items()}
    canonical = json.dumps([head, texts], sort_keys=True).encode()
    identity = (language, str(Digest.of(canonical)))
    return Catalogue(language, head["name"], head["decimal"], texts, identity)


def _tables(content: bytes, source: str) -> dict[str, dict[str, str]]:
    if len(content) > LARGEST_FILE:
        raise CatalogueError(f"catalogue {source}: larger than {LARGEST_FILE >> 10} KiB")
    try:
        tables: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise CatalogueError(f"catalogue {source}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"catalogue {source}: not TOML: {error}") from None
    found: dict[str, dict[str, str]] = {}
    for table, entries in tables.items():
        if not isinstance(entries, dict):
            raise CatalogueError(f"catalogue {source}: {table} must be a table of texts")
        of: dict[str, Any] = entries
        found[table] = {key: _text(source, f"{table}.{key}", text) for key, text in of.items()}
    return found


def _text(source: str, key: str, text: object) -> str:
    """Return one text in Unicode's composed form.

    Raises:
        CatalogueError: if it breaks a rule.
    """
    if not isinstance(text, str) or not text.strip():
        raise CatalogueError(f"catalogue {source}: {key} must be a text that is not empty")
    composed = unicodedata.normalize("NFC", text)
    if len(composed) > LONGEST_TEXT:
        raise CatalogueError(f"catalogue {source}: {key} has over {LONGEST_TEXT} characters")
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
           for letter in composed):  # fmt: skip
        raise CatalogueError(f"catalogue {source}: {key} must be one line without control codes")
    if "\\" in composed:
        raise CatalogueError(f"catalogue {source}: {key} must have no backslash")
    rest = _PLACEHOLDER.sub("", composed)
    if "{" in rest or "}" in rest:
        raise CatalogueError(f"catalogue {source}: {key} must have no braces but placeholders'")
    return composed


def _placeholders(text: str) -> set[str]:
    return set(_PLACEHOLDER.findall(text))


def _filled(text: str, values: Mapping[str, str | int]) -> str:
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), text)


@functools.cache
def _said() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return what each sentence of the judge looks like, in the order of the catalogue."""
    texts = english().texts
    said = [(key, text) for key, text in texts.items() if key.partition(".")[0] == _SAID]
    return tuple((_pattern(text), key) for key, text in said)


def _pattern(text: str) -> re.Pattern[str]:
    parts: Iterable[str] = _PLACEHOLDER.split(text)
    return re.compile(
        "".join(
            f"(?P<{part}>.+?)" if place % 2 else re.escape(part) for place, part in enumerate(parts)
        )
    )
