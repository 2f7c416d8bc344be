"""Studies are found by patient, description and device; those from before are read in turn."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

UID = sa.String(64)
TEXTS = (
    "study_time",
    "study_description",
    "modalities",
    "body_part",
    "manufacturer",
    "model_name",
    "station_name",
    "device_serial_number",
    "software_versions",
    "protocol_name",
    "series_description",
    "device",
    "search",
)


def upgrade() -> None:
    op.create_table(
        "study_header",
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("content_digest", sa.String(64), nullable=False),
        sa.Column("read_at", sa.Double(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("series_count", sa.Integer(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("study_date", sa.String(8), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in TEXTS),
        sa.Column("series", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name="fk_study_header_study_instance_uid",
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_study_header"),
    )
    newest = sa.text("received_at DESC")
    op.create_index(
        "ix_study_header_newest",
        "study_header",
        [newest, "study_instance_uid", "modalities", "search"],
    )
    op.create_index(
        "ix_study_header_device", "study_header", ["device", newest, "study_instance_uid"]
    )
    op.create_index("ix_study_header_study_date", "study_header", ["study_date"])
    op.create_table(
        "header_due",
        sa.Column("study_instance_uid", UID, nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name="fk_header_due_study_instance_uid",
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_header_due"),
    )
    op.create_index("ix_header_due_since", "header_due", ["since"])
    # The newest first: what is due longest is read first, so older studies are due later.
    op.execute(
        "INSERT INTO header_due (study_instance_uid, since) "
        "SELECT study_instance_uid, -last_received_at FROM study WHERE revision > 0"
    )
    op.create_index("ix_outcome_verdict_job_id", "outcome", ["verdict", "job_id"])
    op.create_index(
        "ix_study_newest",
        "study",
        [sa.text("last_received_at DESC"), "study_instance_uid", "state", "source_ae"],
    )
    op.drop_index("ix_study_last_received_at", "study")


def downgrade() -> None:
    op.create_index("ix_study_last_received_at", "study", ["last_received_at"])
    op.drop_index("ix_study_newest", "study")
    op.drop_index("ix_outcome_verdict_job_id", "outcome")
    op.drop_table("header_due")
    op.drop_table("study_header")
