"""After a power cut: what a storage SCP still has of what it had acknowledged.

Each receiver is looked at as it comes up again: ours after its recovery, by its books; Orthanc by
its index and its files; storescp by its files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gatekeeper import residue
from gatekeeper.ledger import balance
from storage.engine import Database
from storage.spool import Spool
from support.audit import lost
from support.postgres import durable_server
from support.receivers import ROW_FIRST, WITH_POSTGRES
from support.scanners import data_set_digest

_NO_RESIDUE_SECONDS = 3600.0
_ATTACHMENT = 36
"""Letters in the name of a file of Orthanc's."""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What one power cut left.

    Attributes:
        acknowledged: instances that had been answered 0000 before it.
        lost: of them, those without a whole file or without an entry in the index.
        damaged: files under their final name whose content is not whole.
        faults: whatever else broke a promise, in one sentence each.
    """

    acknowledged: int
    lost: int
    damaged: int
    faults: tuple[str, ...] = ()


def look(receiver: str, home: Path, acknowledged: Mapping[str, str], sent: Set[str]) -> Aftermath:
    """Return what a receiver has, once it has recovered.

    Args:
        receiver: its name in `support.receivers`.
        home: its folder.
        acknowledged: SOP Instance UID -> SHA-256 of the data set, of what it had answered 0000.
        sent: SHA-256 of every data set that was ever sent to it.
    """
    kind = receiver.partition(":")[0]
    if kind == WITH_POSTGRES:
        with durable_server(home) as server:
            return _ours(home, server.url("postgres"), acknowledged, [])
    if kind in {"durable", ROW_FIRST}:
        path = home / "gatekeeper.db"
        return _ours(home, f"sqlite:///{path}", acknowledged, list(_unsound(path)))
    files = [path for path in (home / "store").rglob("*") if path.is_file()]
    if kind == "orthanc":
        files = [path for path in files if len(path.name) == _ATTACHMENT]
    whole = {digest for path in files if (digest := data_set_digest(path)) in sent}
    here = {uid for uid, digest in acknowledged.items() if digest in whole}
    faults: tuple[str, ...] = ()
    if kind == "orthanc":
        try:
            here &= _indexed(home / "store" / "index")
        except sqlite3.DatabaseError as error:
            # Then by its files alone: what it would still find is its own affair.
            faults = (f"the index is damaged: {error}",)
    damaged = sum(data_set_digest(path) not in sent for path in files)
    return Aftermath(len(acknowledged), len(acknowledged) - len(here), damaged, faults)


def _indexed(index: Path) -> set[str]:
    """Return the SOP Instance UIDs that Orthanc's index knows."""
    with closing(sqlite3.connect(index)) as connection:
        rows = connection.execute(
            "SELECT value FROM DicomIdentifiers WHERE tagGroup = 8 AND tagElement = 24"
        )
        return {str(value) for [value] in rows}


def _unsound(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(path)) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    if found != ["ok"]:
        yield f"the database is damaged: {found[0]}"


def _ours(home: Path, url: str, acknowledged: Mapping[str, str], faults: list[str]) -> Aftermath:
    database, spool = Database.connect(url), Spool(home / "spool")
    try:
        residue.sweep(database, spool, _NO_RESIDUE_SECONDS)
        gone = list(lost(acknowledged, database, spool))
        books = balance(database, spool, verify=True)
    finally:
        database.dispose()
    damaged = sum(one.cause.startswith("damaged") for one in books.differences)
    faults = faults + [f"{one.account} {one.key}: {one.cause}" for one in books.differences]
    return Aftermath(len(acknowledged), len(gone), damaged, tuple(faults + gone))
