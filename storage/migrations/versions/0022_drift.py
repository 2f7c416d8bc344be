"""What comes from each device and protocol is compared with what came before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "drift_stream",
        sa.Column("id", ID, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.Double(), nullable=False),
        sa.Column("counted", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("statistics", sa.JSON(), nullable=False),
        sa.Column("found", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_stream"),
        sa.UniqueConstraint(
            "device", "protocol", "detector", name="uq_drift_stream_device_protocol_detector"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "drift_observation",
        sa.Column("id", ID, nullable=False),
        sa.Column("stream_id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("p_value", sa.Double(), nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["stream_id"], ["drift_stream.id"], name="fk_drift_observation_stream_id"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_drift_observation_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_drift_observation"),
        sa.UniqueConstraint(
            "stream_id",
            "series_instance_uid",
            name="uq_drift_observation_stream_id_series_instance_uid",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_drift_observation_stream_id_number", "drift_observation", ["stream_id", "number"]
    )
    op.create_table(
        "drift_device",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("software", sa.JSON(), nullable=False),
        sa.Column("first_lags", sa.JSON(), nullable=False),
        sa.Column("latest_lags", sa.JSON(), nullable=False),
        sa.Column("clock", sa.String(16), nullable=False),
        sa.Column("clock_since", sa.Double()),
        sa.Column("counted", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_drift_device"),
    )
    op.create_table(
        "drift_due",
        sa.Column("job_id", ID, nullable=False, autoincrement=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_drift_due_job_id"),
        sa.PrimaryKeyConstraint("job_id", name="pk_drift_due"),
    )
    op.execute("INSERT INTO drift_due (job_id) SELECT job_id FROM outcome")


def downgrade() -> None:
    op.drop_table("drift_due")
    op.drop_table("drift_device")
    op.drop_table("drift_observation")
    op.drop_table("drift_stream")
