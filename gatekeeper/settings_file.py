"""One value of the settings file, changed in place: comments stay, and the file stays valid.

The file is replaced as a whole, so that a reader sees the old one or the new one. A process reads
it when it starts; see `gatekeeper.supervise.restart_all`.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatekeeper import config
from gatekeeper.errors import ConfigurationError
from gatekeeper.settings import SettingRow, rows
from storage.filesystem import synchronise_folder


def line(key: str, value: str) -> str:
    """Return what has to stand in the file for a setting, with its section."""
    section, _, name = key.partition(".")
    return f"[{section}]\n{name} = {config.toml(value)}"


def stated(path: Path | None, key: str) -> str:
    """Return a text that the file or the environment states for a setting; empty for neither."""
    row = _row(key)
    if row.variable in os.environ:
        return os.environ[row.variable]
    if path is None:
        return ""
    try:
        section: Any = tomllib.loads(path.read_text("utf-8")).get(row.section, {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return ""
    return str(section.get(row.name, "")) if isinstance(section, Mapping) else ""


def problem(path: Path | None, key: str) -> str:
    """Return why a setting cannot be written here, or nothing."""
    variable = _row(key).variable
    if variable in os.environ:
        return f"the environment variable {variable} states it, and goes before the file"
    if path is None:
        return "this process was started without a settings file; `gatekeeper init` writes one"
    if not (os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)):
        return f"{path} cannot be written by the account that this process runs under"
    return ""


def put(path: Path, key: str, value: str) -> None:
    """Have the file state a value.

    Args:
        path: the file; where it is a link, what it leads to is replaced.
        key: such as ``listen.ae_title``.
        value: a text.

    Raises:
        ConfigurationError: naming the key or the file, if the value, or the file with it, would not
            be valid. Nothing was changed then.
    """
    row = _row(key)
    checked = str(config.checked(row, value))
    target = path.resolve()
    try:
        before = target.read_text("utf-8")
        mode = stat.S_IMODE(target.stat().st_mode)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"cannot be changed: {type(error).__name__}") from None
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_with(before, row, checked))
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        settings, problems = config.inspect(fresh)
        if problems:
            raise problems[0]
        if getattr(getattr(settings, row.section), row.name) != checked:
            raise ConfigurationError(key, "the file states it in a way that is not changed here")
        fresh.replace(target)
        synchronise_folder(target.parent)
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be changed: {type(error).__name__}") from None
    finally:
        fresh.unlink(missing_ok=True)


def _row(key: str) -> SettingRow:
    return next(row for row in rows() if row.key == key)


def _with(text: str, row: SettingRow, value: str) -> str:
    """Return the text with a setting's line: in its place, in that of its comment, or new."""
    stating = f"{row.name} = {config.toml(value)}"
    lines = text.splitlines()
    begin = next((n for n, one in enumerate(lines) if _names(one, row.section)), None)
    if begin is None:
        return "\n".join([*lines, *([""] if lines else []), f"[{row.section}]", stating]) + "\n"
    end = next(
        (n for n in range(begin + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines)
    )
    section = range(begin + 1, end)
    for pattern in (rf"\s*{row.name}\s*=", rf"\s*#\s*{row.name}\s*="):
        found = next((n for n in section if re.match(pattern, lines[n])), None)
        if found is not None:
            lines[found] = stating
            return "\n".join(lines) + "\n"
    lines.insert(begin + 1, stating)
    return "\n".join(lines) + "\n"


def _names(text: str, section: str) -> bool:
    return re.match(rf"\s*\[\s*{section}\s*\]\s*(#.*)?$", text) is not None
