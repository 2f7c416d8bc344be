"""Instances received without a network: what a listener does with a C-STORE."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from listen.wire import EXPLICIT, MR, encoded, image

from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.messages import Answer
from gatekeeper.listen.receive import Arrival, Receiver
from storage.engine import Database
from storage.spool import Spool

_CLOSE_SECONDS = 20.0


@contextmanager
def running_receiver(database: Database, spool: Spool) -> Generator[Receiver]:
    """Give a receiver, and settle what it has received at the end."""
    receiver = Receiver(database, spool, low_water_mib=0)
    try:
        yield receiver
    finally:
        receiver.close(_CLOSE_SECONDS)


def receive(receiver: Receiver, uid: str, scanner: OpenAssociation, **more: Any) -> Answer:
    """Receive an MR image with the attributes `more`, and return what is answered."""
    return receive_data(receiver, uid, encoded(image(uid, **more)), scanner)


def receive_data(receiver: Receiver, uid: str, data: bytes, scanner: OpenAssociation) -> Answer:
    """Receive a data set as that of an MR image, at once, and return what is answered."""
    receiving = receiver.begin(Arrival(MR, uid, EXPLICIT), scanner)
    receiving.write(memoryview(data))
    return receiving.finish()
