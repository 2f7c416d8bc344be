"""Rule documents as TOML text, as a person would write them; Python reads TOML and writes none."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from gatekeeper.rules.document import Document, parse_rule, write_rule
from gatekeeper.rules.rule import Rule, RuleError

LARGEST_FILE = 4 << 20
"""Bytes of a file of rules."""
_WIDTH = 88


def read_rules(path: Path, name: str = "") -> list[Rule]:
    """Return the rules of a TOML file: one, or several under ``[[rule]]``.

    Args:
        path: the file.
        name: of a single rule without one.

    Raises:
        RuleError: when it is no TOML, or a rule in it is refused.
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise RuleError(f"{path.name} is over {LARGEST_FILE >> 20} MiB")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RuleError(f"{path.name} is not TOML: {error}") from None
    several: Any = document.get("rule")
    if several is None:
        return [parse_rule(document, name)]
    if set(document) != {"rule"} or not isinstance(several, list):
        raise RuleError(f"{path.name} holds one rule, or several as [[rule]] and nothing else")
    rules = [_parsed(one) for one in cast("list[Any]", several)]
    names = [rule.name for rule in rules]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise RuleError("two rules of this name", twice)
    return rules


def write_toml(rule: Rule) -> str:
    """Return the TOML text that `read_rules` reads as this rule."""
    return "".join(f"{key} = {_value(value, 0)}\n" for key, value in write_rule(rule).items())


def _parsed(document: Any) -> Rule:
    if not isinstance(document, Mapping):
        raise RuleError("a rule is a table")
    return parse_rule(cast("Document", document))


def _value(value: Any, indent: int) -> str:
    """Return a value on one line, or a list on several where it is long."""
    line = _line(value)
    if len(line) + indent <= _WIDTH or not isinstance(value, Sequence | Mapping):
        return line
    if isinstance(value, str):
        return line
    if isinstance(value, Mapping):
        # No line ends within the braces but those of a list (TOML 1.0, inline table).
        table = cast("Mapping[str, Any]", value)
        return "{ " + ", ".join(f"{_key(k)} = {_value(v, indent)}" for k, v in table.items()) + " }"
    inner = " " * (indent + 2)
    items = "".join(f"{inner}{_value(one, indent + 2)},\n" for one in value)
    return f"[\n{items}{' ' * indent}]"


def _line(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are among TOML's, but DEL must be escaped in TOML and is not in JSON.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        return "{ " + ", ".join(f"{_key(k)} = {_line(v)}" for k, v in table.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_line(one) for one in cast("Sequence[Any]", value)) + "]"
    return repr(value)


def _key(key: str) -> str:
    return f'"{key}"' if " " in key else key
