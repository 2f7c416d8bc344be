"""Channels that are told what happens, and the outbox of what each is told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATE = sa.String(16)


def upgrade() -> None:
    op.create_table(
        "channel",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("kind", STATE, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("details", STATE, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_channel"),
    )
    op.create_table(
        "notification",
        sa.Column("id", ID, nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("dedup", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.String(36), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("digest_id", ID),
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
        sa.PrimaryKeyConstraint("id", name="pk_notification"),
        sa.ForeignKeyConstraint(
            ["digest_id"], ["notification.id"], name="fk_notification_digest_id"
        ),
        sa.UniqueConstraint("channel", "dedup", name="uq_notification_channel_dedup"),
        sqlite_autoincrement=True,
    )
    waits = sa.text("state = 'queued'")
    op.create_index("ix_notification_state_id", "notification", ["state", "id"])
    op.create_index(
        "ix_notification_waiting",
        "notification",
        ["id"],
        postgresql_where=waits,
        sqlite_where=waits,
    )
    op.create_index(
        "ix_notification_channel_finished_at", "notification", ["channel", "finished_at"]
    )
    op.create_index("ix_notification_digest_id", "notification", ["digest_id"])


def downgrade() -> None:
    op.drop_table("notification")
    op.drop_table("channel")
