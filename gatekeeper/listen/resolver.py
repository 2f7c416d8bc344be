"""Addresses of host names, with a cache and a deadline.

The system's resolver has no deadline of its own and must not hold up an association, so each
lookup runs in a thread that may be left behind; at most one runs for a host at a time. While the
name service is down or late, the last answer stays in force.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gatekeeper.listen.peers import Address, parse_address


def system_lookup(host: str) -> list[str]:
    """Return the literal addresses of `host`.

    Raises:
        OSError: when the name service gives none.
    """
    entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for _family, _type, _protocol, _name, address in entries]


@dataclass(slots=True)
class _Entry:
    addresses: frozenset[Address] = frozenset()
    fresh_until: float = float("-inf")
    answered: threading.Event | None = field(default=None)
    """Set when the lookup under way ends; None when none is."""


class Resolver:
    """Resolves host names for `peers.judge`; safe to call from many threads.

    Args:
        wait_seconds: longest wait for an answer.
        fresh_seconds: how long an answer is used before asking again.
        lookup: asks the name service.
    """

    def __init__(
        self,
        wait_seconds: float,
        fresh_seconds: float,
        lookup: Callable[[str], Iterable[str]] = system_lookup,
    ) -> None:
        self._wait = wait_seconds
        self._fresh = fresh_seconds
        self._lookup = lookup
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def addresses(self, host: str) -> frozenset[Address]:
        """Return the addresses of `host`, at the latest after the wait; empty when unknown."""
        with self._lock:
            entry = self._entries.setdefault(host, _Entry())
            if time.monotonic() < entry.fresh_until:
                return entry.addresses
            if entry.answered is None:
                entry.answered = threading.Event()
                threading.Thread(
                    target=self._ask, args=(host, entry, entry.answered), daemon=True
                ).start()
            answered = entry.answered
        answered.wait(self._wait)
        with self._lock:
            return entry.addresses

    def _ask(self, host: str, entry: _Entry, answered: threading.Event) -> None:
        found: frozenset[Address] | None = None
        try:
            found = frozenset(parse_address(text) for text in self._lookup(host))
        except (OSError, ValueError):
            # UnicodeError, from names that are none, is a ValueError.
            found = None
        finally:
            with self._lock:
                if found:
                    entry.addresses = found
                    entry.fresh_until = time.monotonic() + self._fresh
                entry.answered = None
            answered.set()
