"""What may be queried and retrieved: the studies held for a person, or all that are kept."""

from __future__ import annotations

from storage import forwards, instances, studies
from storage.engine import Database
from storage.records import ForwardState, Instance, Study

HELD, ALL = "held", "all"


class Holdings:
    """The studies that are served; used from any thread.

    Args:
        database: of studies and forwards.
        serves: ``held`` or ``all``.
        most: studies looked at for one query.
    """

    def __init__(self, database: Database, serves: str, most: int) -> None:
        self._database = database
        self._serves = serves
        self._most = most

    def studies(self, uids: frozenset[str] | None = None) -> list[Study]:
        """Return the studies that are served, the newest first; of `uids` alone where given."""
        if uids is None:
            with self._database.read() as tx:
                if self._serves == ALL:
                    return studies.listing(tx, self._most)
                held = forwards.listing(tx, ForwardState.HELD, limit=self._most)
            uids = frozenset(one.study_instance_uid for one in held)
        found = [study for uid in uids if (study := self._study(uid)) is not None]
        return sorted(found, key=lambda one: -one.last_received_at)

    def instances(self, study_uid: str) -> list[Instance]:
        """Return what is kept of a study, in the order of the UIDs; nothing when not served.

        The same UID is there twice when it came with two contents.
        """
        if self._study(study_uid) is None:
            return []
        with self._database.read() as tx:
            return instances.of_study(tx, study_uid)

    def _study(self, uid: str) -> Study | None:
        with self._database.read() as tx:
            if self._serves != ALL and not forwards.listing(tx, ForwardState.HELD, uid, limit=1):
                return None
            return studies.get(tx, uid)
