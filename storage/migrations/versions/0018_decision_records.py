"""What was decided about a study is written down and signed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "decision_record",
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name="fk_decision_record_study_instance_uid",
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", "number", name="pk_decision_record"),
    )
    op.create_index("ix_decision_record_key_id", "decision_record", ["key_id"])
    op.create_table(
        "record_due",
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name="fk_record_due_study_instance_uid",
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_record_due"),
    )


def downgrade() -> None:
    op.drop_table("record_due")
    op.drop_table("decision_record")
