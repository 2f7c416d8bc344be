"""Open associations in the database."""

from __future__ import annotations

import threading
from pathlib import Path

from listen.wire import sqlite_only
from sqlalchemy import text
from support.receiving import receive, running_receiver
from support.waiting import until

from gatekeeper.listen.associations import OpenAssociation, OpenAssociations
from storage import studies
from storage.engine import Database
from storage.spool import Spool


def active(database: Database, lease: float = 30.0) -> int:
    with database.read() as tx:
        return sum(study.active_associations for study in studies.open_studies(tx, lease))


def stored(database: Database, folder: Path, association: OpenAssociation) -> None:
    """Receive one instance on the association."""
    with running_receiver(database, Spool(folder)) as receiver:
        assert receive(receiver, "1.2.3.4", association).status == 0x0000


def test_an_association_is_active_until_it_is_closed(database: Database, tmp_path: Path) -> None:
    """Closing wakes the thread that writes it down."""
    tending = OpenAssociations(database, heartbeat_seconds=60)
    tending.start()
    me = threading.current_thread()
    stored(database, tmp_path, tending.open(me, "SCANNER", "127.0.0.1"))
    assert active(database) == 1

    assert tending.close(me) is not None

    until(lambda: active(database) == 0, 10, "the association is closed")
    assert tending.close(me) is None
    tending.stop(5)


def test_the_heartbeat_outlives_the_lease(database: Database, tmp_path: Path) -> None:
    """A long association stays active far beyond the lease of one heartbeat."""
    tending = OpenAssociations(database, heartbeat_seconds=0.05)
    tending.start()
    stored(database, tmp_path, tending.open(threading.current_thread(), "SCANNER", "127.0.0.1"))

    def seen() -> float:
        with database.read() as tx:
            return tx.execute(text("SELECT max(seen_at) FROM association")).scalar_one()

    first = seen()
    until(lambda: seen() > first + 1.0, 10, "renewed for longer than the lease")
    assert active(database, lease=1.0) == 1

    tending.stop(5)
    assert active(database) == 0


@sqlite_only
def test_an_association_whose_thread_died_is_closed(database: Database, tmp_path: Path) -> None:
    """Without any event from pynetdicom."""
    tending = OpenAssociations(database, heartbeat_seconds=60)
    served = threading.Thread(
        target=lambda: stored(
            database, tmp_path, tending.open(threading.current_thread(), "SCANNER", "127.0.0.1")
        )
    )
    served.start()
    served.join(20)
    assert active(database) == 1

    tending.tend()

    assert active(database) == 0


@sqlite_only
def test_a_locked_database_delays_closing_and_loses_nothing(
    database_url: str, tmp_path: Path
) -> None:
    """What could not be written is written at the next heartbeat."""
    impatient, holder = Database.connect(database_url, 0.1), Database.connect(database_url)
    tending = OpenAssociations(impatient, heartbeat_seconds=60)
    me = threading.current_thread()
    stored(impatient, tmp_path, tending.open(me, "SCANNER", "127.0.0.1"))
    with holder.begin():
        tending.close(me)
        tending.tend()
    assert active(holder) == 1

    tending.tend()

    assert active(holder) == 0
    impatient.dispose()
    holder.dispose()
