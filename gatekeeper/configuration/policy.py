"""The section `policy`: thresholds and the gate's policy, over those of the settings file.

A key is that of a setting: a value in the database is in force in place of the file's. Only
settings of `OPEN` may be so set: every process reads the others once, at its start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import Connection

from gatekeeper import config
from gatekeeper.configuration.document import Document, Item, Items
from gatekeeper.configuration.fields import plain, text
from gatekeeper.errors import ConfigurationError
from gatekeeper.settings import SettingRow, Settings, rows
from models.activation import ProfileKey
from models.errors import ModelError
from storage import policies
from storage.schema import site_policy as table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")

NAME = "policy"
OPEN = frozenset(
    {
        "models.false_hold_rate",
        "models.without_calibration",
        "gate.suspect",
        "gate.unreadable",
        "gate.uncalibrated",
        "gate.unavailable",
        "gate.at_limit",
        "gate.maximum_hold_hours",
        "gate.warn_hours",
        "gate.verdict_minutes",
    }
)
"""Keys of the settings that may be set here: what is read afresh for each study."""
RATE = "models.false_hold_rate"
RATES = "false_hold_rate"
"""Section of the false-hold rates of single profiles: ``false_hold_rate.MR/BRAIN/T1``."""


def open_rows() -> dict[str, SettingRow]:
    """Return the settings that may be set in the database, by key."""
    return {row.key: row for row in rows() if row.key in OPEN}


def checked(key: str, value: Any) -> Any:
    """Return the value of a key as JSON keeps it.

    Raises:
        ConfigurationError: if the key may not be set here, or by the rule of the setting.
    """
    row = _row(key)
    if row is None:
        known = ", ".join([*sorted(open_rows()), f"{RATES}.MODALITY/PART/SEQUENCE"])
        raise ConfigurationError(key, f"is not set in the database; these are: {known}")
    if isinstance(value, str):
        text(key, value)
    return plain(config.checked(row, value))


def read_text(value: str) -> Any:
    """Return a typed value as TOML reads it, or the text itself."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _row(key: str) -> SettingRow | None:
    """Return the setting that a key follows; None for a key that may not be set here."""
    section, _, profile = key.partition(".")
    if section != RATES:
        return open_rows().get(key)
    try:
        if str(ProfileKey.parse(profile)) != profile:
            raise ModelError("a profile is written in capitals")
    except ModelError as error:
        raise ConfigurationError(key, str(error)) from None
    return dataclasses.replace(open_rows()[RATE], section=RATES, name=profile)


def rates(tx: Connection) -> dict[str, float]:
    """Return the false-hold rates of single profiles, over that of all; unusable ones left out."""
    found: dict[str, float] = {}
    for key, value in policies.values(tx).items():
        section, _, profile = key.partition(".")
        if section == RATES:
            with contextlib.suppress(ConfigurationError):
                found[profile] = checked(key, value)
    return found


def in_force(tx: Connection, settings: Settings) -> Settings:
    """Return the settings with the values of the database over them; see `over`."""
    sections = {row.section for row in open_rows().values()}
    changed = {name: over(tx, name, getattr(settings, name)) for name in sections}
    return dataclasses.replace(settings, **changed)


def over(tx: Connection, section: str, settings: S) -> S:
    """Return one section of the settings with the values of the database over it.

    A value that this version cannot use is passed over: `gatekeeper check` names it, and so does
    `problems_of`.
    """
    known = open_rows()
    changed: dict[str, Any] = {}
    for key, value in policies.values(tx).items():
        of, _, name = key.partition(".")
        if of == section:
            with contextlib.suppress(ConfigurationError, KeyError):
                changed[name] = config.checked(known[key], value)
    return dataclasses.replace(settings, **changed) if changed else settings


def problems_of(values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with values by key, a sentence for each that cannot be used."""
    found: list[str] = []
    for key, value in values.items():
        try:
            checked(key, value)
        except ConfigurationError as error:
            found.append(f"{NAME}.{error}")
    return found


@dataclass(frozen=True, slots=True)
class PolicySection:
    """Values by section and name of the setting."""

    name: str = NAME
    title: str = "Thresholds and the gate's policy, over those of gatekeeper.toml."
    tables: tuple[Any, ...] = (table,)

    def read(self, tx: Connection) -> Items:
        """Return the values set; see `Section.read`."""
        found: Items = {}
        for key, value in policies.values(tx).items():
            section, _, name = key.partition(".")
            found.setdefault(section, {})[name] = value
        return found

    def parse(self, items: Mapping[str, Any]) -> Items:
        """Return checked values; see `Section.parse`."""
        found: Items = {}
        for section, item in items.items():
            if not isinstance(item, dict):
                raise ConfigurationError(f"{NAME}.{section}", "must be a table of keys")
            values: Item = {}
            for name, value in cast("dict[str, Any]", item).items():
                values[name] = checked(f"{section}.{name}", value)
            if values:
                found[section] = values
        return found

    def problems(self, document: Document) -> list[str]:
        """Return the values that break the rule of their setting; see `Section.problems`."""
        return problems_of(_by_key(document.get(NAME, {})))

    def write(self, tx: Connection, items: Items) -> None:
        """Have these values in force; see `Section.write`."""
        wanted = _by_key(items)
        for key in policies.values(tx).keys() - wanted.keys():
            policies.remove(tx, key)
        for key, value in wanted.items():
            policies.save(tx, key, value)


def _by_key(items: Mapping[str, Item]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section, item in items.items()
        for name, value in item.items()
    }
