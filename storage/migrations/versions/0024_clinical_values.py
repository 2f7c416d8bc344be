"""Clinical values of patients, beside the studies that they explain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "clinical_value",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("observed_at", sa.Double(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("unit", sa.String(32), nullable=False),
        sa.Column("given_value", sa.Double(), nullable=False),
        sa.Column("given_unit", sa.String(32), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("reference", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_clinical_value"),
        sa.UniqueConstraint(
            "study_instance_uid",
            "patient",
            "name",
            "observed_at",
            "value",
            "source",
            name="uq_clinical_value_said",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_clinical_value_patient", "clinical_value", ["patient"])


def downgrade() -> None:
    op.drop_table("clinical_value")
