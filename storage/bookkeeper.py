"""The bookkeeper: rows of files that vouch for themselves, written after their acknowledgement.

Such a file is durable together with what its row says (`storage.voucher`), so its answer need not
wait for the row. The rows of all associations of a process gather for some hundredths of a second
and are written together. What cannot be written is tried again as long as the process lives, and
after it recovery enters the file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from storage import failpoint
from storage.engine import SynchronisationError
from storage.entries import Entered, Entry
from storage.gathering import Gathering, Rhythm
from storage.settler import Named


@dataclass(frozen=True, slots=True)
class Vouched:
    """A file that is durable, vouches for itself and was acknowledged.

    Attributes:
        entry: what its row says.
        named: where it lies, to be settled once it has its row.
    """

    entry: Entry
    named: Named


class Bookkeeper(Gathering[Vouched]):
    """Enters vouched files in a thread of its own, which starts with the first.

    Args:
        hand_in: hands in an entry, and returns what waits until its row is durable.
        entered: told of each file that has its row; what it raises is tried again.
        rhythm: see there.
        trouble: told of the first failure of each attempt.
    """

    def __init__(
        self,
        hand_in: Callable[[Entry], Callable[[], Entered]],
        entered: Callable[[Vouched, Entered], None],
        rhythm: Rhythm,
        trouble: Callable[[Exception], None],
    ) -> None:
        super().__init__("bookkeeper", rhythm, self._keep, trouble)
        self._hand_in = hand_in
        self._entered = entered
        self._tell = trouble

    def _keep(self, batch: list[Vouched]) -> list[Vouched]:
        failpoint.reached("bookkeeper.entering")
        # All before the first is waited for: they share transactions.
        results = [self._handed_in(one.entry) for one in batch]
        left: list[Vouched] = []
        first: Exception | None = None
        for one, result in zip(batch, results, strict=True):
            try:
                self._entered(one, result())
            except SynchronisationError:
                raise
            except Exception as error:  # noqa: BLE001 - told, and only this one is tried again
                left.append(one)
                first = first or error
        if first is not None:
            self._tell(first)
        failpoint.reached("bookkeeper.entered")
        return left

    def _handed_in(self, entry: Entry) -> Callable[[], Entered]:
        try:
            return self._hand_in(entry)
        except Exception as error:  # noqa: BLE001 - raised where the result would be had
            return functools.partial(_raise, error)


def _raise(error: Exception) -> Entered:
    raise error
