"""Plain: figures as values that JSON can write."""

from __future__ import annotations

from math import isfinite
from typing import Any, cast


def finite(value: Any) -> Any:
    """Return `value` with None for every number that JSON cannot write."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in cast("list[Any]", value)]
    return value
