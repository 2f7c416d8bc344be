"""The tables. Migrations bring a database here; `tests/storage` proves that the two agree.

Times are seconds since 1970-01-01 UTC by the database's clock, as 64-bit floats. UIDs are at most
64 characters (PS3.5 section 9.1), AE titles 16 (PS3.5 section 6.2), digests 64, tags of
languages (RFC 5646) 16.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts upwards by itself only in a column declared INTEGER PRIMARY KEY.
Id = BigInteger().with_variant(Integer(), "sqlite")
UID = String(64)
AE = String(16)
DIGEST = String(64)
STATE = String(16)
LANGUAGE = String(16)


def _leased() -> list[Column[Any]]:
    """Return the columns of a table whose rows are claimed, as `storage.leases` wants them."""
    return [
        Column("state", STATE, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("attempts_before", Integer, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("updated_at", Double, nullable=False),
        Column("not_before", Double, nullable=False),
        Column("lease_until", Double),
        Column("claimed_at", Double),
        Column("finished_at", Double),
        Column("worker", Text, nullable=False),
        Column("reason", Text, nullable=False),
    ]


def _waiting(table: str) -> Index:
    """Return the index of the rows that wait for a claim, whose size no finished row adds to."""
    waits = text("state = 'queued'")
    return Index(f"ix_{table}_waiting", "id", postgresql_where=waits, sqlite_where=waits)


node = Table(
    "node",
    metadata,
    Column("ae_title", AE, primary_key=True),
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("may_send", Boolean, nullable=False),
    Column("receives_results", Boolean, nullable=False),
    Column("networks", JSON, nullable=False),
    Column("quiet_seconds", Double),
    Column("enabled", Boolean, nullable=False),
    Column("description", Text, nullable=False),
    Column("objects", JSON, nullable=False, server_default="[]"),
    Column("language", LANGUAGE, nullable=False, server_default="en"),
    Column("tls", Boolean, nullable=False, server_default=false()),
    Column("certificate", Text, nullable=False, server_default=""),
    Column("confirm", STATE, nullable=False, server_default="none"),
    Column("roles", JSON, nullable=False, server_default="[]"),
    Column("receives_studies", Boolean, nullable=False, server_default=false()),
    Column("sop_classes", JSON, nullable=False, server_default="[]"),
    Column("retrieve", STATE, nullable=False, server_default="get"),
    Column("url", Text, nullable=False, server_default=""),
)

# What a node answered to the latest C-ECHO. No foreign key: it goes with the node all the same.
echo = Table(
    "echo",
    metadata,
    Column("node", AE, primary_key=True),
    Column("at", Double, nullable=False),
    Column("answered", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
)

association = Table(
    "association",
    metadata,
    Column("id", Id, primary_key=True),
    Column("calling_ae", AE, nullable=False),
    Column("address", Text, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("closed_at", Double),
    sqlite_autoincrement=True,
)

study = Table(
    "study",
    metadata,
    Column("study_instance_uid", UID, primary_key=True),
    Column("source_ae", AE, nullable=False),
    Column("state", STATE, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("content_digest", DIGEST, nullable=False),
    Column("first_received_at", Double, nullable=False),
    Column("last_received_at", Double, nullable=False),
    Column("completed_at", Double),
    Index(None, "state"),
)

# Whole pages of a listing come from the index alone.
Index(
    "ix_study_newest",
    study.c.last_received_at.desc(),
    study.c.study_instance_uid,
    study.c.state,
    study.c.source_ae,
)

# What a person finds a study by, and how its series were acquired: `storage.study_headers`.
study_header = Table(
    "study_header",
    metadata,
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), primary_key=True),
    # Of the study, when it was read.
    Column("received_at", Double, nullable=False),
    Column("content_digest", DIGEST, nullable=False),
    Column("read_at", Double, nullable=False),
    Column("problem", Text, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("series_count", Integer, nullable=False),
    Column("patient_name", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("accession_number", Text, nullable=False),
    Column("study_date", String(8), nullable=False),
    Column("study_time", Text, nullable=False),
    Column("study_description", Text, nullable=False),
    Column("modalities", Text, nullable=False),
    Column("body_part", Text, nullable=False),
    Column("manufacturer", Text, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("station_name", Text, nullable=False),
    Column("device_serial_number", Text, nullable=False),
    Column("software_versions", Text, nullable=False),
    Column("protocol_name", Text, nullable=False),
    Column("series_description", Text, nullable=False),
    # As calibrations name it.
    Column("device", Text, nullable=False),
    # What text is looked for in: folded, and bounded so that it fits into an index.
    Column("search", Text, nullable=False),
    Column("series", JSON, nullable=False),
)

# Texts are looked for in the index alone, which is a quarter of the table.
Index(
    "ix_study_header_newest",
    study_header.c.received_at.desc(),
    study_header.c.study_instance_uid,
    study_header.c.modalities,
    study_header.c.search,
)
Index(
    "ix_study_header_device",
    study_header.c.device,
    study_header.c.received_at.desc(),
    study_header.c.study_instance_uid,
)
Index("ix_study_header_study_date", study_header.c.study_date)

# Studies whose content, or what is kept of it, changed since their headers were read.
header_due = Table(
    "header_due",
    metadata,
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), primary_key=True),
    Column("since", Double, nullable=False),
    Index(None, "since"),
)

association_study = Table(
    "association_study",
    metadata,
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), primary_key=True),
    Column("association_id", Id, ForeignKey(association.c.id), primary_key=True),
)

instance = Table(
    "instance",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sop_instance_uid", UID, nullable=False),
    Column("digest", DIGEST, nullable=False),
    Column("sop_class_uid", UID, nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("study_instance_uid", UID, nullable=False),
    Column("series_instance_uid", UID, nullable=False),
    Column("modality", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("source_ae", AE, nullable=False),
    Column("own_result", Boolean, nullable=False),
    Column("prior", Boolean, nullable=False, server_default=false()),
    Column("received_at", Double, nullable=False),
    Column("removed_at", Double),
    UniqueConstraint("sop_instance_uid", "digest"),
    Index(None, "study_instance_uid", "own_result", "series_instance_uid"),
    sqlite_autoincrement=True,
)

unsettled = Table(
    "unsettled",
    metadata,
    Column("slot", String(64), primary_key=True),
    Column("sop_instance_uid", UID, nullable=False),
    Column("digest", DIGEST, nullable=False),
    # Whether the row of the instance was made together with this one.
    Column("new", Boolean, nullable=False),
)

# Instances whose file is still to be unlinked: written with `removed_at`, gone with the file.
removal = Table(
    "removal",
    metadata,
    Column("instance_id", Id, ForeignKey(instance.c.id), primary_key=True, autoincrement=False),
)

intake_pause = Table(
    "intake_pause",
    metadata,
    Column("mark", STATE, primary_key=True),
    Column("since", Double, nullable=False),
)

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
    *_leased(),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("instructions", JSON, nullable=False, server_default="{}"),
    UniqueConstraint("study_instance_uid", "content_digest", "model_digest"),
    Index(None, "state", "id"),
    _waiting("job"),
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

delivery = Table(
    "delivery",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, ForeignKey(job.c.id)),
    # No foreign key: a node that is removed strands no delivery and blocks no settle.
    Column("node", AE, nullable=False),
    *_leased(),
    Index(None, "state", "id"),
    _waiting("delivery"),
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
    *_leased(),
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
    *_leased(),
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
    *_leased(),
    UniqueConstraint("channel", "dedup"),
    Index(None, "state", "id"),
    _waiting("notification"),
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
    *_leased(),
    UniqueConstraint("study_instance_uid", "node", "rule", "prior_study_uid"),
    Index(None, "state", "id"),
    Index(None, "prior_study_uid"),
    _waiting("prior"),
    sqlite_autoincrement=True,
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

# Who may call by DICOMweb; of the token itself only the SHA-256 is kept.
api_token = Table(
    "api_token",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("digest", DIGEST, nullable=False),
    # No foreign key: a token of a node that is removed is refused, and seen.
    Column("node", AE, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("disabled", Boolean, nullable=False),
    UniqueConstraint("digest"),
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
    *_leased(),
    UniqueConstraint("shadow", "job_id"),
    Index(None, "state", "id"),
    _waiting("shadow_outcome"),
    sqlite_autoincrement=True,
)

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

# Who may sign in to the pages.
account = Table(
    "account",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("roles", JSON, nullable=False),
    Column("password", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("signed_in_at", Double),
)

web_session = Table(
    "web_session",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("account", String(64), ForeignKey(account.c.name), nullable=False),
    Column("address", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Index(None, "account"),
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
    *_leased(),
    UniqueConstraint("dedup"),
    Index(None, "state", "id"),
    _waiting("audit_message"),
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
