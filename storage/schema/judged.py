"""What is judged: jobs, what came of them, results; and the trials beside them."""

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
    UniqueConstraint,
)

from storage.schema.base import DIGEST, LANGUAGE, STATE, UID, Id, leased, metadata, waiting
from storage.schema.received import study

# Stages that people paused, each by the name of its table.
stage_pause = Table(
    "stage_pause",
    metadata,
    Column("stage", String(32), primary_key=True),
    Column("since", Double, nullable=False),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
)

job = Table(
    "job",
    metadata,
    Column("id", Id, primary_key=True),
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), nullable=False),
    Column("content_digest", DIGEST, nullable=False),
    Column("model_digest", DIGEST, nullable=False),
    Column("revision", Integer, nullable=False),
    *leased(),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("instructions", JSON, nullable=False, server_default="{}"),
    UniqueConstraint("study_instance_uid", "content_digest", "model_digest"),
    Index(None, "state", "id"),
    waiting("job"),
    sqlite_autoincrement=True,
)

outcome = Table(
    "outcome",
    metadata,
    Column("job_id", Id, ForeignKey(job.c.id), primary_key=True, autoincrement=False),
    Column("verdict", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("score", Double),
    Column("p_value", Double),
    Column("evidence", JSON, nullable=False),
    Column("stages", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Index(None, "verdict", "job_id"),
    # AE titles that a delivery was made for, so that the books can be balanced; NULL before 0007.
    Column("destinations", JSON(none_as_null=True)),
)

result = Table(
    "result",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("series_instance_uid", UID, nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("language", LANGUAGE, nullable=False, server_default="en"),
)

job_result = Table(
    "job_result",
    metadata,
    Column("job_id", Id, ForeignKey(job.c.id), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("sop_instance_uid", UID, ForeignKey(result.c.sop_instance_uid), nullable=False),
    UniqueConstraint("job_id", "sop_instance_uid"),
)

# No foreign key: values come before, with and after the study. A patient is a keyed hash.
clinical_value = Table(
    "clinical_value",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Double, nullable=False),
    Column("study_instance_uid", UID, nullable=False),
    Column("patient", DIGEST, nullable=False),
    Column("observed_at", Double, nullable=False),
    Column("name", String(64), nullable=False),
    Column("value", Double, nullable=False),
    Column("unit", String(32), nullable=False),
    Column("given_value", Double, nullable=False),
    Column("given_unit", String(32), nullable=False),
    Column("source", STATE, nullable=False),
    Column("reference", DIGEST, nullable=False),
    # What is said twice by one kind of source is one value.
    UniqueConstraint(
        "study_instance_uid",
        "patient",
        "name",
        "observed_at",
        "value",
        "source",
        name="uq_clinical_value_said",
    ),
    Index(None, "patient"),
    sqlite_autoincrement=True,
)

# Terms that decide beside those in force, and do nothing.
shadow = Table(
    "shadow",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("candidate", JSON, nullable=False),
    Column("analyses", Boolean, nullable=False),
    Column("state", STATE, nullable=False),
    Column("started_by", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    # The oldest job that was not at its end then: older ones are not looked at again and again.
    Column("first_job", BigInteger, nullable=False),
    Column("ended_by", Text, nullable=False),
    Column("ended_at", Double),
)

shadow_outcome = Table(
    "shadow_outcome",
    metadata,
    Column("id", Id, primary_key=True),
    Column("shadow", String(64), ForeignKey(shadow.c.name), nullable=False),
    Column("job_id", Id, ForeignKey(job.c.id), nullable=False),
    # Both decisions, for `gatekeeper shadow report`; NULL until they are made.
    Column("pair", JSON(none_as_null=True)),
    *leased(),
    UniqueConstraint("shadow", "job_id"),
    Index(None, "state", "id"),
    waiting("shadow_outcome"),
    sqlite_autoincrement=True,
)
