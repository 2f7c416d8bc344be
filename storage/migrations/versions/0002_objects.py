"""Nodes say which kinds of result they take."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("node", sa.Column("objects", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("node", "objects")
