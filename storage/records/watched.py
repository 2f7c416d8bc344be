"""What drift is looked for in: streams of series, their values, and devices. No patient data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class DriftStream:
    """The series of one device and protocol, as one detector judged them."""

    id: int
    """0 before it is written."""
    device: str
    protocol: str
    detector: str
    terms: str
    """Version and calibration of the detector; with others the reference begins anew."""
    begun_at: float
    """When the first series of the reference was judged."""
    counted: int = 0
    """Series ever; the number of the latest."""
    size: int = 0
    """Series since the reference began."""
    statistics: dict[str, Any] = field(default_factory=dict[str, Any])
    """JSON: state of the test of each attribute; see `models.drift.sequential`."""
    found: dict[str, Any] = field(default_factory=dict[str, Any])
    """JSON: attribute -> the change that was found; see `gatekeeper.drift.stream`."""


@dataclass(frozen=True, slots=True)
class DriftObservation:
    """One series of a stream."""

    job_id: int
    series_instance_uid: str
    number: int
    """Of the series within its stream, from 1."""
    at: float
    score: float
    p_value: float
    numbers: dict[str, float] = field(default_factory=dict[str, float])
    """Values of the header by their names; empty when it could not be read."""


@dataclass(frozen=True, slots=True)
class DriftDevice:
    """One scanner."""

    name: str
    """Device with its serial number or station."""
    device: str
    station: str
    serial: str
    software: tuple[dict[str, Any], ...] = ()
    """JSON: each version that it had, ``version`` and ``since``, the present one last."""
    first_lags: tuple[float, ...] = ()
    """Seconds from making to receipt of its first images."""
    latest_lags: tuple[float, ...] = ()
    """The same of its latest images, the newest last."""
    clock: str = "unknown"
    """A `models.drift.clock.ClockState`."""
    clock_since: float | None = None
    counted: int = 0
    seen_at: float = 0.0


@dataclass(frozen=True, slots=True)
class DriftDue:
    """A settled job that was not looked at."""

    job_id: int
    study_instance_uid: str
    at: float
    evidence: dict[str, Any]
    waits: bool
    """Whether its study's headers are still to be read."""
