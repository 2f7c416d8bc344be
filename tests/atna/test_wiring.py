"""What happens is audited where it happens: callers, deliveries, readers, roles."""

from __future__ import annotations

import base64
import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from atna.conftest import Site
from listen.wire import MR, associated
from listen.wire import running as running_listener
from support.authority import Authority
from support.dicom_peers import ScriptedPeer
from support.gate import free_port
from support.objects import result_of, send_objects, write_slices
from support.waiting import until
from support.web import multipart, part10, running_web

from gatekeeper import periodic
from gatekeeper.atna import activity
from gatekeeper.atna.refusals import MOST_CALLERS, Refusals
from gatekeeper.atna.transfers import Transfers
from gatekeeper.send.attempt import Desk, deliver
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.transport import SendObject
from gatekeeper.settings import SendSettings, Settings
from storage import deliveries, instances, jobs
from storage.engine import Database
from storage.records import Instance, Node
from storage.spool import Digest, Spool

PATIENCE = 60
STUDY = "1.2.3"
DIGEST = Digest.of(b"content")

Valid = Callable[[str], ET.Element]


def local(site: Site, folder: Path) -> Settings:
    """Return the settings of a listener or web role on a free port of this machine."""
    plain = site.settings
    return dataclasses.replace(
        plain,
        listen=dataclasses.replace(plain.listen, port=0, host="127.0.0.1", stop_seconds=0.0),
        web=dataclasses.replace(plain.web, host="127.0.0.1", stop_seconds=0.0, serves="all"),
        spool=dataclasses.replace(plain.spool, directory=str(folder / "spool"), low_water_mib=1),
        tls=Settings().tls,
    )


def roots(site: Site, event: str, valid: Valid) -> list[ET.Element]:
    """Return the valid messages of one event, the oldest first."""
    return [valid(one.content) for one in site.outbox() if one.event == event]


def participants(root: ET.Element) -> list[str]:
    return [one.attrib["UserID"] for one in root.findall("ActiveParticipant")]


def details(root: ET.Element) -> dict[str, str]:
    return {
        one.attrib["type"]: base64.b64decode(one.attrib["value"]).decode()
        for one in root.iter("ParticipantObjectDetail")
    }


def test_a_caller_that_is_refused_is_told_once_and_then_counted(
    small: Site, tmp_path: Path, valid: Valid
) -> None:
    """The first at once, the others of a while together: a flood is two messages."""
    with running_listener(local(small, tmp_path), small.database) as found:
        with associated(found.port, calling="EVIL") as association:
            assert not association.is_established
        until(small.outbox, PATIENCE, "the first refusal is told")
        for _ in range(3):
            with associated(found.port, calling="EVIL"):
                pass

    first, later = roots(small, "security-alert", valid)
    rule = "the calling AE title is no enabled node that may send"
    assert details(first) == {"Alert Description": rule, "Occurrences": "1"}
    assert details(later) == {"Alert Description": rule, "Occurrences": "3"}
    assert "EVIL" in participants(first)
    kinds = [one.attrib["csd-code"] for one in first.iter("EventTypeCode")]
    assert kinds == ["110126"]


def test_a_handshake_that_fails_is_a_node_that_was_refused(
    small: Site, tmp_path: Path, authority: Authority, valid: Valid
) -> None:
    """By its address, as it has no name yet."""
    plain = local(small, tmp_path)
    settings = dataclasses.replace(
        plain,
        listen=dataclasses.replace(plain.listen, tls_port=free_port()),
        tls=authority.settings(authority.issue("localhost")),
    )
    with (
        running_listener(settings, small.database) as found,
        socket.create_connection(("127.0.0.1", found.listener.tls_port)) as connection,
    ):
        connection.sendall(b"this is no TLS" * 10)
        until(small.outbox, PATIENCE, "the refusal is told")

    (alert,) = roots(small, "security-alert", valid)
    assert details(alert)["Alert Description"] == "TLS: the peer speaks no TLS"
    assert "127.0.0.1" in participants(alert)


def test_a_flood_of_different_callers_is_a_bounded_number_of_messages(
    small: Site, valid: Valid
) -> None:
    """A hundred are told one by one, the others as one with their count."""
    refusals = Refusals(small.database, small.settings)
    for number in range(MOST_CALLERS + 50):
        refusals.note(f"AE{number}", "10.6.6.6", "no")
    refusals.start()
    refusals.stop(PATIENCE)

    found = roots(small, "security-alert", valid)
    assert len(found) == MOST_CALLERS + 1
    assert details(found[-1])["Occurrences"] == "50"


