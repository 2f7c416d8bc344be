"""Objects of every transfer syntax into storescp, bit preserving: what was stored arrives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

from gatekeeper.errors import TransportError
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.files import read_objects
from gatekeeper.send.part10 import FileHeader, read_header
from gatekeeper.send.statuses import Disposition
from gatekeeper.send.transport import SendObject
from gatekeeper.settings import SendSettings
from storage.records import Node

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
# storescp 3.6.7 accepts up to 120 transfer syntaxes, these among them.
WANTED = {
    IMPLICIT,
    EXPLICIT,
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
}


def header_and_data(path: Path) -> tuple[FileHeader, bytes]:
    """Return a file's header and the bytes of its data set."""
    data = path.read_bytes()
    with path.open("rb") as file:
        header = read_header(file, len(data))
    return header, data[header.offset :]


def rounds() -> list[list[SendObject]]:
    """Return pydicom's test files in lists that hold no SOP Instance UID twice."""
    folder = Path(str(pydicom.data.get_testdata_file("CT_small.dcm"))).parent
    # storescp aborts at a data set that is cut off on purpose.
    paths = [path for path in sorted(folder.glob("*.dcm")) if "truncated" not in path.name]
    found: list[dict[str, SendObject]] = []
    for item in read_objects(paths)[0]:
        into = next((one for one in found if item.sop_instance_uid not in one), None)
        if into is None:
            found.append(into := {})
        into[item.sop_instance_uid] = item
    return [list(one.values()) for one in found]


def test_every_transfer_syntax_arrives_byte_for_byte(
    storescp: Callable[..., Any], quick: SendSettings
) -> None:
    """Uncompressed, deflated, big endian, JPEG, JPEG-LS, JPEG 2000 and RLE, no bit changed."""
    syntaxes: set[str] = set()
    for objects in rounds():
        peer = storescp("+xa", "-pm")
        node = Node("STORESCP", "127.0.0.1", peer.port)

        answers = list(DimseTransport("GATEKEEPER", quick).send(objects, node))

        assert [answer.reason for answer in answers if not answer.stored] == []
        arrived: dict[str, tuple[str, bytes]] = {}
        for path in peer.folder.iterdir():
            header, data = header_and_data(path)
            arrived[header.sop_instance_uid] = (header.transfer_syntax_uid, data)
        assert len(arrived) == len(objects)
        for item in objects:
            header, data = header_and_data(item.path)
            # A deflated stream of odd length is padded on the way (PS3.5 A.5).
            data += bytes(len(data) % 2)
            assert arrived[header.sop_instance_uid] == (header.transfer_syntax_uid, data)
            syntaxes.add(header.transfer_syntax_uid)
    assert syntaxes >= WANTED


# One of the files holds a value that pydicom warns of.
@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
def test_a_peer_of_implicit_vr_alone_gets_what_can_be_re_encoded(
    storescp: Callable[..., Any], quick: SendSettings
) -> None:
    """Explicit VR Little Endian is re-encoded; compressed and big endian ones stay behind."""
    peer = storescp("+xi", "-pm")
    objects = rounds()[0]

    answers = list(
        DimseTransport("GATEKEEPER", quick).send(objects, Node("STORESCP", "127.0.0.1", peer.port))
    )

    stored = {answer.sent for answer in answers if answer.stored}
    assert stored == {item for item in objects if item.transfer_syntax_uid in {IMPLICIT, EXPLICIT}}
    left = [answer for answer in answers if not answer.stored]
    assert {answer.disposition for answer in left} == {Disposition.RETRY_BRIEFLY}
    assert all("no accepted presentation context" in answer.reason for answer in left)
    assert len(list(peer.folder.iterdir())) == len(stored)


def test_a_peer_that_aborts_in_the_middle_of_a_message_is_a_loss(
    storescp: Callable[..., Any], quick: SendSettings, objects: list[SendObject]
) -> None:
    """storescp's own fault modes: it aborts during and after the C-STORE request."""
    for option in ("--abort-during", "--abort-after"):
        peer = storescp(option)
        node = Node("STORESCP", "127.0.0.1", peer.port)
        with pytest.raises(TransportError):
            list(DimseTransport("GATEKEEPER", quick).send(objects, node))
