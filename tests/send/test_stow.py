"""Sending by STOW-RS: what counts as stored, what is sent again, what a node cannot do to us."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select
from support.gate import free_port
from support.objects import STUDY, result_of
from support.orthanc import Orthanc
from support.waiting import until
from support.web_peers import JSON, Asked, Told, keeps, listing, web_peer

from gatekeeper.errors import TransportError
from gatekeeper.send.attempt import Desk, after_loss, deliver
from gatekeeper.send.statuses import Disposition
from gatekeeper.send.stow import StowTransport, echo
from gatekeeper.send.stow_answer import NodeBusy, judge_answer
from gatekeeper.send.transport import InstanceStatus, SendObject
from gatekeeper.send.transports import NodeTransport
from gatekeeper.settings import SendSettings, Settings, TlsSettings
from gatekeeper.tls import Credentials
from storage import deliveries
from storage.engine import Database, now
from storage.records import DeliveryState, Node
from storage.spool import Spool

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Where Debian's orthanc-dicomweb puts it."""

STORED, WARNED = Disposition.STORED, Disposition.WARNED
RETRY, BRIEFLY, DEAD = Disposition.RETRY, Disposition.RETRY_BRIEFLY, Disposition.DEAD


def node_at(url: str) -> Node:
    return Node("WEB", "127.0.0.1", int(url.split(":")[2].partition("/")[0]), url=url)


def sent(objects: Sequence[SendObject], url: str, settings: SendSettings) -> list[InstanceStatus]:
    return list(StowTransport(settings).send(objects, node_at(url)))


def told(*answers: InstanceStatus) -> list[tuple[int | None, Disposition]]:
    return [(answer.status, answer.disposition) for answer in answers]


@pytest.fixture
def settings(quick: SendSettings) -> SendSettings:
    return dataclasses.replace(quick, stow_answer_seconds=20.0, stow_objects=4)


def test_objects_go_out_as_they_lie_in_the_spool(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """Every part is the file, byte for byte, in requests of at most so many objects."""
    with web_peer() as peer:
        answers = sent(objects, peer.url, settings)

    assert told(*answers) == [(0x0000, STORED)] * 6
    assert [answer.sent for answer in answers] == objects
    assert [len(one.parts) for one in peer.asked] == [4, 2]
    assert [part for one in peer.asked for part in one.parts] == [
        item.path.read_bytes() for item in objects
    ]
    assert peer.asked[0].target == "/dicom-web/studies"
    assert (
        peer.asked[0]
        .headers["Content-Type"]
        .startswith('multipart/related; type="application/dicom"; boundary=')
    )


def test_a_request_takes_no_further_object_once_it_is_large(
    objects: list[SendObject], settings: SendSettings, tmp_path: Path
) -> None:
    """The bytes of a request are bounded, save for one large object alone."""
    large = tmp_path / "large.dcm"
    large.write_bytes(objects[0].path.read_bytes() + bytes(1 << 20))
    first = dataclasses.replace(objects[0], path=large)
    with web_peer() as peer:
        sent([first, *objects[1:]], peer.url, dataclasses.replace(settings, stow_mib=1))

    assert [len(one.parts) for one in peer.asked] == [1, 4, 1]


def test_only_what_the_answer_lists_as_stored_is_stored(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """Stored, warned, failed for each reason, and forgotten: each object has its own answer."""
    uids = [item.sop_instance_uid for item in objects]
    body = listing(uids[:1], {uids[2]: 0xA700, uids[3]: 0xA900, uids[4]: 0x0111}, {uids[1]: 0xB000})
    with web_peer(lambda _asked: Told(202, body)) as peer:
        answers = sent(objects, peer.url, dataclasses.replace(settings, stow_objects=10))

    assert told(*answers) == [
        (0x0000, STORED),
        (0xB000, WARNED),
        (0xA700, RETRY),
        (0xA900, DEAD),
        (0x0111, WARNED),
        (None, BRIEFLY),
    ]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"", (None, BRIEFLY)),
        (200, b"<NativeDicomModel/>", (None, BRIEFLY)),
        (200, b"[" * 100_000, (None, BRIEFLY)),
        (200, b'{"00081199": {"Value": [7, null, {"00081155": {"Value": 1}}]}}', (None, BRIEFLY)),
        (200, listing(["1.2.3"]), (None, BRIEFLY)),
        (200, listing([f"{STUDY}.2.1"], {f"{STUDY}.2.1": 0x0110}), (0x0110, RETRY)),
        (200, listing((), {f"{STUDY}.2.1": 0x0000}), (None, BRIEFLY)),
        (409, listing((), {f"{STUDY}.2.1": 0x0122}), (0x0122, DEAD)),
        (200, listing((), None, {f"{STUDY}.2.1": 0xA700}), (0xA700, WARNED)),
        (
            409,
            json.dumps({"0008119A": {"Value": [{"00081197": {"Value": [0xC000]}}]}}).encode(),
            (0xC000, BRIEFLY),
        ),
        (200, None, (None, BRIEFLY)),
        (400, b"", (None, BRIEFLY)),
        (401, b"", (None, BRIEFLY)),
        (403, b"", (None, BRIEFLY)),
        (404, b"", (None, BRIEFLY)),
        (409, b"", (None, BRIEFLY)),
        (413, b"", (None, DEAD)),
        (415, b"", (None, DEAD)),
        (500, b"", (None, RETRY)),
        (302, b"", (None, BRIEFLY)),
        (299, listing([f"{STUDY}.2.1"]), (0x0000, STORED)),
    ],
)
def test_every_answer_about_one_object_has_a_meaning(
    objects: list[SendObject],
    status: int,
    body: bytes | None,
    expected: tuple[int | None, Disposition],
) -> None:
    """Nothing counts as stored unless it is listed so, whatever the status and whatever else."""
    assert told(*judge_answer(objects[:1], status, body, None).answers) == [expected]