def test_a_query_is_told_as_it_was_asked_and_by_whom(
    small: Site, tmp_path: Path, valid: Valid
) -> None:
    """Before it is answered, with how many matches the answer has."""
    with running_web(local(small, tmp_path), small.database) as web:
        assert web.get("/studies", PatientName="CANARY*").status_code == 200
        (query,) = roots(small, "query", valid)

    assert participants(query) == ["reader", "GATEKEEPER"]
    text = query.findtext("ParticipantObjectIdentification/ParticipantObjectQuery")
    assert text is not None
    assert base64.b64decode(text) == b"PatientName=CANARY%2A"
    assert details(query) == {"Matches": "0"}


def test_queries_are_left_out_when_the_site_says_so(small: Site, tmp_path: Path) -> None:
    """They may name patients."""
    small.change(queries=False)
    with running_web(local(small, tmp_path), small.database) as web:
        assert web.get("/studies").status_code == 200

    assert small.events() == []


def test_a_study_fetched_picture_by_picture_is_one_beginning_and_one_transfer(
    small: Site, tmp_path: Path, valid: Valid
) -> None:
    """Told before the first byte; what was given is counted, and told when the while is over."""
    uids = [f"1.2.3.9.{number}" for number in range(3)]
    with running_web(local(small, tmp_path), small.database) as web:
        assert web.stow(multipart([part10(uid) for uid in uids])).status_code == 200
        for uid in uids:
            path = f"/studies/{STUDY}/series/1.2.3.4/instances/{uid}"
            answer = web.get(path, 'multipart/related; type="application/dicom"')
            assert answer.status_code == 200
            assert small.events() == [("begin-transferring", STUDY)]
        assert web.get(f"/studies/{STUDY}/metadata").status_code == 200
        assert web.get("/studies/1.9.9/metadata").status_code == 404

    assert small.events() == [
        ("begin-transferring", STUDY),
        ("instances-accessed", STUDY),
        ("instances-transferred", STUDY),
    ]
    (transferred,) = roots(small, "instances-transferred", valid)
    assert participants(transferred) == ["GATEKEEPER", "reader"]
    assert [one.attrib for one in transferred.iter("SOPClass")] == [
        {"UID": MR, "NumberOfInstances": "3"}
    ]


def test_a_token_that_is_not_valid_is_a_caller_that_was_refused(
    small: Site, tmp_path: Path, valid: Valid
) -> None:
    """The token itself is not told."""
    with running_web(local(small, tmp_path), small.database) as web:
        guess = dataclasses.replace(web, reader="gk_guessed")
        assert guess.get("/studies").status_code == 401
        until(small.outbox, PATIENCE, "the refusal is told")

    (alert,) = roots(small, "security-alert", valid)
    assert details(alert)["Alert Description"] == "the token is not valid"
    assert "gk_guessed" not in small.outbox()[0].content


@pytest.fixture
def objects(tmp_path: Path) -> list[SendObject]:
    """Return two MR instances to send."""
    return send_objects(write_slices(tmp_path / "objects", 2))


def a_delivery(site: Site, desk: Desk, objects: list[SendObject], node: str) -> None:
    """Queue a delivery of the results of a job."""
    instance = Instance("1.2.9", "1.2", "1.2", STUDY, "1.2.8", "MR", DIGEST, 100, "SCANNER")
    results = [result_of(one, desk.spool.store(one.path.read_bytes()).digest) for one in objects]
    with site.database.begin() as tx:
        instances.record(tx, instance, None)
        job = jobs.enqueue(tx, STUDY, DIGEST, DIGEST, 1)
        deliveries.create(tx, node, results, job)


def attempt(site: Site, desk: Desk, node: Node) -> None:
    with site.database.begin() as tx:
        claimed = deliveries.claim(tx, "test", 60.0)
    assert claimed is not None
    deliver(desk, claimed, node, lambda: False)


def desk_of(site: Site, folder: Path) -> Desk:
    send = SendSettings(maximum_attempts=2, retry_seconds=0.0, connect_timeout=5.0)
    transport = DimseTransport("GATEKEEPER", send)
    return Desk(site.database, Spool(folder / "spool"), transport, send, Transfers(site.settings))


