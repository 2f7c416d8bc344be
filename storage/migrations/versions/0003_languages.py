"""Nodes say in which language they take results, and results in which they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("node", "result"):
        op.add_column(
            table, sa.Column("language", sa.String(16), nullable=False, server_default="en")
        )


def downgrade() -> None:
    for table in ("result", "node"):
        op.drop_column(table, "language")
