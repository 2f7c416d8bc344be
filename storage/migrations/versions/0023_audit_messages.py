"""Audit messages wait in an outbox, and what could not be kept is counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATE = sa.String(16)


def upgrade() -> None:
    op.create_table(
        "audit_message",
        sa.Column("id", ID, nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("dedup", sa.Text(), nullable=False),
        sa.Column("happened_at", sa.Double(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
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
        sa.PrimaryKeyConstraint("id", name="pk_audit_message"),
        sa.UniqueConstraint("dedup", name="uq_audit_message_dedup"),
        sqlite_autoincrement=True,
    )
    waits = sa.text("state = 'queued'")
    op.create_index("ix_audit_message_state_id", "audit_message", ["state", "id"])
    op.create_index(
        "ix_audit_message_waiting",
        "audit_message",
        ["id"],
        postgresql_where=waits,
        sqlite_where=waits,
    )
    op.create_table(
        "audit_drop",
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("event", name="pk_audit_drop"),
    )
    op.create_table(
        "audit_cursor",
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", name="pk_audit_cursor"),
    )
    op.create_table(
        "audit_told",
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("item", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("source", "item", name="pk_audit_told"),
    )


def downgrade() -> None:
    op.drop_table("audit_told")
    op.drop_table("audit_cursor")
    op.drop_table("audit_drop")
    op.drop_table("audit_message")
