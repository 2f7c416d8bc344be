"""Received files whose names in the spool are not yet certain to survive a power cut."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unsettled",
        sa.Column("slot", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("new", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("slot", name="pk_unsettled"),
    )


def downgrade() -> None:
    op.drop_table("unsettled")
