"""What happens here is told: deliveries and jobs set aside, certificates that end."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

from notify.conftest import Site
from sqlalchemy import update
from support.authority import Authority
from support.gate import free_port

from gatekeeper import periodic
from gatekeeper.certificates import Certificate, Expiry, stage
from gatekeeper.notify.events import Event, JobDead
from gatekeeper.send.attempt import Desk, deliver
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.settings import SendSettings
from storage import deliveries, instances, jobs, notifications
from storage.engine import Database, now
from storage.records import Instance, Node, Result
from storage.schema import notification as table
from storage.spool import Digest, Spool

STUDY = "1.2.826.0.1.77.5"
URL = "https://hook.example/"
DIGEST = Digest.of(b"content")
RESULT = Result("2.25.1", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.2", "1.2", "report", DIGEST, 100)


def a_job(database: Database) -> int:
    instance = Instance("1.2.9", "1.2", "1.2", STUDY, "1.2.8", "MR", DIGEST, 100, "SCANNER")
    with database.begin() as tx:
        instances.record(tx, instance, None)
        made = jobs.enqueue(tx, STUDY, DIGEST, DIGEST, 1)
    assert made is not None
    return made


def told(site: Site) -> list[tuple[str, str]]:
    return [(one.event, one.subject) for one in site.outbox()]


def context(site: Site, tmp_path: Path) -> periodic.Context:
    return periodic.Context(site.settings, site.database, Spool(tmp_path / "spool"))


def test_a_delivery_that_is_given_up_is_told_with_its_node_and_study(
    site: Site, tmp_path: Path
) -> None:
    """In the commit that sets it aside; an attempt that comes again tells nobody."""
    site.channel("hook", URL)
    job = a_job(site.database)
    with site.database.begin() as tx:
        number = deliveries.create(tx, "PACS", [RESULT], job)
    node = Node("PACS", "127.0.0.1", free_port(), receives_results=True)
    send = SendSettings(maximum_attempts=2, retry_seconds=0.0)
    desk = Desk(site.database, Spool(tmp_path / "spool"), DimseTransport("GATEKEEPER", send), send)

    for expected in ([], [(Event.DELIVERY_DEAD, STUDY)]):
        with site.database.begin() as tx:
            claimed = deliveries.claim(tx, "test", 60.0)
        assert claimed is not None
        deliver(desk, claimed, node, lambda: False)
        assert told(site) == expected

    facts = site.outbox()[0].facts
    assert (facts["delivery"], facts["node"]) == (number, "PACS")
    assert facts["reason"].startswith("no connection to 127.0.0.1:")


def test_what_the_rescue_gives_up_is_told_once(site: Site, tmp_path: Path) -> None:
    """Jobs and deliveries whose holders died at every attempt, however often the tick runs."""
    site.channel("hook", URL)
    job = a_job(site.database)
    with site.database.begin() as tx:
        deliveries.create(tx, "PACS", [RESULT], job)
        assert jobs.claim(tx, "dead", -1.0) is not None
        assert deliveries.claim(tx, "dead", -1.0) is not None
    once = dataclasses.replace(
        site.settings,
        work=dataclasses.replace(site.settings.work, maximum_attempts=1),
        send=dataclasses.replace(site.settings.send, maximum_attempts=1),
    )
    site.settings = once

    assert periodic.tick_rescue(context(site, tmp_path)) == 2
    assert periodic.tick_rescue(context(site, tmp_path)) == 0

    assert told(site) == [(Event.JOB_DEAD, STUDY), (Event.DELIVERY_DEAD, STUDY)]
    assert "given up after 1 attempts" in site.outbox()[0].facts["reason"]


def test_a_certificate_is_told_once_however_often_the_tick_runs(
    site: Site, tmp_path: Path, authority: Authority
) -> None:
    """With the setting that names it and the days that are left."""
    site.channel("hook", URL)
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=20.5)
    identity = authority.issue("127.0.0.1", not_after=end)
    site.settings = dataclasses.replace(site.settings, tls=authority.settings(identity, ca=""))

    for _ in range(3):
        assert periodic.tick_certificates(context(site, tmp_path)) == 1

    (found,) = site.outbox()
    assert found.event == Event.CERTIFICATE_EXPIRES
    assert found.facts == {"setting": "tls.certificate", "days": 20}


def test_a_certificate_is_told_again_when_its_end_comes_nearer() -> None:
    """Under 14, 7, 3 and 1 days, and once it has expired; another certificate by itself."""
    one = Certificate(DIGEST, "CN=gate", (), 0.0, 0.0)
    other = dataclasses.replace(one, fingerprint=Digest.of(b"other"))

    keys = [stage(Expiry("tls.certificate", one, days)) for days in range(29, -9, -1)]

    assert len(set(keys)) == 6
    assert stage(Expiry("tls.certificate", other, 29)) not in keys


def test_a_sweep_forgets_what_ended_long_ago(site: Site, tmp_path: Path) -> None:
    """And keeps what waits, however old it is."""
    site.channel("hook", URL)
    for number in range(2):
        site.announce(JobDead(number, STUDY, "gone"), str(number))
    with site.database.begin() as tx:
        sent = notifications.claim(tx, "hook", "test", 60.0, 20)
        assert sent is not None
        notifications.sent(tx, sent.id, sent.attempt)
        aged = now() - 91 * 86400.0
        tx.execute(update(table).values(created_at=aged))
        tx.execute(update(table).where(table.c.id == sent.id).values(finished_at=aged))

    periodic.tick_sweep(context(site, tmp_path))

    assert [one.subject for one in site.outbox()] == [STUDY]
    assert site.outbox()[0].id != sent.id
