"""What one process counts that is nowhere else: associations, answers, bytes, time to answer.

A listener has no HTTP port and may be one of several, and the database has no row of what was
refused. So each process counts in memory (a lock and a few additions an instance, about a
microsecond), and `tally_files` hands the counts on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from gatekeeper.metrics.histogram import RECEIVE_SECONDS, Histogram

ACCEPTED = "accepted"
_STATUSES: tuple[int, ...] = (0x0000, 0x0110, 0x0122, 0x0124, 0xA700, 0xA900, 0xC000)
"""What `gatekeeper.listen.receive` answers."""
_MOST_KEYS = 64
_LONGEST_KEY = 80

Counts = dict[str, Any]
"""JSON: what `Tally.counts` returns and `read_counts` checks."""


class Tally:
    """Counts since the start of this process; used from any thread.

    What may happen is there from the start, as zero: Prometheus sees no rise in what begins at one.

    Args:
        outcomes: what may become of an association; what else does is counted too.
    """

    def __init__(self, outcomes: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._associations = Counter(dict.fromkeys(outcomes, 0))
        self._answers = Counter(dict.fromkeys(_STATUSES, 0))
        self._bytes = 0
        self._seconds = Histogram(RECEIVE_SECONDS)
        self.open: Callable[[], int] = int
        """Returns how many associations are open now."""

    def association(self, outcome: str) -> None:
        """Count an association that was asked for: `ACCEPTED`, or one of our reasons why not."""
        with self._lock:
            self._associations[outcome] += 1

    def answered(self, status: int, size: int, seconds: float) -> None:
        """Count an instance by its DIMSE status (PS3.7 annex C), with its bytes and its time."""
        with self._lock:
            self._answers[status] += 1
            self._bytes += size
            self._seconds.observe(seconds)

    def counts(self) -> Counts:
        """Return the counts now, as JSON."""
        still_open = self.open()
        with self._lock:
            return {
                "open": still_open,
                "associations": dict(self._associations),
                "answers": {f"{status:04X}": count for status, count in self._answers.items()},
                "bytes": self._bytes,
                "seconds": {"counts": list(self._seconds.counts), "sum": self._seconds.sum},
            }


def read_counts(found: object) -> Counts:
    """Return counts as another process wrote them, checked.

    Raises:
        ValueError: if they are not such counts, as those of another version may not be.
    """
    values = _mapping(found)
    seconds = _mapping(values.get("seconds"))
    counts = seconds.get("counts")
    if not isinstance(counts, list) or len(cast(list[Any], counts)) != len(RECEIVE_SECONDS) + 1:
        raise ValueError("not the buckets of this version")
    return {
        "open": _number(values.get("open")),
        "associations": _numbers(values.get("associations")),
        "answers": _numbers(values.get("answers")),
        "bytes": _number(values.get("bytes")),
        "seconds": Histogram(
            RECEIVE_SECONDS,
            [int(_number(one)) for one in cast(list[Any], counts)],
            float(_number(seconds.get("sum"))),
        ),
    }


def _mapping(found: object) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for all that is wrong
    return cast(dict[str, Any], found)


def _number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not found >= 0:
        raise ValueError("not a count")
    return found


def _numbers(found: object) -> dict[str, float]:
    values = _mapping(found)
    if len(values) > _MOST_KEYS:
        raise ValueError("too many counts")
    return {name[:_LONGEST_KEY]: _number(value) for name, value in values.items()}
