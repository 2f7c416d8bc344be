"""Recording answers while the next object is on its way.

A commit costs as long as sending several objects. So a thread commits what has come since its last
commit, all at once and under the attempt's fence; an answer waits for one commit and one short rest
at most. Answers that come slower than that are committed as they come.
"""

from __future__ import annotations

import queue
import threading
import time
from types import TracebackType
from typing import Self

from gatekeeper.send.transport import InstanceStatus
from storage import deliveries
from storage.engine import Database, DatabaseUnavailableError
from storage.records import Delivery

_LARGEST_BATCH = 256
_REST_SECONDS = 0.02
"""From one commit to the next, in which answers gather; a kill costs no more than to send their
objects again."""
_CLOSE_SECONDS = 120.0
"""Wait for the last commit; longer than the database takes to give up."""


class Recorder:
    """Records the answers of one attempt; a context manager whose end waits for the last commit.

    Attributes:
        lost: set when the delivery is no longer this attempt's; nothing more is recorded then.
    """

    def __init__(self, database: Database, delivery: Delivery) -> None:
        self._database = database
        self._delivery = delivery
        self._answers: queue.SimpleQueue[InstanceStatus | None] = queue.SimpleQueue()
        self._error: DatabaseUnavailableError | None = None
        self._drained = False
        self._thread = threading.Thread(target=self._run, name=f"record-{delivery.id}", daemon=True)
        self.lost = False

    @property
    def over(self) -> bool:
        """Whether answers are no longer recorded, so that sending on is of no use."""
        return self.lost or self._error is not None

    def record(self, answer: InstanceStatus) -> None:
        """Have `answer` recorded soon."""
        self._answers.put(answer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until everything is recorded.

        Raises:
            DatabaseUnavailableError: if it could not be.
        """
        self._answers.put(None)
        self._thread.join(_CLOSE_SECONDS)
        if self._error is not None:
            raise self._error
        if not self._drained:
            raise DatabaseUnavailableError("answers could not be recorded")

    def _run(self) -> None:
        ended = False
        rested = time.monotonic()
        while not ended:
            batch = [self._answers.get()]
            while batch[-1] is not None and len(batch) < _LARGEST_BATCH:
                try:
                    batch.append(self._answers.get(timeout=max(0.0, rested - time.monotonic())))
                except queue.Empty:
                    break
            ended = batch[-1] is None
            if not self.over:
                self._commit([answer for answer in batch if answer is not None])
            rested = time.monotonic() + _REST_SECONDS
        self._drained = True

    def _commit(self, answers: list[InstanceStatus]) -> None:
        if not answers:
            return
        delivery = self._delivery
        try:
            with self._database.begin() as tx:
                held = deliveries.record_items(
                    tx,
                    delivery.id,
                    delivery.attempt,
                    [
                        (answer.sent.sop_instance_uid, answer.status, answer.stored)
                        for answer in answers
                    ],
                )
        except DatabaseUnavailableError as error:
            self._error = error
        else:
            self.lost = not held
