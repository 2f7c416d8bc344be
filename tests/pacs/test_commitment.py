"""Storage commitment with a real Orthanc: it commits to what we deliver, we to what it sends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from listen.wire import running as listening
from listen.wire import settings_for
from support.gate import free_port
from support.objects import MR, result_of, send_objects, write_slices
from support.orthanc import Orthanc
from support.threads import in_thread
from support.waiting import until

from gatekeeper.send.attempt import Desk
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.errands import Errands, Office
from gatekeeper.send.sender import Sender
from storage import commitments, deliveries, nodes
from storage.engine import Database
from storage.records import CommitmentState, Confirm, DeliveryState, Node
from storage.spool import Spool

PATIENCE = 60


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_orthanc_and_we_commit_to_each_other(
    orthanc: Callable[..., Orthanc], tmp_path: Path, database: Database
) -> None:
    """Delivered to it and committed by its report to our listener; sent by it and reported back."""
    port = free_port()
    ours = {"AET": "GATEKEEPER", "Host": "127.0.0.1", "Port": port}
    archive = orthanc(DicomModalities={"gate": ours | {"AllowStorageCommitment": True}})
    plain = settings_for(tmp_path / "spool", port=port)
    settings = dataclasses.replace(
        plain,
        send=dataclasses.replace(plain.send, poll_seconds=0.1),
        commitment=dataclasses.replace(plain.commitment, ask_again_seconds=3600.0),
    )
    spool = Spool(tmp_path / "spool")
    paths = write_slices(tmp_path / "objects", 3)
    items = send_objects(paths)
    results = [result_of(one, spool.store(one.path.read_bytes()).digest) for one in items]
    desk = Desk(database, spool, DimseTransport("GATEKEEPER", settings.send), settings.send)
    sender, errands = Sender(desk, "test"), Errands(Office(database, spool, settings), "test")

    with listening(settings, database), in_thread(sender.run, sender.stop):
        errands.start()
        node = Node(
            archive.aet,
            "127.0.0.1",
            archive.port,
            may_send=True,
            receives_results=True,
            confirm=Confirm.COMMITMENT,
        )
        with database.begin() as tx:
            nodes.save(tx, node)
            delivery = deliveries.create(tx, archive.aet, results)

        def committed() -> bool:
            with database.read() as tx:
                found = deliveries.get(tx, delivery)
            return found is not None and found.state is DeliveryState.COMMITTED

        until(committed, PATIENCE, "Orthanc has committed to what we delivered")

        here = [one["ID"] for one in archive.get_json("/instances?expand")]
        archive.post("/modalities/gate/store", json.dumps(here))
        asked = [[MR, one.sop_instance_uid] for one in items] + [[MR, "1.2.3.404"]]
        answer = archive.post(
            "/modalities/gate/storage-commitment", {"DicomInstances": asked, "Timeout": 30}
        )
        transaction = json.loads(answer)["ID"]

        def told() -> bool:
            path = f"/storage-commitment/{transaction}"
            return bool(archive.get_json(path)["Status"] != "Pending")

        until(told, PATIENCE, "Orthanc has our report")
        report = archive.get_json(f"/storage-commitment/{transaction}")

        def reported() -> bool:
            with database.read() as tx:
                kept = commitments.get(tx, archive.aet, transaction)
            return kept is not None and kept.state is CommitmentState.REPORTED

        until(reported, PATIENCE, "our report is on record as taken")
        errands.stop(PATIENCE)

    assert report["Status"] == "Failure"
    assert sorted(one["SOPInstanceUID"] for one in report["Success"]) == sorted(
        one.sop_instance_uid for one in items
    )
    assert [one["SOPInstanceUID"] for one in report["Failures"]] == ["1.2.3.404"]
