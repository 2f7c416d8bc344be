"""Sending into a real archive: Orthanc keeps what it is sent, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from support.objects import SendObject
from support.orthanc import Orthanc

from gatekeeper.send.dimse import DimseTransport, echo
from gatekeeper.settings import SendSettings, Settings
from storage.records import Node


def test_orthanc_stores_the_bytes_and_keeps_one_of_each(
    orthanc: Callable[..., Orthanc], objects: list[SendObject], quick: SendSettings
) -> None:
    """Sent twice, held once; the file it gives back holds our data set."""
    archive = orthanc()
    node = Node(archive.aet, "127.0.0.1", archive.port)
    transport = DimseTransport("GATEKEEPER", quick)

    for _ in range(2):
        assert all(answer.status == 0 for answer in transport.send(objects, node))

    assert archive.count() == len(objects)
    held = archive.objects()
    for item in objects:
        data = item.path.read_bytes()
        # Everything from the data set's first element, SOP Class UID, on.
        assert any(one.endswith(data[data.index(b"\x08\x00\x16\x00UI") :]) for one in held)


def test_orthanc_answers_echo_and_takes_the_results_classes(
    orthanc: Callable[..., Orthanc], quick: SendSettings
) -> None:
    """C-ECHO, with secondary capture and Comprehensive 3D SR accepted."""
    archive = orthanc()
    settings = dataclasses.replace(Settings(), send=quick)

    answer = echo(Node(archive.aet, "127.0.0.1", archive.port), settings)

    assert answer.milliseconds < 5000
    assert all(context.accepted for context in answer.contexts)
