"""Rows that wait for a claim have an index of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = ("job", "delivery")


def upgrade() -> None:
    waits = sa.text("state = 'queued'")
    for table in TABLES:
        op.create_index(
            f"ix_{table}_waiting", table, ["id"], postgresql_where=waits, sqlite_where=waits
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_index(f"ix_{table}_waiting", table)
