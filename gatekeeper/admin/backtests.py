"""Backtests: past studies decided by other terms, in a thread, with progress; one at a time.

What is found is kept until the next one, or until the process ends: nothing is written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatekeeper.errors import GatekeeperError
from gatekeeper.log import error_name, get_logger

if TYPE_CHECKING:
    from gatekeeper.backtest.comparison import Comparison

log = get_logger()

Seen = Callable[[int], None]
"""Called with the number of studies looked at; raises to stop."""


class BacktestRuns(GatekeeperError):
    """One runs already."""


class Stopped(GatekeeperError):
    """It took longer than it may."""


@dataclass(slots=True)
class Backtest:
    """One backtest.

    Attributes:
        candidate: what is tried, in words.
        who: began it.
        limit: most studies.
        begun_at: seconds since 1970.
        done: studies looked at.
        found: what came of it; None while it runs and where it failed.
        problem: why it failed; empty where it did not.
        seconds: that it took; None while it runs.
    """

    candidate: str
    who: str
    limit: int
    begun_at: float
    done: int = 0
    found: Comparison | None = None
    problem: str = ""
    seconds: float | None = None


class Backtests:
    """The latest backtest of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: Backtest | None = None

    @property
    def latest(self) -> Backtest | None:
        """The one that runs, or ran last; None before any."""
        with self._lock:
            return self._latest

    def begin(
        self,
        candidate: str,
        who: str,
        limit: int,
        longest: float,
        work: Callable[[Seen], Comparison],
    ) -> Backtest:
        """Begin one and return at once.

        Args:
            candidate: what is tried, in words.
            who: begins it.
            limit: most studies.
            longest: seconds after which it is stopped.
            work: that is done.

        Raises:
            BacktestRuns: if one runs already.
        """
        with self._lock:
            if self._latest is not None and self._latest.seconds is None:
                raise BacktestRuns("a backtest runs already: wait for its end")
            one = self._latest = Backtest(candidate, who, limit, time.time())
        threading.Thread(
            target=_run, args=(one, longest, work), name="backtest", daemon=True
        ).start()
        return one


def _run(one: Backtest, longest: float, work: Callable[[Seen], Comparison]) -> None:
    started = time.monotonic()

    def seen(count: int) -> None:
        one.done = count
        if time.monotonic() - started > longest:
            raise Stopped(f"it took over {longest:.0f} s: take fewer studies, or the command line")

    try:
        one.found = work(seen)
    except Exception as error:  # noqa: BLE001 - a person is told, and the backtest ends
        one.problem = str(error) if isinstance(error, GatekeeperError) else error_name(error)
    finally:
        one.seconds = time.monotonic() - started
        log.info("backtest_ended", count=one.done, seconds=round(one.seconds, 1))
