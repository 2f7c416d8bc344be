"""What leaves or is fetched: deliveries, what confirms them, forwards, priors, notifications."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from storage.schema.base import AE, DIGEST, STATE, UID, Id, leased, metadata, waiting
from storage.schema.judged import job
from storage.schema.received import study

delivery = Table(
    "delivery",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, ForeignKey(job.c.id)),
    # No foreign key: a node that is removed strands no delivery and blocks no settle.
    Column("node", AE, nullable=False),
    *leased(),
    Index(None, "state", "id"),
    waiting("delivery"),
    Index(None, "job_id"),
    sqlite_autoincrement=True,
)

delivery_item = Table(
    "delivery_item",
    metadata,
    Column("delivery_id", Id, ForeignKey(delivery.c.id), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("sop_instance_uid", UID, nullable=False),
    Column("sop_class_uid", UID, nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("status", Integer),
    Column("stored", Boolean, nullable=False),
    Column("left_out", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("delivery_id", "sop_instance_uid"),
    Index(None, "sop_instance_uid"),
)

commitment = Table(
    "commitment",
    metadata,
    Column("id", Id, primary_key=True),
    Column("node", AE, nullable=False),
    Column("transaction_uid", UID, nullable=False),
    Column("decided_at", Double),
    *leased(),
    UniqueConstraint("node", "transaction_uid"),
    Index(None, "state", "id"),
    sqlite_autoincrement=True,
)

commitment_item = Table(
    "commitment_item",
    metadata,
    Column("commitment_id", Id, ForeignKey(commitment.c.id), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("sop_class_uid", UID, nullable=False),
    Column("sop_instance_uid", UID, nullable=False),
    Column("failure", Integer),
    Index(None, "sop_instance_uid"),
)

# One a delivery, under its number.
confirmation = Table(
    "confirmation",
    metadata,
    Column("id", Id, ForeignKey(delivery.c.id), primary_key=True, autoincrement=False),
    Column("node", AE, nullable=False),
    Column("resends", Integer, nullable=False),
    *leased(),
    Index(None, "state", "id"),
)

confirmation_request = Table(
    "confirmation_request",
    metadata,
    Column("transaction_uid", UID, primary_key=True),
    Column("confirmation_id", Id, ForeignKey(confirmation.c.id), nullable=False),
    Column("resends", Integer, nullable=False),
    Column("asked_at", Double, nullable=False),
    Index(None, "confirmation_id"),
)

forward = Table(
    "forward",
    metadata,
    Column("id", Id, primary_key=True),
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), nullable=False),
    Column("content_digest", DIGEST, nullable=False),
    Column("revision", Integer, nullable=False),
    # No foreign key: what waits for a node that is removed waits on, and is seen.
    Column("node", AE, nullable=False),
    Column("gated", Boolean, nullable=False),
    Column("state", STATE, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("held_at", Double),
    Column("hold_until", Double),
    Column("decided_at", Double),
    Column("decided_by", Text, nullable=False),
    Column("delivery_id", Id, ForeignKey(delivery.c.id)),
    # When people were told that the end of the hold is near; NULL before.
    Column("warned_at", Double),
    UniqueConstraint("study_instance_uid", "content_digest", "node"),
    Index(None, "state", "id"),
    sqlite_autoincrement=True,
)

channel = Table(
    "channel",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("kind", STATE, nullable=False),
    Column("address", Text, nullable=False),
    Column("events", JSON, nullable=False),
    Column("details", STATE, nullable=False),
    Column("enabled", Boolean, nullable=False),
)

notification = Table(
    "notification",
    metadata,
    Column("id", Id, primary_key=True),
    # No foreign key: a channel that is removed blocks no event.
    Column("channel", String(64), nullable=False),
    Column("event", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("dedup", Text, nullable=False),
    Column("delivery_id", String(36), nullable=False),
    Column("facts", JSON, nullable=False),
    Column("digest_id", Id, ForeignKey("notification.id")),
    *leased(),
    UniqueConstraint("channel", "dedup"),
    Index(None, "state", "id"),
    waiting("notification"),
    Index(None, "channel", "finished_at"),
    Index(None, "digest_id"),
    sqlite_autoincrement=True,
)

# A request for priors of a study, without a prior study, and each prior study that it found.
prior = Table(
    "prior",
    metadata,
    Column("id", Id, primary_key=True),
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), nullable=False),
    # No foreign key: a node that is removed blocks nothing; its requests come to their end.
    Column("node", AE, nullable=False),
    Column("rule", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("modality", STATE, nullable=False),
    Column("prior_study_uid", UID, nullable=False),
    *leased(),
    UniqueConstraint("study_instance_uid", "node", "rule", "prior_study_uid"),
    Index(None, "state", "id"),
    Index(None, "prior_study_uid"),
    waiting("prior"),
    sqlite_autoincrement=True,
)
