"""What is watched: drift of devices, and audit messages on their way to a repository."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from storage.schema.base import STATE, UID, Id, leased, metadata, waiting
from storage.schema.judged import job

# What drift looks at: `storage.drift`. One device, protocol and detector each.
drift_stream = Table(
    "drift_stream",
    metadata,
    Column("id", Id, primary_key=True),
    Column("device", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("detector", Text, nullable=False),
    # Version and calibration of the detector: with others, scores are not the same scores.
    Column("terms", Text, nullable=False),
    Column("begun_at", Double, nullable=False),
    Column("counted", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("statistics", JSON, nullable=False),
    Column("found", JSON, nullable=False),
    UniqueConstraint("device", "protocol", "detector"),
    sqlite_autoincrement=True,
)

drift_observation = Table(
    "drift_observation",
    metadata,
    Column("id", Id, primary_key=True),
    Column("stream_id", Id, ForeignKey(drift_stream.c.id), nullable=False),
    Column("job_id", Id, ForeignKey(job.c.id), nullable=False),
    Column("series_instance_uid", UID, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
    Column("score", Double, nullable=False),
    Column("p_value", Double, nullable=False),
    Column("numbers", JSON, nullable=False),
    UniqueConstraint("stream_id", "series_instance_uid"),
    Index(None, "stream_id", "number"),
    sqlite_autoincrement=True,
)

# One scanner, by its serial number or station.
drift_device = Table(
    "drift_device",
    metadata,
    Column("name", Text, primary_key=True),
    Column("device", Text, nullable=False),
    Column("station", Text, nullable=False),
    Column("serial", Text, nullable=False),
    Column("software", JSON, nullable=False),
    Column("first_lags", JSON, nullable=False),
    Column("latest_lags", JSON, nullable=False),
    Column("clock", STATE, nullable=False),
    Column("clock_since", Double),
    Column("counted", BigInteger, nullable=False),
    Column("seen_at", Double, nullable=False),
)

# Settled jobs that drift has not looked at.
drift_due = Table(
    "drift_due",
    metadata,
    Column("job_id", Id, ForeignKey(job.c.id), primary_key=True, autoincrement=False),
)

# DICOM audit messages on their way to a repository; not the trail of decisions, which is `audit`.
audit_message = Table(
    "audit_message",
    metadata,
    Column("id", Id, primary_key=True),
    Column("event", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("dedup", Text, nullable=False),
    Column("happened_at", Double, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("content", Text, nullable=False),
    *leased(),
    UniqueConstraint("dedup"),
    Index(None, "state", "id"),
    waiting("audit_message"),
    sqlite_autoincrement=True,
)

# How many messages found the outbox full.
audit_drop = Table(
    "audit_drop",
    metadata,
    Column("event", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("first_at", Double, nullable=False),
    Column("last_at", Double, nullable=False),
)

# Up to which row of a table every row has had its message.
audit_cursor = Table(
    "audit_cursor",
    metadata,
    Column("source", String(32), primary_key=True),
    Column("position", BigInteger, nullable=False),
)

# Rows beyond the cursor that have had theirs: what began earlier may end later.
audit_told = Table(
    "audit_told",
    metadata,
    Column("source", String(32), primary_key=True),
    Column("item", BigInteger, primary_key=True, autoincrement=False),
)
