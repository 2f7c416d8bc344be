"""Settings as people may see them: each with its value in force, and no secret."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gatekeeper.settings import SettingRow, Settings, describe, rows

_SECRETS = frozenset({"notify.smtp_password", "notify.webhook_key", "accounts.oidc_client_secret"})
_WITHIN = "database.url"
HIDDEN = "(set, not shown)"


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One setting.

    Attributes:
        key: dotted name.
        meaning: with unit, bounds and choices.
        value: in force, as text; a secret is not shown.
        default: as text.
        changed: whether the value is another than the default.
        variable: of the environment that sets it; empty when none does.
    """

    key: str
    meaning: str
    value: str
    default: str
    changed: bool
    variable: str


def shown(
    settings: Settings, environment: Mapping[str, str] | None = None
) -> dict[str, list[ShownSetting]]:
    """Return every setting, by section, in the order of the file.

    Args:
        settings: in force in this process.
        environment: variables; None means those of the process.
    """
    variables = os.environ if environment is None else environment
    found: dict[str, list[ShownSetting]] = {}
    for row in rows():
        value = getattr(getattr(settings, row.section), row.name)
        one = ShownSetting(
            row.key,
            describe(row),
            _text(row, value),
            _plain(row.default),
            value != row.default,
            row.variable if row.variable in variables else "",
        )
        found.setdefault(row.section, []).append(one)
    return found


def _text(row: SettingRow, value: Any) -> str:
    if row.key in _SECRETS:
        return HIDDEN if value else ""
    if row.key == _WITHIN:
        try:
            return make_url(value).render_as_string(hide_password=True)
        except ArgumentError:
            return HIDDEN
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
