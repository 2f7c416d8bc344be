"""Rows that follow their answers: who asks for more than another answer finds them written.

The listener here gathers rows for longer than any test waits, so what is there was asked for.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from listen.raw_scanner import RawScanner, echo, raw_scanner, store
from listen.wire import MR, SCANNER, Listening, running, settings_for, sqlite_only
from support.dicom_peers import read_pdu
from support.waiting import until

from gatekeeper.commitment import NO_SUCH_INSTANCE
from gatekeeper.listen import promise
from gatekeeper.send import pdu
from storage import commitments, studies
from storage.engine import Database
from storage.records import CommitmentItem

pytestmark = sqlite_only

SECONDS = 30.0
SENT = 5


@pytest.fixture
def listening(tmp_path: Path, database: Database) -> Iterator[Listening]:
    settings = settings_for(tmp_path / "spool")
    spool = dataclasses.replace(settings.spool, enter_seconds=5.0, wait_seconds=30.0)
    with running(dataclasses.replace(settings, spool=spool), database) as found:
        yield found


def send(scanner: RawScanner) -> None:
    """Send some instances of a study; only the first has its row before its answer."""
    for number in range(SENT):
        scanner.send(store(f"1.2.3.{number}"))
        assert scanner.status() == 0x0000


def test_a_release_is_answered_when_all_rows_are_written(listening: Listening) -> None:
    """Who has released an association finds everything that it brought."""
    with raw_scanner(listening.port) as scanner:
        send(scanner)
        assert listening.count() == 1
        scanner.send(pdu.release_request())
        assert read_pdu(scanner.connection)[0] == pdu.RELEASE_RP
        assert listening.count() == SENT


def test_another_request_is_served_when_all_rows_are_written(listening: Listening) -> None:
    """Whatever it asks, it finds what was answered before it."""
    with raw_scanner(listening.port) as scanner:
        send(scanner)
        assert listening.count() == 1
        scanner.send(echo())
        assert scanner.status() == 0x0000
        assert listening.count() == SENT
        scanner.release()


@pytest.mark.parametrize("ending", ["abort", "reset"])
def test_an_association_has_not_ended_before_all_its_rows_are_written(
    listening: Listening, ending: str
) -> None:
    """A study is not complete under its sender, however the sender went."""

    def active() -> int:
        with listening.database.read() as tx:
            [study] = studies.open_studies(tx, association_lease=1e9)
        return study.active_associations

    with raw_scanner(listening.port) as scanner:
        send(scanner)
        assert (listening.count(), active()) == (1, 1)
        if ending == "abort":
            scanner.send(pdu.abort())
        else:
            linger = b"\x01\0\0\0\0\0\0\0"
            scanner.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            scanner.connection.close()
        until(lambda: active() == 0, SECONDS, "the association has ended")
        assert listening.count() == SENT


def test_what_was_answered_is_committed_to_before_its_row_is_written(
    listening: Listening,
) -> None:
    """Another association may ask, of another process; what never came is still not here."""
    asked = [CommitmentItem(MR, f"1.2.3.{number}") for number in (*range(SENT), 77)]
    with raw_scanner(listening.port) as scanner:
        send(scanner)
        with listening.database.begin() as tx:
            request = commitments.request(tx, SCANNER, "1.2.3.4", asked, "test", 60.0)
        assert request is not None
        items = promise.decide(listening.database, listening.spool, request, check_digest=True)
        assert listening.count() == 1
        assert items is not None
        assert [one.failure for one in items] == [*[None] * SENT, NO_SUCH_INSTANCE]
        scanner.release()


def test_a_listener_that_stops_has_written_all_rows(listening: Listening) -> None:
    """In order: nothing is left to recovery."""
    with raw_scanner(listening.port) as scanner:
        send(scanner)
        listening.listener.stop()
    assert listening.count() == SENT
    assert listening.unfinished() == []