def test_a_delivery_tells_when_it_begins_and_when_it_has_ended(
    small: Site, tmp_path: Path, objects: list[SendObject], valid: Valid
) -> None:
    """One message each for a study, the end in the transaction that ends the delivery."""
    desk = desk_of(small, tmp_path)
    with ScriptedPeer() as peer:
        node = Node(ScriptedPeer.ae_title, "127.0.0.1", peer.port, receives_results=True)
        a_delivery(small, desk, objects, ScriptedPeer.ae_title)
        attempt(small, desk, node)

    assert small.events() == [("begin-transferring", STUDY), ("instances-transferred", STUDY)]
    (ended,) = roots(small, "instances-transferred", valid)
    assert participants(ended) == ["GATEKEEPER", "SCRIPTED"]
    assert ended[0].attrib["EventOutcomeIndicator"] == "0"
    assert [one.attrib["NumberOfInstances"] for one in ended.iter("SOPClass")] == ["2"]


def test_a_delivery_that_is_given_up_is_a_failed_transfer(
    small: Site, tmp_path: Path, objects: list[SendObject], valid: Valid
) -> None:
    """However many attempts it took: one beginning, one failure with its reason."""
    desk = desk_of(small, tmp_path)
    node = Node("GONE", "127.0.0.1", free_port(), receives_results=True)
    a_delivery(small, desk, objects, "GONE")
    attempt(small, desk, node)
    attempt(small, desk, node)

    assert small.events() == [("begin-transferring", STUDY), ("instances-transferred", STUDY)]
    (failed,) = roots(small, "instances-transferred", valid)
    assert failed[0].attrib["EventOutcomeIndicator"] == "8"
    assert failed[0].findtext("EventOutcomeDescription")


def test_a_prior_study_that_we_fetched_is_a_transfer_that_we_asked_for(
    small: Site, valid: Valid
) -> None:
    """From the archive to us, with what is here of it."""
    prior = Instance("1.2.9", MR, "1.2", STUDY, "1.2.8", "MR", DIGEST, 100, "PACS", prior=True)
    with small.database.begin() as tx:
        instances.record(tx, prior, None)
        Transfers(small.settings).fetched(tx, STUDY, Node("PACS", "10.1.9.9", 104))

    (fetched,) = roots(small, "instances-transferred", valid)
    assert participants(fetched) == ["PACS", "GATEKEEPER"]
    assert [one.attrib["NumberOfInstances"] for one in fetched.iter("SOPClass")] == ["1"]


def test_a_role_tells_that_it_starts_and_stops_also_by_an_error(
    small: Site, sqlite_url: str, valid: Valid
) -> None:
    """Application Activity, with the process and the role."""
    database = dataclasses.replace(small.settings.database, url=sqlite_url)
    settings = dataclasses.replace(small.settings, database=database)
    with activity.running(settings, "listen"):
        assert small.events() == [("application-activity", "listen")]
    try:
        with activity.running(settings, "tick"):
            raise SystemExit(1)
    except SystemExit:
        assert len(small.events()) == 4

    kinds = [
        one.attrib["csd-code"]
        for root in roots(small, "application-activity", valid)
        for one in root.iter("EventTypeCode")
    ]
    assert kinds == ["110120", "110121"] * 2


def test_a_database_that_is_gone_keeps_no_role_from_its_work(small: Site, tmp_path: Path) -> None:
    """The log says that it was not recorded."""
    url = f"sqlite:///{tmp_path}/file/is/a/folder.db"
    (tmp_path / "file").touch()
    database = dataclasses.replace(small.settings.database, url=url)
    worked = False
    with activity.running(dataclasses.replace(small.settings, database=database), "work"):
        worked = True

    assert worked


def test_the_tick_looks_after_audit_messages(small: Site, tmp_path: Path) -> None:
    """Twice in a row tells nothing twice."""
    context = periodic.Context(small.settings, small.database, Spool(tmp_path / "spool"))
    assert periodic.run_safely("audit", context) == 0
    number = opened(small.database)
    assert periodic.run_safely("audit", context) == 0
    with small.database.begin() as tx:
        instances.close_association(tx, number)

    assert periodic.run_safely("audit", context) == 1
    assert periodic.run_safely("audit", context) == 0


def opened(database: Database) -> int:
    """Receive one instance on an association, and return its number."""
    one = Instance("1.2.9", MR, "1.2", STUDY, "1.2.8", "MR", DIGEST, 100, "SCANNER")
    with database.begin() as tx:
        number = instances.open_association(tx, "SCANNER", "127.0.0.1")
        instances.record(tx, one, number)
    return number
