"""What was decided, by whom and by which configuration."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from storage.schema.base import DIGEST, UID, Id, metadata
from storage.schema.judged import job
from storage.schema.received import study

# Append-only, by triggers of the migration: what was in force when is never rewritten.
configuration_version = Table(
    "configuration_version",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("document", JSON, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("restored_from", Integer),
)

active_bundle = Table(
    "active_bundle",
    metadata,
    Column("profile", Text, primary_key=True),
    # Empty where no bundle is to answer.
    Column("bundle", Text, nullable=False),
    Column("digest", DIGEST, nullable=False),
)

site_policy = Table(
    "site_policy",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSON, nullable=False),
)

# Only ever added to: `storage.decision_records`.
decision_record = Table(
    "decision_record",
    metadata,
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("made_at", Double, nullable=False),
    Column("payload", Text, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("key_id", DIGEST, nullable=False),
    Column("signature", Text, nullable=False),
    Index(None, "key_id"),
)

# Studies that something was decided about since their latest record.
record_due = Table(
    "record_due",
    metadata,
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), primary_key=True),
    Column("since", Double, nullable=False),
)

rule = Table(
    "rule",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("document", JSON, nullable=False),
    Column("updated_at", Double, nullable=False),
)

Index(
    "ix_job_priority",
    job.c.priority.desc(),
    job.c.id,
    postgresql_where=text("state = 'queued'"),
    sqlite_where=text("state = 'queued'"),
)

# Append-only: triggers of the migration refuse every change of what was written.
audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("study", UID, nullable=False),
    # No foreign keys: what was done outlives what it was done to.
    Column("job", BigInteger),
    Column("detail", JSON, nullable=False),
    Column("previous", DIGEST, nullable=False),
    Column("digest", DIGEST, nullable=False, unique=True),
    Index(None, "study"),
    sqlite_autoincrement=True,
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Double, nullable=False),
    Column("job_id", Id, ForeignKey(job.c.id), nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("agrees", Boolean, nullable=False),
    Column("remark", Text, nullable=False),
    Index(None, "job_id"),
    sqlite_autoincrement=True,
)
