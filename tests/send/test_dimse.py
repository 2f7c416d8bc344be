"""The DIMSE transport against peers that answer, hang, drop, and speak nonsense."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from support.dicom_peers import (
    DROP,
    HANG,
    RawPeer,
    ScriptedPeer,
    accept_association,
    read_message,
    read_pdu,
    wait_for_close,
)
from support.gate import free_port
from support.objects import MR

from gatekeeper.errors import TransportError
from gatekeeper.send.dimse import DimseTransport, echo, plan
from gatekeeper.send.part10 import read_header
from gatekeeper.send.statuses import Disposition
from gatekeeper.send.transport import InstanceStatus, SendObject
from gatekeeper.settings import SendSettings, Settings
from storage.records import Node

CT = "1.2.840.10008.5.1.4.1.1.2"


def node_of(peer: ScriptedPeer | RawPeer) -> Node:
    return Node(peer.ae_title, "127.0.0.1", peer.port)


def send(
    objects: list[SendObject], peer: ScriptedPeer | RawPeer, settings: SendSettings
) -> list[InstanceStatus]:
    return list(DimseTransport("GATEKEEPER", settings).send(objects, node_of(peer)))


def data_set(path: Path) -> bytes:
    """Return the bytes of a file after its meta information."""
    data = path.read_bytes()
    with path.open("rb") as file:
        return data[read_header(file, len(data)).offset :]


def uids(objects: list[SendObject]) -> list[str]:
    return [item.sop_instance_uid for item in objects]


def test_objects_arrive_in_order_as_stored_on_one_association(
    objects: list[SendObject], quick: SendSettings
) -> None:
    """Each instance is answered, and its data set arrives byte for byte."""
    with ScriptedPeer() as peer:
        answers = send(objects, peer, quick)

    assert peer.received == uids(objects)
    assert peer.data_sets == [data_set(item.path) for item in objects]
    assert peer.associations == 1
    assert [(answer.sent, answer.status, answer.stored) for answer in answers] == [
        (item, 0x0000, True) for item in objects
    ]


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        (0xB000, Disposition.WARNED),
        (0xB007, Disposition.WARNED),
        (0xA700, Disposition.RETRY),
        (0x0110, Disposition.RETRY),
        (0x0124, Disposition.RETRY_BRIEFLY),
        (0xC211, Disposition.RETRY_BRIEFLY),
        (0xA900, Disposition.DEAD),
        (0x0122, Disposition.DEAD),
    ],
)
def test_a_status_is_told_for_its_instance_and_the_rest_is_sent(
    status: int, disposition: Disposition, objects: list[SendObject], quick: SendSettings
) -> None:
    """One answer other than success neither stops the association nor colours its neighbours."""
    with ScriptedPeer(lambda number, _uid: status if number == 2 else 0) as peer:
        answers = send(objects, peer, quick)

    assert [answer.status for answer in answers] == [0, 0, status, 0, 0, 0]
    assert answers[2].disposition is disposition
    assert answers[2].reason.startswith(f"{status:04X} ")
    assert peer.associations == 1


def test_after_a_drop_only_the_missing_instances_are_sent_again(
    objects: list[SendObject], quick: SendSettings
) -> None:
    """The association is requested again; answers stay, and the lost instance goes last."""
    with ScriptedPeer(lambda number, _uid: DROP if number == 3 else 0) as peer:
        answers = send(objects, peer, quick)

    lost = objects[3].sop_instance_uid
    assert peer.received == [*uids(objects[:4]), *uids(objects[4:]), lost]
    assert all(answer.stored for answer in answers)
    assert len(answers) == len(objects)
    assert peer.associations == 2


def test_an_object_that_always_breaks_the_association_holds_up_no_other(
    objects: list[SendObject], quick: SendSettings
) -> None:
    """All others are stored; the transport gives up on the one in bounded time, and says why."""
    poison = objects[0].sop_instance_uid
    with ScriptedPeer(lambda _number, uid: DROP if uid == poison else 0) as peer:
        answers = send(objects, peer, quick)

    assert [answer.sent for answer in answers] == [*objects[1:], objects[0]]
    assert [answer.stored for answer in answers] == [True] * 5 + [False]
    assert (answers[-1].disposition, answers[-1].status) == (Disposition.RETRY, None)
    assert "aborted" in answers[-1].reason
    assert peer.associations == 1 + quick.reconnects


def test_two_poisonous_objects_hold_up_no_other(
    objects: list[SendObject], quick: SendSettings
) -> None:
    """With several, the peer counts as lost once everything else is stored."""
    poison = {objects[0].sop_instance_uid, objects[3].sop_instance_uid}
    answers: list[InstanceStatus] = []
    with (
        ScriptedPeer(lambda _number, uid: DROP if uid in poison else 0) as peer,
        pytest.raises(TransportError),
    ):
        answers.extend(DimseTransport("GATEKEEPER", quick).send(objects, node_of(peer)))

    assert [answer.sent for answer in answers] == [
        item for item in objects if item.sop_instance_uid not in poison
    ]


def test_a_peer_that_hangs_ends_in_bounded_time(
    objects: list[SendObject], impatient: SendSettings
) -> None:
    """No response within the DIMSE time-out is a loss, tried again a bounded number of times."""
    settings = dataclasses.replace(impatient, reconnects=1)
    started = time.monotonic()
    with ScriptedPeer(lambda _number, _uid: HANG) as peer:
        with pytest.raises(TransportError, match="timed out"):
            send(objects, peer, settings)
        elapsed = time.monotonic() - started

    assert elapsed < 10
    assert len(peer.received) == 2


def test_a_closed_port_is_named(objects: list[SendObject], quick: SendSettings) -> None:
    """Nobody listens: the reason says so, with the address."""
    port = free_port()

    with pytest.raises(TransportError, match=f"127.0.0.1:{port}: Connection refused"):
        list(DimseTransport("GATEKEEPER", quick).send(objects, Node("PACS", "127.0.0.1", port)))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "", "\u00e9" * 64])
def test_a_host_without_an_address_is_a_transport_error(
    host: str, objects: list[SendObject], quick: SendSettings
) -> None:
    """Unknown and impossible names end like any node that cannot be reached."""
    with pytest.raises(TransportError):
        list(DimseTransport("GATEKEEPER", quick).send(objects, Node("PACS", host, 104)))


def silent(connection: socket.socket) -> None:
    wait_for_close(connection)


def closes_at_once(connection: socket.socket) -> None:
    connection.close()


def speaks_http(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    wait_for_close(connection)


def announces_gigabytes(connection: socket.socket) -> None:
    connection.sendall(b"\x02\x00\xff\xff\xff\xff" + bytes(100))
    wait_for_close(connection)


def drips(connection: socket.socket) -> None:
    pause = threading.Event()
    for byte in b"\x02\x00\x00\x00\x00\xff" + bytes(255):
        connection.sendall(bytes((byte,)))
        pause.wait(0.1)


def rejects(connection: socket.socket) -> None:
    read_pdu(connection)
    connection.sendall(b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x03")


def aborts_request(connection: socket.socket) -> None:
    read_pdu(connection)
    connection.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00")


def tiny_maximum_length(connection: socket.socket) -> None:
    accept_association(connection, maximum_length=8)
    wait_for_close(connection)


def answering(*pdus: bytes) -> Callable[[socket.socket], None]:
    """Accept, take one C-STORE, and send these PDUs as the answer."""

    def script(connection: socket.socket) -> None:
        accept_association(connection)
        read_message(connection)
        for one in pdus:
            connection.sendall(one)
        wait_for_close(connection)

    return script


def response(*elements: tuple[int, int], control: int = 3) -> bytes:
    """Return a response PDU of these US elements."""
    body = b"".join(
        b"\x00\x00" + tag.to_bytes(2, "little") + b"\x02\x00\x00\x00" + value.to_bytes(2, "little")
        for tag, value in elements
    )
    length = len(body)
    return (
        b"\x04\x00"
        + (length + 6).to_bytes(4, "big")
        + (length + 2).to_bytes(4, "big")
        + bytes((1, control))
        + body
    )


@pytest.mark.parametrize(
    "script",
    [
        silent,
        closes_at_once,
        speaks_http,
        announces_gigabytes,
        drips,
        rejects,
        aborts_request,
        tiny_maximum_length,
        answering(response((0x0100, 0x8001), (0x0120, 99), (0x0900, 0))),
        answering(response((0x0100, 0x8030), (0x0120, 1), (0x0900, 0))),
        answering(response((0x0100, 0x8001), (0x0120, 1), (0x0900, 0), control=2)),
        answering(response((0x0900, 0))),
        answering(b"\x04\x00\x00\x00\x00\x06\xff\xff\xff\xff\x01\x03"),
        answering(b"\x04\x00\x00\xff\xff\xff"),
        answering(*[response((0x0100, 0x8001), control=1)] * 2000),
        answering(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
        answering(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00"),
        answering(b"\x02\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
    ],
)
def test_a_peer_that_speaks_nonsense_is_a_transport_error_in_bounded_time(
    script: Callable[[socket.socket], None], objects: list[SendObject], impatient: SendSettings
) -> None:
    """Silence, floods and broken PDUs: never another error, never stored, never for long."""
    started = time.monotonic()

    with RawPeer(script) as peer, pytest.raises(TransportError):
        send(objects, peer, impatient)

    assert time.monotonic() - started < 8


def test_a_response_without_a_status_is_retried(
    objects: list[SendObject], impatient: SendSettings
) -> None:
    """An answer that does not say success is none."""
    with RawPeer(answering(response((0x0100, 0x8001), (0x0120, 1)))) as peer:
        answers = send(objects[:1], peer, impatient)

    assert [(answer.status, answer.disposition) for answer in answers] == [
        (None, Disposition.RETRY)
    ]


def test_a_peer_that_takes_no_more_bytes_ends_in_bounded_time(
    tmp_path: Path, objects: list[SendObject], impatient: SendSettings
) -> None:
    """A receive window that stays shut is a loss, not a wait for ever."""

    def deaf(connection: socket.socket) -> None:
        accept_association(connection)
        threading.Event().wait(10)

    large = tmp_path / "large.dcm"
    large.write_bytes(objects[0].path.read_bytes() + bytes(64 * 1024 * 1024))
    item = dataclasses.replace(objects[0], path=large)
    started = time.monotonic()

    with RawPeer(deaf) as peer, pytest.raises(TransportError, match="timed out"):
        send([item], peer, impatient)

    assert time.monotonic() - started < 8


def test_an_object_takes_no_longer_than_its_limit(
    tmp_path: Path, objects: list[SendObject], impatient: SendSettings
) -> None:
    """A peer that takes bytes slowly, but never stops, is cut off at `send.object_seconds`."""

    def slow(connection: socket.socket) -> None:
        accept_association(connection)
        pause = threading.Event()
        while connection.recv(65536):
            pause.wait(0.05)

    large = tmp_path / "large.dcm"
    large.write_bytes(objects[0].path.read_bytes() + bytes(64 * 1024 * 1024))
    item = dataclasses.replace(objects[0], path=large)
    settings = dataclasses.replace(impatient, object_seconds=1.0)
    started = time.monotonic()

    with RawPeer(slow) as peer, pytest.raises(TransportError, match="timed out"):
        send([item], peer, settings)

    assert time.monotonic() - started < 8


def test_the_other_uncompressed_syntax_is_used_when_the_own_one_is_refused(
    objects: list[SendObject], quick: SendSettings
) -> None:
    """Explicit VR goes as Implicit VR to a peer that takes no other, with the same values."""
    with ScriptedPeer(transfer_syntaxes=[ImplicitVRLittleEndian]) as peer:
        answers = send(objects, peer, quick)

    assert all(answer.stored for answer in answers)
    assert peer.data_sets[0] != data_set(objects[0].path)
    # Implicit VR: the element's length of 4 bytes follows its tag, here SOP Class UID.
    assert peer.data_sets[0].startswith(b"\x08\x00\x16\x00" + (26).to_bytes(4, "little"))
    assert peer.data_sets[0].endswith((1).to_bytes(2, "little") * 256)


def test_an_object_over_the_limit_is_not_re_encoded(
    objects: list[SendObject], quick: SendSettings
) -> None:
    """Re-encoding holds the object in memory, so it has a limit and says so."""
    settings = dataclasses.replace(quick, reencode_mib=0)
    with ScriptedPeer(transfer_syntaxes=[ImplicitVRLittleEndian]) as peer:
        answers = send(objects[:1], peer, settings)

    assert answers[0].disposition is Disposition.DEAD
    assert "re-encod" in answers[0].reason


def test_a_compressed_object_is_never_transcoded(
    tmp_path: Path, objects: list[SendObject], quick: SendSettings
) -> None:
    """Without a context for its syntax it stays here with that reason; the others are sent."""
    import pydicom.data

    source = Path(str(pydicom.data.get_testdata_file("MR_small_jp2klossless.dcm")))
    with source.open("rb") as file:
        header = read_header(file, source.stat().st_size)
    compressed = SendObject(MR, header.sop_instance_uid, JPEG2000Lossless, source)
    syntaxes = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    with ScriptedPeer(transfer_syntaxes=syntaxes) as peer:
        answers = send([compressed, *objects], peer, quick)

    assert answers[0].disposition is Disposition.RETRY_BRIEFLY
    assert answers[0].reason == (
        f"no accepted presentation context: SOP class {MR}, transfer syntax {JPEG2000Lossless}"
    )
    assert [answer.stored for answer in answers[1:]] == [True] * 6
    assert peer.received == uids(objects)


def test_a_peer_that_takes_no_such_class_is_told_for_each_object(
    objects: list[SendObject], quick: SendSettings
) -> None:
    """An association without any accepted context ends without a C-STORE."""
    with ScriptedPeer(sop_classes=[CT]) as peer:
        answers = send(objects, peer, quick)

    assert {answer.disposition for answer in answers} == {Disposition.RETRY_BRIEFLY}
    assert peer.received == []


def test_contexts_are_split_among_associations() -> None:
    """200 pairs need two associations of at most 128 contexts, and every object is in one."""
    objects = [
        SendObject(f"1.2.3.{number}", f"1.9.{number}", ExplicitVRLittleEndian, Path("x"))
        for number in range(100)
    ]

    batches = list(plan([*objects, *objects[:3]]))

    assert [len(batch.contexts) for batch in batches] == [128, 72]
    assert sorted(item.sop_class_uid for batch in batches for item in batch.objects) == sorted(
        item.sop_class_uid for item in [*objects, *objects[:3]]
    )


def test_many_kinds_of_objects_go_over_several_associations(
    objects: list[SendObject], quick: SendSettings
) -> None:
    """Objects of more kinds than one association takes are all sent."""
    others = [
        SendObject(f"1.2.840.10008.5.1.4.1.1.{number}", "1.2", JPEG2000Lossless, Path("absent"))
        for number in range(1000, 1130)
    ]
    with ScriptedPeer() as peer:
        answers = send([*others, *objects], peer, quick)

    assert peer.received == uids(objects)
    assert peer.associations == 2
    assert sum(answer.stored for answer in answers) == 6


def test_a_missing_or_foreign_file_is_set_aside_with_its_reason(
    tmp_path: Path, objects: list[SendObject], quick: SendSettings
) -> None:
    """Neither a file that is gone, nor one that holds another object, nor a cut-off one is sent."""
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(objects[2].path.read_bytes()[:200])
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(objects[3].path.read_bytes()[:-1])
    broken = [
        dataclasses.replace(objects[0], path=tmp_path / "gone.dcm"),
        dataclasses.replace(objects[1], path=objects[5].path),
        dataclasses.replace(objects[2], path=cut),
        dataclasses.replace(objects[3], path=odd),
    ]
    with ScriptedPeer() as peer:
        answers = send([*broken, *objects[4:]], peer, quick)

    assert [answer.disposition for answer in answers[:4]] == [Disposition.DEAD] * 4
    assert [answer.reason for answer in answers[:2]] == [
        "the object's file is gone",
        "the file's header and its record disagree",
    ]
    assert "odd length" in answers[3].reason
    assert peer.received == uids(objects[4:])


def test_closing_the_iterator_releases_the_association(
    objects: list[SendObject], quick: SendSettings
) -> None:
    """A sender that stops after some objects leaves in order."""
    released = threading.Event()

    def script(connection: socket.socket) -> None:
        accept_association(connection)
        read_message(connection)
        connection.sendall(response((0x0100, 0x8001), (0x0120, 1), (0x0900, 0)))
        kind, _ = read_pdu(connection)
        if kind == 0x05:
            released.set()
            connection.sendall(b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00")

    with RawPeer(script) as peer:
        answers = DimseTransport("GATEKEEPER", quick).send(objects, node_of(peer))
        assert next(answers).stored
        answers.close()
        assert released.wait(5)


def test_echo_tells_time_contexts_and_implementation(quick: SendSettings) -> None:
    """C-ECHO with what the peer takes of the results' SOP classes."""
    settings = dataclasses.replace(Settings(), send=quick)
    sc = "1.2.840.10008.5.1.4.1.1.7"
    with ScriptedPeer(sop_classes=[sc], transfer_syntaxes=[ImplicitVRLittleEndian]) as peer:
        answer = echo(node_of(peer), settings)

    assert 0 < answer.milliseconds < 5000
    assert answer.implementation.startswith("PYNETDICOM")
    taken = {
        (one.sop_class_uid, one.transfer_syntax_uid) for one in answer.contexts if one.accepted
    }
    assert taken == {
        ("1.2.840.10008.1.1", ImplicitVRLittleEndian),
        (sc, ImplicitVRLittleEndian),
    }


def test_echo_to_nobody_is_a_transport_error(impatient: SendSettings) -> None:
    """A closed port, and a peer that is silent."""
    settings = dataclasses.replace(Settings(), send=impatient)

    with pytest.raises(TransportError, match="refused"):
        echo(Node("PACS", "127.0.0.1", free_port()), settings)
    with RawPeer(silent) as peer, pytest.raises(TransportError, match="timed out"):
        echo(node_of(peer), settings)
