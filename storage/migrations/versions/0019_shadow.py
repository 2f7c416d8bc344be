"""Terms that decide beside those in force, and what they would have decided."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATE = sa.String(16)


def upgrade() -> None:
    op.create_table(
        "shadow",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("candidate", sa.JSON(), nullable=False),
        sa.Column("analyses", sa.Boolean(), nullable=False),
        sa.Column("state", STATE, nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("first_job", sa.BigInteger(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Double()),
        sa.PrimaryKeyConstraint("name", name="pk_shadow"),
    )
    op.create_table(
        "shadow_outcome",
        sa.Column("id", ID, nullable=False),
        sa.Column("shadow", sa.String(64), nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("pair", sa.JSON()),
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
        sa.ForeignKeyConstraint(["shadow"], ["shadow.name"], name="fk_shadow_outcome_shadow"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_shadow_outcome_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_shadow_outcome"),
        sa.UniqueConstraint("shadow", "job_id", name="uq_shadow_outcome_shadow_job_id"),
        sqlite_autoincrement=True,
    )
    waits = sa.text("state = 'queued'")
    op.create_index("ix_shadow_outcome_state_id", "shadow_outcome", ["state", "id"])
    op.create_index(
        "ix_shadow_outcome_waiting",
        "shadow_outcome",
        ["id"],
        postgresql_where=waits,
        sqlite_where=waits,
    )


def downgrade() -> None:
    op.drop_table("shadow_outcome")
    op.drop_table("shadow")
