"""The bookkeeper: rows of files that vouch for themselves, written after their acknowledgement.

Such a file is durable together with what its row says (`storage.voucher`), so its answer need not
wait for the row. The rows of all associations of a process gather for some hundredths of a second
and are written together. What cannot be written is tried again as long as the process lives, and
after it recovery enters the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from storage import failpoint
from storage.engine import SynchronisationError
from storage.entries import Entered, Entry, of_result
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
        enter: enters all of these together and returns what was found, or why it was not done, of
            each; its row is durable then. What it raises (OSError, SQLAlchemyError) concerns all.
        entered: told of each file that has its row; what it raises is tried again.
        rhythm: see there.
        trouble: told of the first failure of each attempt.
    """

    def __init__(
        self,
        enter: Callable[[Sequence[Entry]], Sequence[Entered | Exception]],
        entered: Callable[[Vouched, Entered], None],
        rhythm: Rhythm,
        trouble: Callable[[Exception], None],
    ) -> None:
        super().__init__("bookkeeper", rhythm, self._keep, trouble)
        self._enter = enter
        self._entered = entered
        self._tell = trouble

    def _keep(self, batch: list[Vouched]) -> list[Vouched]:
        failpoint.reached("bookkeeper.entering")
        left: list[Vouched] = []
        first: Exception | None = None
        for one, result in zip(batch, self._results(batch), strict=True):
            try:
                self._entered(one, of_result(result))
            except SynchronisationError:
                raise
            except Exception as error:  # noqa: BLE001 - told, and only this one is tried again
                left.append(one)
                first = first or error
        if first is not None:
            self._tell(first)
        failpoint.reached("bookkeeper.entered")
        return left

    def _results(self, batch: list[Vouched]) -> Sequence[Entered | Exception]:
        try:
            return self._enter([one.entry for one in batch])
        except (OSError, SQLAlchemyError):
            raise
        except Exception as error:  # noqa: BLE001 - one that cannot even be handed in fails alone
            if len(batch) == 1:
                return [error]
            return [result for one in batch for result in self._results([one])]
