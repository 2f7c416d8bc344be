"""Refusals: nodes, and who says it is one, that were not let in; told without waiting for it."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.atna.alerts import NodeRefused
from gatekeeper.atna.gathering import Gathered, Gathering
from gatekeeper.settings import Settings
from storage.engine import Database

MOST_CALLERS = 100
"""Callers told one by one in ``audit.repeat_seconds``; the others are one message."""

_REST = "more callers were refused than are told one by one"


@dataclass(frozen=True, slots=True)
class _Caller:
    node: str
    address: str
    rule: str


class Refusals:
    """Tells of refused callers: the first time at once, then how often in each while.

    Args:
        database: of the outbox.
        settings: of the site.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._gathering = Gathering(
            database,
            settings,
            _event,
            at_once=True,
            most=MOST_CALLERS,
            others=_Caller("", "", _REST),
        )

    def start(self) -> None:
        """Start telling."""
        self._gathering.start()

    def stop(self, seconds: float) -> None:
        """Tell what is left to tell, in so many seconds at most."""
        self._gathering.stop(seconds)

    def note(self, node: str, address: str, rule: str) -> None:
        """Note that a caller was refused; never waits.

        Args:
            node: AE title that it gave; empty when it gave none.
            address: its literal IP address.
            rule: that it broke, in our own words.
        """
        self._gathering.add(_Caller(node, address, rule), {"": 1})


def _event(caller: _Caller, gathered: Gathered) -> NodeRefused:
    count = gathered.counts.total()
    return NodeRefused(caller.node, caller.address, caller.rule, count, gathered.first_at)
