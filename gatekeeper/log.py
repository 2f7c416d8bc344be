"""Structured events with allow-listed fields, and nothing else.

A log line is one JSON object: time, level, event, and fields from `ALLOWED_FIELDS`. A field that
is not on the list is dropped and counted in `dropped_fields`, so that patient data cannot reach a
log by accident. Library loggers (pydicom, pynetdicom, highdicom) are held: they print raw values.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

ALLOWED_FIELDS = frozenset(
    {
        "address",
        "association",
        "attempt",
        "called_ae",
        "calling_ae",
        "certificate",
        "channel",
        "code",
        "count",
        "days",
        "delivery",
        "detail",
        "detector",
        "device",
        "digest",
        "error",
        "exit_code",
        "instances",
        "job",
        "key",
        "limit",
        "milliseconds",
        "model",
        "node",
        "notification",
        "outcome",
        "path",
        "pid",
        "port",
        "profile",
        "reason",
        "revision",
        "role",
        "route",
        "rule",
        "seconds",
        "series",
        "signal",
        "size",
        "sop_class",
        "sop_instance",
        "state",
        "status",
        "study",
        "tick",
        "token",
        "transfer_syntax",
        "verdict",
        "version",
        "worker",
    }
)
"""Fields that may be written. None holds text typed by or about a patient; `reason`, `rule`,
`detail` and `error` hold our own sentences or an exception's class name, never its message unless
it is a `GatekeeperError`."""

_ALWAYS = frozenset({"event", "level", "time"})
_HELD_LOGGERS = (
    "pydicom",
    "pynetdicom",
    "highdicom",
    "py.warnings",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "python_multipart",
    "python_multipart.multipart",
    "asyncio",
)


_level = logging.NOTSET


def _keep_allowed(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    dropped = [key for key in event if key not in ALLOWED_FIELDS and key not in _ALWAYS]
    for key in dropped:
        del event[key]
    if dropped:
        event["dropped_fields"] = len(dropped)
    return event


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send structured events to `stream` (standard error by default) and hold library loggers."""
    for name in _HELD_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
    # Libraries warn with raw attribute values in the text; outside tests they go nowhere.
    if "PYTEST_VERSION" not in os.environ:
        warnings.simplefilter("ignore")
    global _level  # noqa: PLW0603 - as what is configured here is
    _level = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _keep_allowed,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_level),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def is_written(level: int) -> bool:
    """Return whether events of this level are written, for those that are costly to tell."""
    return level >= _level


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger that every module uses: ``log = get_logger()``."""
    return structlog.get_logger()


def error_name(error: BaseException) -> str:
    """Return what may be logged of `error`: our own messages whole, a library's class name only."""
    from gatekeeper.errors import GatekeeperError

    if isinstance(error, GatekeeperError):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__
