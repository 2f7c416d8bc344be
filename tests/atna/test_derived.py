"""What is derived: associations, configuration and removals, each told once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree as ET

from atna.conftest import Site
from sqlalchemy import update

from gatekeeper.atna.derived import derive
from gatekeeper.atna.removals import Removals
from storage import configuration_versions as versions
from storage import instances
from storage.records import Instance
from storage.retention import Removal
from storage.schema import association, audit_cursor, audit_told
from storage.schema import instance as instance_table
from storage.spool import Digest

STUDY = "1.2.826.0.1.77.5"
MR = "1.2.840.10008.5.1.4.1.1.4"


def received(site: Site, count: int, study: str = STUDY, first: int = 0) -> int:
    """Store instances on one association, which stays open, and return its number."""
    with site.database.begin() as tx:
        number = instances.open_association(tx, "CT1", "10.1.2.3")
        for index in range(first, first + count):
            uid = f"{study}.1.{index}"
            one = Instance(
                sop_instance_uid=uid,
                sop_class_uid=MR,
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                study_instance_uid=study,
                series_instance_uid=f"{study}.1",
                modality="MR",
                digest=Digest.of(uid.encode()),
                size=100,
                source_ae="CT1",
            )
            instances.record(tx, one, number)
    return number


def close(site: Site, number: int) -> None:
    with site.database.begin() as tx:
        instances.close_association(tx, number)


def listening(site: Site) -> None:
    """Derive once, so that what comes later is new."""
    derive(site.database, site.settings)


def settle(site: Site) -> None:
    """Make every association so old that no transaction of its time can be open."""
    with site.database.begin() as tx:
        tx.execute(update(association).values(opened_at=association.c.opened_at - 1000))


def test_what_an_association_brought_is_one_message_for_each_study(site: Site) -> None:
    """However many instances came; told when it has ended, and once however often it is asked."""
    listening(site)
    number = received(site, 3)
    with site.database.begin() as tx:
        other = Instance(
            sop_instance_uid="1.2.826.0.1.78.1.1",
            sop_class_uid=MR,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            study_instance_uid="1.2.826.0.1.78",
            series_instance_uid="1.2.826.0.1.78.1",
            modality="MR",
            digest=Digest.of(b"other"),
            size=100,
            source_ae="CT1",
        )
        instances.record(tx, other, number)
    assert derive(site.database, site.settings) == 0

    close(site, number)
    assert derive(site.database, site.settings) == 2
    assert derive(site.database, site.settings) == 0

    assert site.events() == [
        ("instances-transferred", STUDY),
        ("instances-transferred", "1.2.826.0.1.78"),
    ]
    root = ET.fromstring(site.outbox()[0].content)  # noqa: S314
    assert [one.attrib for one in root.iter("SOPClass")] == [{"UID": MR, "NumberOfInstances": "3"}]
    event = root.find("EventIdentification")
    assert event is not None
    assert event.attrib["EventActionCode"] == "C"


def test_a_resend_of_what_was_here_is_a_read(site: Site) -> None:
    """The receiver holds the instances already and changes nothing (PS3.15 A.5.3.7)."""
    close(site, received(site, 2))
    listening(site)

    close(site, received(site, 2))
    derive(site.database, site.settings)

    (message,) = site.outbox()
    event = ET.fromstring(message.content).find("EventIdentification")  # noqa: S314
    assert event is not None
    assert event.attrib["EventActionCode"] == "R"


def test_what_was_received_before_audit_messages_were_on_is_not_told(site: Site) -> None:
    """A site that turns them on is not told its past."""
    close(site, received(site, 2))

    assert derive(site.database, site.settings) == 0
    assert site.outbox() == []


def test_an_association_that_stays_open_holds_up_no_other_and_is_told_in_its_time(
    site: Site,
) -> None:
    """Rows end in another order than they began; each is told once, and none is forgotten."""
    listening(site)
    long = received(site, 1, f"{STUDY}.1")
    for number in range(2, 5):
        close(site, received(site, 1, f"{STUDY}.{number}"))
    settle(site)
    assert derive(site.database, site.settings) == 3
    assert derive(site.database, site.settings) == 0

    close(site, long)
    assert derive(site.database, site.settings) == 1
    assert derive(site.database, site.settings) == 0

    assert site.events()[-1] == ("instances-transferred", f"{STUDY}.1")
    with site.database.read() as tx:
        position = tx.execute(
            audit_cursor.select().where(audit_cursor.c.source == "associations")
        ).one()
        assert position.position == long + 3
        assert tx.execute(audit_told.select()).all() == []


def test_ticks_at_the_same_time_tell_nothing_twice(site: Site) -> None:
    """Several processes with ticks, as a site of several machines has, are one."""
    listening(site)
    for number in range(20):
        close(site, received(site, 1, f"{STUDY}.{number}"))

    with ThreadPoolExecutor(4) as pool:
        ticks = [pool.submit(derive, site.database, site.settings) for _ in range(8)]

    assert sum(one.result() for one in ticks) == 20
    assert sorted(site.events()) == sorted(
        ("instances-transferred", f"{STUDY}.{number}") for number in range(20)
    )


def test_an_association_whose_listener_was_killed_counts_as_ended_after_its_lease(
    site: Site,
) -> None:
    """A crash leaves no transfer untold."""
    listening(site)
    received(site, 1)
    assert derive(site.database, site.settings) == 0

    with site.database.begin() as tx:
        tx.execute(update(association).values(seen_at=association.c.seen_at - 100_000))

    assert derive(site.database, site.settings) == 1


def test_every_version_of_the_configuration_is_told_by_what_changed(site: Site) -> None:
    """A node is the network, anything else is software; a change past Gatekeeper is a failure."""
    listening(site)
    with site.database.begin() as tx:
        versions.append(tx, "ada", "first", {"policy": {"hold": {"days": 1}}}, "a" * 64)
        versions.append(
            tx, "ada", "a PACS", {"policy": {"hold": {"days": 1}}, "nodes": {"PACS": {}}}, "b" * 64
        )
        versions.append(tx, "unknown", "", {"nodes": {"PACS": {}}}, "c" * 64)

    assert derive(site.database, site.settings) == 3
    assert derive(site.database, site.settings) == 0

    found = [
        (
            [one.attrib["csd-code"] for one in root.iter("EventTypeCode")],
            root[0].attrib["EventOutcomeIndicator"],
        )
        for root in (ET.fromstring(one.content) for one in site.outbox())  # noqa: S314
    ]
    assert found == [(["110131"], "0"), (["110128"], "0"), (["110131"], "4")]


def test_what_retention_removes_is_told_in_the_transaction_that_says_so(site: Site) -> None:
    """One message for a study, with how many instances went."""
    close(site, received(site, 2))
    with site.database.begin() as tx:
        rows = tx.execute(instance_table.select()).all()
        removals = [Removal(row.id, row.sop_instance_uid, row.digest) for row in rows]
        Removals(site.settings).record(tx, STUDY, removals, "age")
        Removals(site.settings).record(tx, f"{STUDY}.2", [], "age")

    (message,) = site.outbox()
    assert (message.event, message.subject) == ("study-deleted", STUDY)
    root = ET.fromstring(message.content)  # noqa: S314
    assert [one.attrib["NumberOfInstances"] for one in root.iter("SOPClass")] == ["2"]
