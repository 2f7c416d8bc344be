"""Holds warn before they end, urgent jobs have an index, and what is decided is written for good.

The audit trail refuses UPDATE and DELETE by triggers, whoever asks.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_REFUSAL = "the audit trail is append-only"

_REFUSE = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
_KNOWN = "EXISTS (SELECT 1 FROM audit WHERE id = NEW.id OR digest = NEW.digest)"
_SQLITE = [
    f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit {_REFUSE}",
    f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit {_REFUSE}",
    # INSERT OR REPLACE deletes without the trigger of a DELETE.
    f"CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN {_KNOWN} {_REFUSE}",
]
_POSTGRESQL = [
    (
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    ),
    (
        "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
    ),
    (
        "CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    ),
]


def upgrade() -> None:
    waits = sa.text("state = 'queued'")
    op.add_column("forward", sa.Column("warned_at", sa.Double(), nullable=True))
    op.create_index(
        "ix_job_priority",
        "job",
        [sa.text("priority DESC"), "id"],
        postgresql_where=waits,
        sqlite_where=waits,
    )
    op.create_table(
        "audit",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("study", sa.String(64), nullable=False),
        sa.Column("job", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.UniqueConstraint("digest", name="uq_audit_digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_study", "audit", ["study"])
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_refuse()")
    op.drop_index("ix_job_priority", "job")
    op.drop_column("forward", "warned_at")
