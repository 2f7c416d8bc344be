"""Failed attempts counted by address, so that guessing a token takes longer than anyone has."""

from __future__ import annotations

import collections
import ipaddress
import threading
import time
from collections.abc import Callable

_ADDRESSES = 10_000
"""Addresses remembered; beyond, those that failed longest ago are forgotten."""


class Throttle:
    """Addresses that fail too often are to wait.

    Args:
        failures: so many within the time are too many.
        seconds: how long a failure counts.
        clock: returns seconds.
    """

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures = failures
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: collections.OrderedDict[str, collections.deque[float]] = (
            collections.OrderedDict()
        )

    def wait(self, address: str) -> float:
        """Return the seconds until an address may try again, 0 when it may now."""
        with self._lock:
            times = self._failed.get(_network(address))
            if times is None or len(times) < self._failures:
                return 0.0
            return max(0.0, times[0] + self._seconds - self._clock())

    def failed(self, address: str) -> None:
        """Count a failed attempt."""
        with self._lock:
            network = _network(address)
            times = self._failed.pop(network, None)
            # Of the latest ones, the oldest tells when there were too many.
            times = collections.deque(maxlen=self._failures) if times is None else times
            times.append(self._clock())
            self._failed[network] = times
            if len(self._failed) > _ADDRESSES:
                self._failed.popitem(last=False)


def _network(address: str) -> str:
    """Return what one caller has of addresses: of IPv6 a whole /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
