"""Losses: what is set aside as dead is announced in the transaction that does so."""

from __future__ import annotations

from sqlalchemy import Connection

from gatekeeper.notify.announce import announce
from gatekeeper.notify.events import DeliveryDead, JobDead
from storage import deliveries, jobs
from storage.jobs import SUPERSEDED


def delivery_dead(tx: Connection, delivery_id: int) -> None:
    """Announce that a delivery was set aside just now."""
    found = deliveries.get(tx, delivery_id)
    if found is None:
        return
    job = None if found.job_id is None else jobs.get(tx, found.job_id)
    study = None if job is None else job.study_instance_uid
    happening = DeliveryDead(found.id, found.node, found.reason, study)
    announce(tx, happening, f"{found.id}:{found.attempt}")


def job_dead(tx: Connection, job_id: int) -> None:
    """Announce that a job was set aside just now; one that another job replaces is no loss."""
    found = jobs.get(tx, job_id)
    if found is None or found.reason.startswith(SUPERSEDED):
        return
    happening = JobDead(found.id, found.study_instance_uid, found.reason)
    announce(tx, happening, f"{found.id}:{found.attempt}")
