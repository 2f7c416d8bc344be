"""A change is in force in every process at once, and drops nobody who is connected."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from configuration.documents import SETTINGS
from listen.wire import associated, image_file, running, settings_for, store
from support.dicom_peers import ScriptedPeer
from support.objects import result_of, send_objects, write_slices
from support.waiting import until
from work.phantoms import Ward, series

from gatekeeper.configuration.changes import changing, noticed, put
from gatekeeper.send.attempt import Desk
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.sender import Sender
from gatekeeper.settings import SendSettings
from gatekeeper.work.worker import Worker
from models.activation import NOBODY
from storage import active_bundles, deliveries, jobs, nodes, outcomes, policies
from storage import configuration_versions as versions
from storage.engine import Database
from storage.records import ActiveBundle, DeliveryState, JobState, Node
from storage.spool import Spool


@pytest.fixture
def raw_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripted sender send files as they are, without decoding them."""
    from pynetdicom import _config

    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


@pytest.mark.usefixtures("raw_sending")
def test_a_node_is_welcome_at_once_and_open_associations_go_on(
    tmp_path: Path, database: Database
) -> None:
    """Added, taken away by a restore, and added by another; a scanner sends all the while."""
    settings = settings_for(tmp_path / "spool")
    numbers = iter(range(1, 10))

    def welcome() -> bool:
        with associated(listening.port, calling="NEW") as association:
            return association.is_established

    def still_sends() -> bool:
        file = image_file(tmp_path, f"1.2.826.0.1.7.{next(numbers)}")
        return store(scanner, file).Status == 0x0000

    with (
        running(settings, database) as listening,
        associated(listening.port) as scanner,
    ):
        assert still_sends()
        assert not welcome()
        with changing(database, "anna", "new scanner", settings) as tx:
            nodes.save(tx, Node("NEW", "127.0.0.1", 0, may_send=True))
        assert welcome()
        assert still_sends()
        with database.read() as tx:
            first = versions.get(tx, 1)
        assert first is not None
        put(database, first.document, "anna", "too early", settings, restored_from=1)
        assert not welcome()
        assert still_sends()
        assert scanner.is_established


@contextmanager
def sending(desk: Desk) -> Generator[None]:
    """Run a sender until the end of the block."""
    sender = Sender(desk, "test")
    thread = threading.Thread(target=sender.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sender.stop()
        thread.join(30)
        assert not thread.is_alive()


def test_a_running_sender_sends_to_where_a_node_has_moved(
    tmp_path: Path, database: Database
) -> None:
    """A delivery waits for its node to be entered, and goes to the address in force."""
    settings = SendSettings(poll_seconds=0.05, retry_seconds=0.05, retry_maximum_seconds=0.2)
    spool = Spool(tmp_path / "spool")
    desk = Desk(database, spool, DimseTransport("GATEKEEPER", settings), settings)
    objects = send_objects(write_slices(tmp_path / "objects", 2))
    results = [result_of(item, spool.store(item.path.read_bytes()).digest) for item in objects]
    with database.begin() as tx:
        queued = deliveries.create(tx, "PACS", results)

    def delivered() -> bool:
        with database.read() as tx:
            found = deliveries.get(tx, queued)
        return found is not None and found.state is DeliveryState.DELIVERED

    with ScriptedPeer(lambda _number, _uid: 0x0000) as peer, sending(desk):
        assert not delivered()
        with changing(database, "anna", "the new archive", SETTINGS) as tx:
            nodes.save(tx, Node("PACS", "127.0.0.1", peer.port, receives_results=True))
        until(delivered, 60, "the delivery arrived at the node entered since")


@pytest.fixture
def ward(tmp_path: Path, database_url: str) -> Generator[Ward]:
    made = Ward(tmp_path, database_url)
    yield made
    made.database.dispose()


def test_a_running_worker_judges_by_the_policy_and_the_models_in_force(ward: Ward) -> None:
    """The rate of the moment is in the evidence; a job for other models gives way to a new one."""
    database, settings = ward.database, ward.settings
    studies = [
        series(4, modality="CT", description="", study=f"1.2.826.0.1.9.{number}")
        for number in range(3)
    ]

    def rate(job: int) -> object:
        with database.read() as tx:
            found = outcomes.of_job(tx, job)
        return None if found is None else found.evidence["false_hold_rate"]

    worker = Worker(settings, database, ward.spool)
    try:
        before = ward.study(studies[0])
        worker.run_once()
        with changing(database, "anna", "fewer holds", settings) as tx:
            policies.save(tx, "models.false_hold_rate", 0.02)
        after = ward.study(studies[1])
        worker.run_once()
        assert (rate(before), rate(after)) == (settings.models.false_hold_rate, 0.02)

        old = ward.study(studies[2])
        with changing(database, "anna", "nobody for T1", settings) as tx:
            active_bundles.save(tx, ActiveBundle("MR/BRAIN/T1", NOBODY))
        worker.run_once()
        worker.run_once()
        with database.read() as tx:
            new = jobs.listing(tx)[0]
        assert (ward.job(old).state, new.state) == (JobState.DEAD, JobState.DONE)
        assert new.model_digest != ward.job(old).model_digest
    finally:
        worker.close()


def test_a_job_is_made_for_the_models_in_force(ward: Ward) -> None:
    """The tick asks the database each time it completes a study."""
    from gatekeeper.periodic import Context

    context = Context(ward.settings, ward.database, ward.spool)
    before = context.model_digest()
    first = noticed(ward.database, ward.settings)
    with changing(ward.database, "anna", "nobody for T1", ward.settings) as tx:
        active_bundles.save(tx, ActiveBundle("MR/BRAIN/T1", NOBODY))
    changed = context.model_digest()
    put(ward.database, first.document, "anna", "back", ward.settings, restored_from=1)

    assert changed != before
    assert context.model_digest() == before
