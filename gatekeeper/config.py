"""Reading the settings: `gatekeeper.toml`, overridden by the environment, checked key by key.

An environment variable ``GATEKEEPER_LISTEN_PORT`` overrides ``listen.port``. What an administrator
changes during the day (nodes, rules, active models, ...) is not here but in the database.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

from gatekeeper.errors import ConfigurationError, IdentifierError
from gatekeeper.identifiers import AeTitle, Uid
from gatekeeper.settings import SettingRow, Settings, describe, rows, section_class

DEFAULT_FILE = "gatekeeper.toml"
FILE_VARIABLE = "GATEKEEPER_CONFIG"
"""Environment variable that names another file."""


def file_in_use(path: Path | None, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the file that `load` reads, absolute; None when there is none and defaults hold.

    Args:
        path: as given to `load`.
        environment: variables; None means those of the process.
    """
    variables = os.environ if environment is None else environment
    found = path or Path(variables.get(FILE_VARIABLE, DEFAULT_FILE))
    return found.absolute() if found.is_file() else None


def load(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `path`, overridden by the environment.

    Args:
        path: the TOML file; None means ``gatekeeper.toml`` here if there is one, else defaults.
        environment: variables; None means those of the process.

    Raises:
        ConfigurationError: naming the first key that is unknown, of the wrong type or out of
            bounds, or the file when it cannot be read.
    """
    settings, problems = inspect(path, environment)
    if problems:
        raise problems[0]
    return settings


def inspect(
    path: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[Settings, list[ConfigurationError]]:
    """Return the settings and every problem found; a bad value leaves the default in place."""
    problems: list[ConfigurationError] = []
    values = _read(path, problems)
    known = {row.key: row for row in rows()}
    given: dict[str, Any] = {}
    for section, content in values.items():
        if not isinstance(content, dict):
            problems.append(ConfigurationError(section, "no such section"))
            continue
        for name, value in cast(dict[str, Any], content).items():
            key = f"{section}.{name}"
            if key not in known:
                problems.append(ConfigurationError(key, "no such setting"))
            else:
                given[key] = value
    variables = os.environ if environment is None else environment
    for key, row in known.items():
        if row.variable in variables:
            given[key] = _from_text(row, variables[row.variable])
    sections: dict[str, dict[str, Any]] = {item.name: {} for item in dataclasses.fields(Settings)}
    for key, value in given.items():
        row = known[key]
        try:
            sections[row.section][row.name] = checked(row, value)
        except ConfigurationError as problem:
            problems.append(problem)
    settings = Settings(
        **{name: section_class(name)(**content) for name, content in sections.items()}
    )
    return settings, problems


def template() -> str:
    """Return the commented `gatekeeper.toml` with every setting at its default."""
    lines = [
        "# Gatekeeper: what a process needs to start. Every value below is the default.",
        "# An environment variable GATEKEEPER_<SECTION>_<NAME> overrides a value.",
        "# Nodes (AE titles) are kept in the database: `gatekeeper node add`.",
    ]
    section = ""
    for row in rows():
        if row.section != section:
            section = row.section
            lines += ["", f"# {_title(section)}", f"[{section}]"]
        lines.append(f"# {describe(row)}")
        lines.append(f"# {row.name} = {toml(row.default)}")
    return "\n".join(lines) + "\n"


def _title(section: str) -> str:
    """Return what a section is about, in one line."""
    return str(section_class(section).__doc__).partition("\n")[0]


def page() -> str:
    """Return `docs/settings.md`: every setting as a table."""
    lines = [
        "# Settings",
        "",
        "What a process needs to start, from `gatekeeper.toml` or the environment. A key",
        "`section.name` is `GATEKEEPER_SECTION_NAME` in the environment.",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
        *(f"| `{row.key}` | `{toml(row.default)}` | {describe(row)} |" for row in rows()),
    ]
    return "\n".join(lines) + "\n"


def _read(path: Path | None, problems: list[ConfigurationError]) -> dict[str, Any]:
    explicit = path is not None
    path = path or Path(os.environ.get(FILE_VARIABLE, DEFAULT_FILE))
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if explicit or FILE_VARIABLE in os.environ:
            problems.append(ConfigurationError(str(path), "no such file"))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(ConfigurationError(str(path), f"cannot be read: {type(error).__name__}"))
    except tomllib.TOMLDecodeError as error:
        problems.append(ConfigurationError(str(path), f"not TOML: {error}"))
    return {}


def _from_text(row: SettingRow, text: str) -> Any:
    """Read an environment variable as TOML would read the value, or leave the text."""
    if isinstance(row.default, str):
        return text
    if isinstance(row.default, tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def checked(row: SettingRow, value: Any) -> Any:
    """Return `value` in the setting's type.

    Raises:
        ConfigurationError: naming the key, if it is of another type or out of bounds.
    """
    default = row.default
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigurationError(row.key, "must be true or false")
        return value
    if isinstance(default, int | float):
        return _checked_number(row, value, whole=isinstance(default, int))
    if isinstance(default, tuple):
        if not isinstance(value, list):
            raise ConfigurationError(row.key, "must be a list of texts")
        return tuple(_checked_text(row, item) for item in cast(list[Any], value))
    return _checked_text(row, value)


def _checked_number(row: SettingRow, value: Any, *, whole: bool) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise ConfigurationError(row.key, f"must be a {'whole ' if whole else ''}number")
    if not math.isfinite(value):
        raise ConfigurationError(row.key, "must be a finite number")
    if row.minimum is not None and value < row.minimum:
        raise ConfigurationError(row.key, f"must be at least {row.minimum:g}")
    if row.maximum is not None and value > row.maximum:
        raise ConfigurationError(row.key, f"must be at most {row.maximum:g}")
    return int(value) if whole else float(value)


def _checked_text(row: SettingRow, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(row.key, "must be a text")
    if row.choices and value not in row.choices:
        raise ConfigurationError(row.key, f"must be one of {', '.join(row.choices)}")
    try:
        if row.name == "ae_title":
            return AeTitle.parse(value)
        if row.name == "private_sop_classes":
            return Uid.parse(value)
        if row.name == "networks":
            ip_network(value, strict=False)
    except IdentifierError as error:
        raise ConfigurationError(row.key, str(error)) from None
    except ValueError:
        raise ConfigurationError(row.key, "must be networks such as 10.1.0.0/16") from None
    return value


def toml(value: Any) -> str:
    """Return a setting's value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(item) for item in cast(tuple[Any, ...], value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)
