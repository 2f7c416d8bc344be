"""What an administrator changes: rules, models, versions, and what is tried before."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule as stored."""

    name: str
    position: int
    """Rules are asked in this order."""
    enabled: bool
    document: dict[str, Any]
    """JSON: condition and actions; see `gatekeeper.rules.document`."""
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ConfigurationVersion:
    """What the whole dynamic configuration was from a change on, and who made it."""

    number: int
    """From 1, each one more than the one before it."""
    at: float
    who: str
    why: str
    document: dict[str, Any]
    digest: str
    """SHA-256 of the document in its canonical form."""
    restored_from: int | None = None
    """Number of the version that this one returned to, in whole or in one section."""


@dataclass(frozen=True, slots=True)
class ActiveBundle:
    """Which bundle answers for a profile."""

    profile: str
    """As ``MR/BRAIN/T1``."""
    bundle: str
    """Its name; empty where no bundle is to answer."""
    digest: str = ""
    """Of the bundle when it was chosen."""


class ShadowState(enum.StrEnum):
    """What became of terms in shadow."""

    RUNNING = "running"
    ENDED = "ended"
    ACTIVATED = "activated"


@dataclass(frozen=True, slots=True)
class Shadow:
    """Terms that decide beside those in force, and do nothing."""

    name: str
    candidate: dict[str, Any]
    """JSON; see `gatekeeper.backtest.candidate`."""
    analyses: bool
    """Whether its models analyse each study anew, which takes a worker."""
    state: ShadowState
    started_by: str
    why: str
    started_at: float
    """Studies judged from then on are decided."""
    first_job: int
    """The oldest job that was not at its end then."""
    ended_by: str = ""
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class ShadowTask:
    """One study that a worker is to analyse in shadow, as claimed."""

    id: int
    attempt: int
    shadow: str
    job_id: int
