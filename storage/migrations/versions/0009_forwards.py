"""Nodes have roles, jobs priority and instructions, and studies are forwarded to nodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("node", sa.Column("roles", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column(
        "node",
        sa.Column("receives_studies", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("job", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("instructions", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "forward",
        sa.Column("id", _ID, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("content_digest", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("node", sa.String(16), nullable=False),
        sa.Column("gated", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("held_at", sa.Double(), nullable=True),
        sa.Column("hold_until", sa.Double()),
        sa.Column("decided_at", sa.Double()),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("delivery_id", _ID),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name="fk_forward_study_instance_uid",
        ),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name="fk_forward_delivery_id"),
        sa.PrimaryKeyConstraint("id", name="pk_forward"),
        sa.UniqueConstraint(
            "study_instance_uid",
            "content_digest",
            "node",
            name="uq_forward_study_instance_uid_content_digest_node",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_forward_state_id", "forward", ["state", "id"])


def downgrade() -> None:
    op.drop_table("forward")
    op.drop_column("job", "instructions")
    op.drop_column("job", "priority")
    op.drop_column("node", "receives_studies")
    op.drop_column("node", "roles")
