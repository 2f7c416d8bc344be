"""Nodes say whether they are reached by TLS alone, and by which certificate."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("node", sa.Column("tls", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("node", sa.Column("certificate", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("node", "certificate")
    op.drop_column("node", "tls")
