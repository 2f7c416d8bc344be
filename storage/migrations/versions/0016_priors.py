"""Prior studies: what was asked for, what was found, and which instances came as part of one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column(
        "instance", sa.Column("prior", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_table(
        "prior",
        sa.Column("id", _ID, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("node", sa.String(16), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("modality", sa.String(16), nullable=False),
        sa.Column("prior_study_uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
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
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_prior_study_instance_uid"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_prior"),
        sa.UniqueConstraint(
            "study_instance_uid",
            "node",
            "rule",
            "prior_study_uid",
            name="uq_prior_study_instance_uid_node_rule_prior_study_uid",
        ),
        sqlite_autoincrement=True,
    )
    waits = sa.text("state = 'queued'")
    op.create_index("ix_prior_state_id", "prior", ["state", "id"])
    op.create_index("ix_prior_prior_study_uid", "prior", ["prior_study_uid"])
    op.create_index("ix_prior_waiting", "prior", ["id"], postgresql_where=waits, sqlite_where=waits)


def downgrade() -> None:
    op.drop_table("prior")
    op.drop_column("instance", "prior")
