"""What is received: associations, studies, instances, and what holds intake up."""

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
    false,
)

from storage.schema.base import AE, DIGEST, STATE, UID, Id, metadata

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
