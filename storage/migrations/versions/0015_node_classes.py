"""Nodes have allowed SOP classes, a way to retrieve from, and the answer to their latest echo."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("node", sa.Column("sop_classes", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column(
        "node", sa.Column("retrieve", sa.String(16), nullable=False, server_default="get")
    )
    op.add_column(
        "delivery_item",
        sa.Column("left_out", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "echo",
        sa.Column("node", sa.String(16), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", name="pk_echo"),
    )


def downgrade() -> None:
    op.drop_table("echo")
    op.drop_column("delivery_item", "left_out")
    op.drop_column("node", "retrieve")
    op.drop_column("node", "sop_classes")
