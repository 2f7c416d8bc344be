"""Runs: calls of nodes that a page has begun and shows step by step, each in a thread of its own.

A run has its node's deadlines; so many run at once, and the latest are kept to be looked at.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from gatekeeper.errors import GatekeeperError
from gatekeeper.log import error_name, get_logger
from gatekeeper.node_calls import Call, Called, Tell
from gatekeeper.send.roundtrip import Step

_KEPT = 100

log = get_logger()


class TooManyRuns(GatekeeperError):
    """As many calls as may run at once run already."""


@dataclass(slots=True)
class Run:
    """One call of a node.

    Attributes:
        key: names it in an address.
        node: AE title.
        call: what it is called for.
        begun_at: seconds since 1970.
        steps: those that have ended.
        called: what came of it; None while it runs.
        seconds: that it took.
    """

    key: str
    node: str
    call: Call
    begun_at: float
    steps: list[Step] = field(default_factory=list[Step])
    called: Called | None = None
    seconds: float = 0.0


class Runs:
    """The runs of one process.

    Args:
        most: that run at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Run] = OrderedDict()

    def begin(self, node: str, call: Call, work: Callable[[Tell], Called]) -> Run:
        """Begin a run and return it at once.

        Raises:
            TooManyRuns: if as many run as may.
        """
        run = Run(secrets.token_hex(8), node, call, time.time())
        with self._lock:
            if sum(one.called is None for one in self._kept.values()) >= self._most:
                raise TooManyRuns(
                    f"{self._most} tests of nodes run already (web.maximum_calls): wait for one"
                )
            self._kept[run.key] = run
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        threading.Thread(
            target=self._work, args=(run, work), name=f"call-{call}", daemon=True
        ).start()
        return run

    def get(self, key: str) -> Run | None:
        """Return a run that is still kept, or None."""
        with self._lock:
            return self._kept.get(key)

    def latest(self, node: str) -> Run | None:
        """Return the latest run of a node that is still kept, or None."""
        with self._lock:
            return next((run for run in reversed(self._kept.values()) if run.node == node), None)

    def _work(self, run: Run, work: Callable[[Tell], Called]) -> None:
        started = time.monotonic()
        called = Called(False)
        try:
            called = work(run.steps.append)
        except Exception as error:  # noqa: BLE001 - a person is told, and the run ends
            text = str(error) if isinstance(error, GatekeeperError) else error_name(error)
            run.steps.append(Step("call", False, 0.0, text))
        finally:
            run.seconds = time.monotonic() - started
            run.called = called
            outcome = "answered" if called.ok else "failed"
            log.info("node_called", node=run.node, outcome=outcome, seconds=round(run.seconds, 3))
