"""Nodes, associations, studies, instances, jobs, outcomes, results and deliveries."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UID = sa.String(64)
AE = sa.String(16)
DIGEST = sa.String(64)
STATE = sa.String(16)


def upgrade() -> None:
    op.create_table(
        "node",
        sa.Column("ae_title", AE, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("may_send", sa.Boolean(), nullable=False),
        sa.Column("receives_results", sa.Boolean(), nullable=False),
        sa.Column("networks", sa.JSON(), nullable=False),
        sa.Column("quiet_seconds", sa.Double()),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("ae_title", name="pk_node"),
    )
    op.create_table(
        "association",
        sa.Column("id", ID, nullable=False),
        sa.Column("calling_ae", AE, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_association"),
        sqlite_autoincrement=True,
    )
    _create_received()
    _create_analysed()
    _create_sent()


def downgrade() -> None:
    for table in (
        "delivery_item",
        "delivery",
        "job_result",
        "result",
        "outcome",
        "job",
        "instance",
        "association_study",
        "study",
        "association",
        "node",
    ):
        op.drop_table(table)


def _create_received() -> None:
    op.create_table(
        "study",
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("source_ae", AE, nullable=False),
        sa.Column("state", STATE, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("content_digest", DIGEST, nullable=False),
        sa.Column("first_received_at", sa.Double(), nullable=False),
        sa.Column("last_received_at", sa.Double(), nullable=False),
        sa.Column("completed_at", sa.Double()),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_study"),
    )
    op.create_index("ix_study_state", "study", ["state"])
    op.create_index("ix_study_last_received_at", "study", ["last_received_at"])
    op.create_table(
        "association_study",
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("association_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name="fk_association_study_study_instance_uid",
        ),
        sa.ForeignKeyConstraint(
            ["association_id"], ["association.id"], name="fk_association_study_association_id"
        ),
        sa.PrimaryKeyConstraint(
            "study_instance_uid", "association_id", name="pk_association_study"
        ),
    )
    op.create_table(
        "instance",
        sa.Column("id", ID, nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("transfer_syntax_uid", UID, nullable=False),
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("source_ae", AE, nullable=False),
        sa.Column("own_result", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_instance"),
        sa.UniqueConstraint(
            "sop_instance_uid", "digest", name="uq_instance_sop_instance_uid_digest"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_instance_study_instance_uid_own_result_series_instance_uid",
        "instance",
        ["study_instance_uid", "own_result", "series_instance_uid"],
    )


def _create_analysed() -> None:
    op.create_table(
        "job",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("content_digest", DIGEST, nullable=False),
        sa.Column("model_digest", DIGEST, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        *_leased(),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name="fk_job_study_instance_uid",
        ),
        sa.UniqueConstraint(
            "study_instance_uid",
            "content_digest",
            "model_digest",
            name="uq_job_study_instance_uid_content_digest_model_digest",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_job_state_id", "job", ["state", "id"])
    op.create_table(
        "outcome",
        sa.Column("job_id", ID, nullable=False, autoincrement=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("score", sa.Double()),
        sa.Column("p_value", sa.Double()),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("stages", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_outcome"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_outcome_job_id"),
    )
    op.create_table(
        "result",
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("transfer_syntax_uid", UID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", name="pk_result"),
    )
    op.create_table(
        "job_result",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_job_result"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_job_result_job_id"),
        sa.ForeignKeyConstraint(
            ["sop_instance_uid"],
            ["result.sop_instance_uid"],
            name="fk_job_result_sop_instance_uid",
        ),
        sa.UniqueConstraint(
            "job_id", "sop_instance_uid", name="uq_job_result_job_id_sop_instance_uid"
        ),
    )


def _create_sent() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", ID, nullable=False),
        sa.Column("job_id", ID),
        sa.Column("node", AE, nullable=False),
        *_leased(),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_delivery_job_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_delivery_state_id", "delivery", ["state", "id"])
    op.create_index("ix_delivery_job_id", "delivery", ["job_id"])
    op.create_table(
        "delivery_item",
        sa.Column("delivery_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("transfer_syntax_uid", UID, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("stored", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "position", name="pk_delivery_item"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name="fk_delivery_item_delivery_id"
        ),
        sa.UniqueConstraint(
            "delivery_id", "sop_instance_uid", name="uq_delivery_item_delivery_id_sop_instance_uid"
        ),
    )


def _leased() -> list[sa.Column[Any]]:
    return [
        sa.Column("state", STATE, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("attempts_before", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double()),
        sa.Column("claimed_at", sa.Double()),
        sa.Column("finished_at", sa.Double()),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    ]
