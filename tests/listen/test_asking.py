"""Requests of ours on an association that a peer opened: sent when it is silent, answered by ID."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from support.waiting import until

from gatekeeper.listen.asking import Asking, PeerBusy
from gatekeeper.listen.connection import Wake
from gatekeeper.send import command

PATIENCE = 30
SILENT = 7
"""How often the peer had been heard when it was found silent."""


@contextmanager
def asked(asking: Asking, seconds: float = PATIENCE) -> Generator[list[object]]:
    """Ask in a thread of its own; what came of it is there at the end of the block."""
    found: list[object] = []

    def ask() -> None:
        try:
            found.append(asking.ask(lambda number: b"request %d" % number, SILENT, seconds))
        except PeerBusy as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    yield found
    thread.join()


@pytest.fixture
def asking() -> Generator[Asking]:
    wake = Wake()
    yield Asking(wake)
    wake.close()


def answer(message_id: int) -> bytes:
    return command.event_response(message_id, "1.2", "1.2.1", 1, 0x0000)


def test_a_request_goes_once_and_its_answer_is_known_by_its_number(asking: Asking) -> None:
    """Requests of the peer and answers to nobody are not taken for it."""
    with asked(asking) as found:
        sent = until(lambda: asking.due(SILENT), PATIENCE, "there is something to send")
        assert asking.due(SILENT) == b""
        assert not asking.is_answer(command.echo_request(1, "1.2.840.10008.1.1"))
        assert not asking.is_answer(answer(2))
        assert asking.is_answer(answer(1))

    assert sent == b"request 1"
    assert [getattr(one, "status", None) for one in found] == [0x0000]


@pytest.mark.parametrize("heard", [SILENT + 1, None])
def test_a_peer_that_went_on_meanwhile_is_not_interrupted(
    asking: Asking, heard: int | None
) -> None:
    """Heard again, or in the middle of a message: nothing is sent, and it may be tried again."""
    with asked(asking) as found:
        assert asking.due(heard) == b""
        until(lambda: found or asking.due(heard), PATIENCE, "it was told")
    assert [type(one) for one in found] == [PeerBusy]

    with asked(asking) as again:
        until(lambda: asking.due(SILENT), PATIENCE, "it is sent")
        assert asking.is_answer(answer(2))
    assert [getattr(one, "status", None) for one in again] == [0x0000]


def test_an_answer_that_comes_too_late_is_taken_and_forgotten(asking: Asking) -> None:
    """It would otherwise be a message that nobody expects, and break the association off."""
    with asked(asking, seconds=0.0) as found:
        pass
    assert found == [None]
    assert asking.is_answer(answer(1))


def test_the_end_of_the_association_ends_the_wait(asking: Asking) -> None:
    """And nothing is asked any more."""
    with asked(asking) as found:
        until(lambda: asking.due(SILENT), PATIENCE, "it is sent")
        asking.end()
    with asked(asking) as later:
        pass
    assert found == later == [None]
