"""Scanner: a device's clock and software, one study after another; pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from gatekeeper.acquired import Acquired
from gatekeeper.settings import DriftSettings
from models.drift.clock import Clock, ClockState, look
from storage.records import DriftDevice

MAXIMUM_VERSIONS = 20
"""Versions of software that are kept; the oldest go."""

_ALARMS = (ClockState.AHEAD, ClockState.CHANGED)


@dataclass(frozen=True, slots=True)
class Noticed:
    """What a study says of its scanner.

    Attributes:
        scanner: as it is now.
        clock: what its lags say.
        clock_is_new: whether its clock is off since this study.
        software_is_new: whether it has software that it never had before; not with its first.
    """

    scanner: DriftDevice
    clock: Clock
    clock_is_new: bool = False
    software_is_new: bool = False


def name_of(one: Acquired) -> str:
    """Return the scanner's name: the device with its serial number or station; empty without."""
    told_by = one.serial or one.station
    return f"{one.device} {told_by}".strip() if one.device else ""


def notice(
    before: DriftDevice | None, one: Acquired, at: float, settings: DriftSettings
) -> Noticed:
    """Return what a series says of its scanner.

    Args:
        before: the scanner as it was; None for one that was never seen.
        one: how the series was acquired.
        at: when it was judged, seconds since 1970.
        settings: limits.
    """
    known = before or DriftDevice(name_of(one), one.device, one.station, one.serial)
    known = dataclasses.replace(
        known,
        device=one.device,
        station=one.station,
        serial=one.serial,
        counted=known.counted + 1,
        seen_at=at,
    )
    software_is_new = False
    if one.software and (not known.software or known.software[-1]["version"] != one.software):
        had = {version["version"] for version in known.software}
        software_is_new = bool(had) and one.software not in had
        versions = (*known.software, {"version": one.software, "since": at})
        known = dataclasses.replace(known, software=versions[-MAXIMUM_VERSIONS:])
    return _clock(known, one, at, settings, software_is_new=software_is_new)


def clock_of(one: DriftDevice, settings: DriftSettings) -> Clock:
    """Return what the lags of a scanner say; an alarm ends at half of the limit."""
    fewest = settings.clock_series
    off = one.clock in {state.value for state in _ALARMS}
    limit = settings.clock_seconds / 2.0 if off else settings.clock_seconds
    return look(one.first_lags, one.latest_lags, limit, fewest)


def _clock(
    known: DriftDevice,
    one: Acquired,
    at: float,
    settings: DriftSettings,
    *,
    software_is_new: bool,
) -> Noticed:
    if one.made_at is None or one.received_at is None:
        return Noticed(known, clock_of(known, settings), software_is_new=software_is_new)
    lag = round(one.received_at - one.made_at, 1)
    first = known.first_lags
    if len(first) < settings.clock_series:
        first = (*first, lag)
    latest = (*known.latest_lags, lag)[-settings.clock_series :]
    known = dataclasses.replace(known, first_lags=first, latest_lags=latest)
    clock = clock_of(known, settings)
    was = known.clock
    if clock.state.value != was:
        known = dataclasses.replace(known, clock=clock.state.value, clock_since=at)
    is_new = clock.state in _ALARMS and was not in {state.value for state in _ALARMS}
    return Noticed(known, clock, is_new, software_is_new)
