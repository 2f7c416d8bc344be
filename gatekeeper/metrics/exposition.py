"""All metrics as Prometheus reads them: the text format, collected subject by subject.

A subject in trouble is left out and says so in `gatekeeper_collector_success`; the others are
there. Once the database did not answer, no other subject asks it in this collection, so that a
scrape waits for it once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

import gatekeeper
from gatekeeper.errors import GatekeeperError
from gatekeeper.log import error_name, get_logger
from gatekeeper.metrics import families
from gatekeeper.metrics.subjects import Subject
from storage.engine import DatabaseUnavailableError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

log = get_logger()


class Exposition(Collector):
    """The metrics of a site; used by one thread at a time.

    Args:
        subjects: what is collected.
    """

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = subjects
        self._failing: set[str] = set()

    def text(self) -> bytes:
        """Collect everything now and return it; never raises for a subject in trouble."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the catalogue, in its order."""
        found: dict[str, Metric] = {}
        success: dict[tuple[str, ...], float] = {}
        seconds: dict[tuple[str, ...], float] = {}
        no_database = False
        for subject in self._subjects:
            started = time.monotonic()
            error: Exception | None = None
            if no_database and subject.asks_database:
                error = DatabaseUnavailableError("asked a moment ago")
            else:
                try:
                    found |= {one.name: one for one in subject.collect()}
                except (SQLAlchemyError, OSError, GatekeeperError) as trouble:
                    error = trouble
                except Exception as defect:  # noqa: BLE001 - one subject must not hide the others
                    error = defect
            no_database = no_database or isinstance(error, DatabaseUnavailableError)
            self._tell(subject.name, error)
            success[subject.name,] = float(error is None)
            seconds[subject.name,] = time.monotonic() - started
        for one in (
            families.BUILD.of({(gatekeeper.__version__,): 1}),
            families.SUCCESS.of(success),
            families.SECONDS.of(seconds),
        ):
            found[one.name] = one
        for family in families.CATALOGUE:
            empty = family.empty()
            yield found.get(empty.name, empty)

    def _tell(self, subject: str, error: Exception | None) -> None:
        """Log trouble when it begins."""
        if error is None:
            self._failing.discard(subject)
        elif subject not in self._failing:
            self._failing.add(subject)
            log.warning("metrics_not_collected", key=subject, error=error_name(error))
