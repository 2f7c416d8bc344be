"""Nodes are reached by DICOMweb as well, and callers by DICOMweb have tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("node", sa.Column("url", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "api_token",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("node", sa.String(16), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_api_token"),
        sa.UniqueConstraint("digest", name="uq_api_token_digest"),
    )


def downgrade() -> None:
    op.drop_table("api_token")
    op.drop_column("node", "url")