def test_one_object_that_a_node_chokes_on_holds_up_no_other(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """A request that is refused as a whole is made again in halves, down to the culprit."""
    bad = objects[2].sop_instance_uid

    def script(asked: Asked) -> Told:
        return Told(400) if bad in asked.uids else keeps(asked)

    with web_peer(script) as peer:
        answers = sent(objects, peer.url, settings)

    assert told(*answers) == [
        (None, BRIEFLY) if answer.sent.sop_instance_uid == bad else (0x0000, STORED)
        for answer in answers
    ]
    assert [answer.sent for answer in answers] == objects
    assert [len(one.parts) for one in peer.asked] == [4, 2, 2, 1, 1, 2]


def test_a_node_that_refuses_us_is_asked_once(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """401 is no object's fault: nothing more is sent, and every object has its answer."""
    with web_peer(lambda _asked: Told(401)) as peer:
        answers = sent(objects, peer.url, settings)

    assert told(*answers) == [(None, BRIEFLY)] * 6
    assert {answer.sent for answer in answers} == set(objects)
    assert len(peer.asked) == 1


def test_a_busy_node_is_called_no_sooner_than_it_asks(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """503 ends the attempt; the next one waits for Retry-After, within our own longest delay."""
    told_later = Told(503, headers={"Retry-After": "120"})
    with (
        web_peer(lambda asked: told_later if len(asked.parts) < 4 else keeps(asked)) as peer,
        pytest.raises(NodeBusy) as busy,
    ):
        sent(objects, peer.url, settings)

    patient = dataclasses.replace(settings, retry_maximum_seconds=900.0)
    assert busy.value.retry_after == 120
    assert after_loss(1, busy.value, patient).delay == 120
    assert after_loss(1, NodeBusy("", 1e9), patient).delay == 900
    assert after_loss(1, NodeBusy("", None), patient).delay != 120
    assert after_loss(patient.maximum_attempts, busy.value, patient).delay is None


def test_a_node_that_never_answers_is_given_up(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """Silence ends at its deadline."""
    short = dataclasses.replace(settings, stow_answer_seconds=0.3)
    with (
        web_peer(lambda _asked: Told(200, hang=True)) as peer,
        pytest.raises(TransportError, match="timed out"),
    ):
        sent(objects, peer.url, short)


def test_a_node_that_drips_is_cut_at_the_deadline_of_the_whole(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """An answer byte by byte is no progress: the connection is cut under it."""
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not stop.wait(0.05):
                    try:
                        connection.recv(65536, socket.MSG_DONTWAIT)
                    except BlockingIOError:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        short = dataclasses.replace(settings, object_seconds=0.5, stow_answer_seconds=0.5)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        try:
            with pytest.raises(TransportError):
                sent(objects[:1], url, short)
        finally:
            stop.set()
            thread.join(20)


def test_a_node_that_is_away_ends_the_attempt(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """Nobody listens: the reason names the address and the system's word."""
    with pytest.raises(TransportError, match=r"no connection to 127\.0\.0\.1:\d+: Connection ref"):
        sent(objects, f"http://127.0.0.1:{free_port()}", settings)


def test_an_answer_without_bound_is_not_read(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """Over the limit nothing is believed."""
    short = dataclasses.replace(settings, stow_answer_mib=1)
    with web_peer(lambda asked: Told(200, listing(asked.uids) + bytes(1 << 20))) as peer:
        assert told(*sent(objects[:1], peer.url, short)) == [(None, BRIEFLY)]


def test_files_that_are_gone_or_another_are_set_aside(
    objects: list[SendObject], settings: SendSettings, tmp_path: Path
) -> None:
    """Without a request: a missing file, one that is no DICOM, one of another object."""
    text = tmp_path / "text"
    text.write_text("no DICOM" * 100)
    odd = [
        dataclasses.replace(objects[0], path=tmp_path / "gone"),
        dataclasses.replace(objects[1], path=text),
        dataclasses.replace(objects[2], path=objects[3].path),
    ]
    with web_peer() as peer:
        answers = sent([*odd, objects[4]], peer.url, settings)

    assert told(*answers) == [(None, DEAD)] * 3 + [(0x0000, STORED)]
    assert [len(one.parts) for one in peer.asked] == [1]


def test_a_file_that_shrinks_under_way_costs_only_itself(
    objects: list[SendObject], settings: SendSettings
) -> None:
    """The request is made again without it."""
    odd = objects[1]

    def script(asked: Asked) -> Told:
        if len(asked.parts) > 1:
            odd.path.write_bytes(odd.path.read_bytes()[:300])
            return Told(400)
        return keeps(asked)

    with web_peer(script) as peer:
        answers = sent(objects[:3], peer.url, settings)

    assert [(answer.sent, answer.disposition) for answer in answers] == [
        (objects[0], STORED),
        (odd, RETRY),
        (objects[2], STORED),
    ]


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("bearer abc.DEF-1==", "Bearer abc.DEF-1=="),
        ("basic gate:se cret", "Basic Z2F0ZTpzZSBjcmV0"),
    ],
)
def test_credentials_are_shown_by_https_alone(
    objects: list[SendObject],
    settings: SendSettings,
    authority: object,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    header: str,
) -> None:
    """By https they are the header; by http nothing at all is sent."""
    from support.authority import Authority

    from gatekeeper.tls import server_context

    assert isinstance(authority, Authority)
    monkeypatch.setenv("GATEKEEPER_CREDENTIAL_WEB", text)
    tls = authority.settings(authority.issue("127.0.0.1"))
    transport = StowTransport(settings, Credentials(tls))
    with web_peer(context=server_context(tls)) as peer:
        answers = list(transport.send(objects[:1], node_at(peer.url)))
    assert told(*answers) == [(0x0000, STORED)]
    assert peer.asked[0].headers["Authorization"] == header

    with web_peer() as plain, pytest.raises(TransportError, match="not https") as refused:
        list(transport.send(objects[:1], node_at(plain.url)))
    assert plain.asked == []
    assert text.split(" ", 1)[1] not in str(refused.value)


def test_a_certificate_of_a_stranger_is_refused(
    objects: list[SendObject], settings: SendSettings, authority: object, stranger: object
) -> None:
    """Nothing is sent to a server that the house's CA does not know, nor to another host's."""
    from support.authority import Authority

    from gatekeeper.tls import server_context

    assert isinstance(authority, Authority)
    assert isinstance(stranger, Authority)
    ours = Credentials(TlsSettings(ca=str(authority.file)))
    other_host = authority.issue("elsewhere.example")
    for tls, why in (
        (stranger.settings(stranger.issue("127.0.0.1")), "leads to no CA"),
        (authority.settings(other_host), "not for the node's host"),
    ):
        context = server_context(dataclasses.replace(tls, require_certificate=False))
        with web_peer(context=context) as peer, pytest.raises(TransportError, match=why):
            list(StowTransport(settings, ours).send(objects[:1], node_at(peer.url)))
        assert peer.asked == []


@pytest.fixture
def dicomweb(orthanc: Callable[..., Orthanc], peer: Callable[[str], str]) -> Orthanc:
    """Run an Orthanc with its DICOMweb plugin."""
    if not PLUGIN.exists():
        # Named as a program, so that it skips or fails as every missing peer does.
        peer(str(PLUGIN))
    return orthanc(Plugins=[str(PLUGIN)], DicomWeb={"Enable": True, "Root": "/dicom-web/"})


def test_orthanc_takes_everything_by_stow(
    objects: list[SendObject], settings: SendSettings, dicomweb: Orthanc
) -> None:
    """A real server: listed as stored is stored, byte for byte, and twice is once."""
    node = dataclasses.replace(node_at(dicomweb.url), url=f"{dicomweb.url}/dicom-web")
    transport = NodeTransport(Settings(send=settings), Credentials(TlsSettings()))
    for _ in range(2):
        assert told(*transport.send(objects, node)) == [(0x0000, STORED)] * 6

    assert sorted(dicomweb.objects()) == sorted(item.path.read_bytes() for item in objects)
    assert echo(node, Settings(send=settings)).status == 200


def test_orthanc_refusing_one_object_keeps_the_others(
    objects: list[SendObject], settings: SendSettings, dicomweb: Orthanc, tmp_path: Path
) -> None:
    """An object that it cannot read is answered for itself; the rest of the request is stored."""
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(objects[1].path.read_bytes()[:400])
    odd = dataclasses.replace(objects[1], path=broken)
    node = dataclasses.replace(node_at(dicomweb.url), url=f"{dicomweb.url}/dicom-web")
    answers = {
        answer.sent: answer
        for answer in StowTransport(settings).send([objects[0], odd, objects[2]], node)
    }

    assert answers[objects[0]].stored
    assert answers[objects[2]].stored
    assert not answers[odd].stored
    assert dicomweb.count() == 2


def test_asking_a_node_says_how_it_answered(quick: SendSettings) -> None:
    """A query for one study: 200 or 204 is an answer, anything else is a reason."""
    with web_peer(lambda _asked: Told(204)) as peer:
        assert echo(node_at(peer.url), Settings(send=quick)).status == 204
    assert peer.asked[0].target == "/dicom-web/studies?limit=1"
    assert peer.asked[0].headers["Accept"] == JSON
    with (
        web_peer(lambda _asked: Told(404)) as peer,
        pytest.raises(TransportError, match="HTTP 404"),
    ):
        echo(node_at(peer.url), Settings(send=quick))


def test_a_delivery_by_stow_is_recorded_and_resumed(
    database: Database, tmp_path: Path, objects: list[SendObject], settings: SendSettings
) -> None:
    """What the answers listed is not sent again; the rest is, and then the delivery is done."""
    spool = Spool(tmp_path / "spool")
    results = [result_of(item, spool.store(item.path.read_bytes()).digest) for item in objects]
    with database.begin() as tx:
        queued = deliveries.create(tx, "WEB", results)
    transport = NodeTransport(Settings(send=settings), Credentials(TlsSettings()))
    desk = Desk(database, spool, transport, settings)
    bad = objects[1].sop_instance_uid

    def script(asked: Asked) -> Told:
        if len(peer.asked) == 1:
            stored = [uid for uid in asked.uids if uid != bad]
            return Told(202, listing(stored, {bad: 0xA700}))
        return Told(503) if len(peer.asked) == 2 else keeps(asked)

    with web_peer(script) as peer:
        for _ in range(2):
            with database.begin() as tx:
                claimed = deliveries.claim(tx, "test", 60.0)
            assert claimed is not None
            deliver(desk, claimed, node_at(peer.url), lambda: False)
            until(lambda: due(database, queued), 20, "the next attempt is due")

    assert [len(one.parts) for one in peer.asked] == [4, 2, 3]
    with database.read() as tx:
        found = deliveries.get(tx, queued)
        assert found is not None
        assert found.state is DeliveryState.DELIVERED
        assert [item.status for item in deliveries.items_of(tx, queued)] == [0x0000] * 6


def due(database: Database, queued: int) -> bool:
    with database.read() as tx:
        found = deliveries.get(tx, queued)
        assert found is not None
        now_there = tx.execute(select(now())).scalar_one()
    return found.state is not DeliveryState.QUEUED or found.not_before <= now_there
