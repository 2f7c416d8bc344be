"""Storage commitment both ways, nodes that confirm, retention, pauses of intake."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UID = sa.String(64)
AE = sa.String(16)
STATE = sa.String(16)


def upgrade() -> None:
    op.add_column("node", sa.Column("confirm", STATE, nullable=False, server_default="none"))
    op.add_column("instance", sa.Column("removed_at", sa.Double()))
    op.create_index("ix_delivery_item_sop_instance_uid", "delivery_item", ["sop_instance_uid"])
    op.create_table(
        "removal",
        sa.Column("instance_id", ID, nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("instance_id", name="pk_removal"),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name="fk_removal_instance_id"),
    )
    op.create_table(
        "intake_pause",
        sa.Column("mark", STATE, nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("mark", name="pk_intake_pause"),
    )
    _create_commitments()
    _create_confirmations()


def downgrade() -> None:
    for table in (
        "confirmation_request",
        "confirmation",
        "commitment_item",
        "commitment",
        "intake_pause",
        "removal",
    ):
        op.drop_table(table)
    op.drop_index("ix_delivery_item_sop_instance_uid", "delivery_item")
    op.drop_column("instance", "removed_at")
    op.drop_column("node", "confirm")


def _create_commitments() -> None:
    op.create_table(
        "commitment",
        sa.Column("id", ID, nullable=False),
        sa.Column("node", AE, nullable=False),
        sa.Column("transaction_uid", UID, nullable=False),
        sa.Column("decided_at", sa.Double()),
        *_leased(),
        sa.PrimaryKeyConstraint("id", name="pk_commitment"),
        sa.UniqueConstraint("node", "transaction_uid", name="uq_commitment_node_transaction_uid"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_commitment_state_id", "commitment", ["state", "id"])
    op.create_table(
        "commitment_item",
        sa.Column("commitment_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("sop_class_uid", UID, nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("failure", sa.Integer()),
        sa.PrimaryKeyConstraint("commitment_id", "position", name="pk_commitment_item"),
        sa.ForeignKeyConstraint(
            ["commitment_id"], ["commitment.id"], name="fk_commitment_item_commitment_id"
        ),
    )
    op.create_index("ix_commitment_item_sop_instance_uid", "commitment_item", ["sop_instance_uid"])


def _create_confirmations() -> None:
    op.create_table(
        "confirmation",
        sa.Column("id", ID, nullable=False, autoincrement=False),
        sa.Column("node", AE, nullable=False),
        sa.Column("resends", sa.Integer(), nullable=False),
        *_leased(),
        sa.PrimaryKeyConstraint("id", name="pk_confirmation"),
        sa.ForeignKeyConstraint(["id"], ["delivery.id"], name="fk_confirmation_id"),
    )
    op.create_index("ix_confirmation_state_id", "confirmation", ["state", "id"])
    op.create_table(
        "confirmation_request",
        sa.Column("transaction_uid", UID, nullable=False),
        sa.Column("confirmation_id", ID, nullable=False),
        sa.Column("resends", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("transaction_uid", name="pk_confirmation_request"),
        sa.ForeignKeyConstraint(
            ["confirmation_id"],
            ["confirmation.id"],
            name="fk_confirmation_request_confirmation_id",
        ),
    )
    op.create_index(
        "ix_confirmation_request_confirmation_id", "confirmation_request", ["confirmation_id"]
    )


def _leased() -> list[sa.Column[Any]]:
    return [
        sa.Column("state", STATE, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("attempts_before", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double()),
        sa.Column("claimed_at", sa.Double()),
        sa.Column("finished_at", sa.Double()),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    ]
