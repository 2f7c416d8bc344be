"""Settings as a manifest or a person states them, taken into a configuration or refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from models.errors import ModelError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    C = TypeVar("C", bound=DataclassInstance)


def whole(usual: C, stated: Mapping[str, Any], of: str) -> C:
    """Return the configuration that states every one of its settings.

    Args:
        usual: one of its kind.
        stated: name and value of each setting, as JSON has them.
        of: what is configured, for the message.

    Raises:
        ModelError: if one is unknown, missing or of the wrong kind, or they do not fit together.
    """
    names = {field.name for field in fields(usual)}
    if set(stated) != names:
        odd = min(set(stated) ^ names)
        raise ModelError(f"the {of}'s setting {odd} is unknown or missing")
    return changed(usual, stated, of)


def changed(config: C, stated: Mapping[str, Any], of: str) -> C:
    """Return `config` with some settings replaced; the arguments are those of `whole`.

    Raises:
        ModelError: if one is unknown or of the wrong kind, or they do not fit together.
    """
    names = [field.name for field in fields(config)]
    for name in stated:
        if name not in names:
            raise ModelError(f"no setting {name!r} of the {of}; there are: {', '.join(names)}")
    values = {name: like(getattr(config, name), name, value) for name, value in stated.items()}
    return replace(config, **values)


def like(usual: Any, name: str, value: Any) -> Any:
    """Return a setting's new value as the type of its usual one.

    Raises:
        ModelError: if it is of another kind; a whole number is a float where one is due.
    """
    if isinstance(usual, tuple) and isinstance(value, list | tuple):
        return tuple(cast("Sequence[Any]", value))
    if isinstance(usual, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(usual) is not type(value):
        raise ModelError(f"setting {name!r} is like {usual!r}, not like {value!r}")
    return value
