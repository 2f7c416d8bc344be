"""Fields: a frozen record as the keys of an item, and back, each value checked by its type.

A key whose value is the record's default is left out. A key that a record does not have, or a value
of another type, is refused by name.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, cast

from gatekeeper.configuration.document import Item
from gatekeeper.errors import ConfigurationError


def item_of(record: Any, *, without: str) -> Item:
    """Return the keys of a record that are not at their defaults.

    Args:
        record: a frozen dataclass.
        without: the field that names the item; it is no key.
    """
    found: Item = {}
    for one in dataclasses.fields(record):
        value = getattr(record, one.name)
        if one.name != without and (_required(one) or value != _default(one)):
            found[one.name] = plain(value)
    return found


def record_of(record: type[Any], path: str, item: Mapping[str, Any], **given: Any) -> Any:
    """Return the record of an item's keys.

    Args:
        record: its class, a frozen dataclass.
        path: of the item, for errors: ``nodes.PACS``.
        item: the keys.
        given: fields that are no keys, such as the item's name.

    Raises:
        ConfigurationError: naming the key that is unknown, missing or of another type.
    """
    known = {one.name: one for one in dataclasses.fields(record) if one.name not in given}
    wanted = _types(record)
    for key in item:
        if key not in known:
            raise ConfigurationError(f"{path}.{key}", "no such key")
    for key, one in known.items():
        if key not in item and _required(one):
            raise ConfigurationError(f"{path}.{key}", "is missing")
    values = {key: checked(f"{path}.{key}", wanted[key], value) for key, value in item.items()}
    try:
        return record(**given, **values)
    except ValueError as error:
        raise ConfigurationError(path, str(error)) from None


def plain(value: Any) -> Any:
    """Return a field's value as JSON has it."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [plain(item) for item in cast("tuple[Any, ...]", value)]
    if isinstance(value, str):
        return str(value)
    return value


def checked(path: str, wanted: Any, value: Any) -> Any:
    """Return `value` as the type `wanted` of a field.

    Raises:
        ConfigurationError: naming `path`, if it is of another type.
    """
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        kinds = [one for one in arguments if one is not type(None)]
        return checked(path, kinds[0], value)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigurationError(path, "must be a list")
        parts = enumerate(cast("list[Any]", value))
        return tuple(checked(f"{path}[{place}]", arguments[0], part) for place, part in parts)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        known = [one.value for one in wanted]
        if value not in known:
            raise ConfigurationError(path, f"must be one of {', '.join(map(str, known))}")
        return wanted(value)
    return _scalar(path, wanted, value)


def _scalar(path: str, wanted: Any, value: Any) -> Any:
    if wanted is bool:
        if not isinstance(value, bool):
            raise ConfigurationError(path, "must be true or false")
        return value
    if wanted is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigurationError(path, "must be a whole number")
        return value
    if wanted is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigurationError(path, "must be a number")
        if not math.isfinite(value):
            raise ConfigurationError(path, "must be a finite number")
        return float(value)
    return text(path, value)


def text(path: str, value: Any) -> str:
    """Return `value`, a text that a database can keep.

    Raises:
        ConfigurationError: naming `path`, if it is none.
    """
    if not isinstance(value, str):
        raise ConfigurationError(path, "must be a text")
    if "\0" in value or not _encodes(value):
        raise ConfigurationError(path, "must be a text without NUL and half characters")
    return value


def _encodes(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


@functools.cache
def _types(record: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(record)


def _required(one: dataclasses.Field[Any]) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def _default(one: dataclasses.Field[Any]) -> Any:
    if one.default_factory is not dataclasses.MISSING:
        return one.default_factory()
    return one.default
