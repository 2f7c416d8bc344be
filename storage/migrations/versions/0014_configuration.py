"""What changes during the day is versioned; active models and policy are kept with the nodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_REFUSAL = "versions of the configuration are append-only"


def upgrade() -> None:
    op.create_table(
        "configuration_version",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("restored_from", sa.Integer()),
        sa.PrimaryKeyConstraint("number", name="pk_configuration_version"),
    )
    op.create_table(
        "active_bundle",
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("profile", name="pk_active_bundle"),
    )
    op.create_table(
        "site_policy",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_site_policy"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION configuration_version_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER configuration_version_append_only "
            "BEFORE UPDATE OR DELETE OR TRUNCATE ON configuration_version "
            "FOR EACH STATEMENT EXECUTE FUNCTION configuration_version_refuse()"
        )
        return
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER configuration_version_no_{event.lower()} "
            f"BEFORE {event} ON configuration_version "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )


def downgrade() -> None:
    op.drop_table("site_policy")
    op.drop_table("active_bundle")
    # Its triggers go with it.
    op.drop_table("configuration_version")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION configuration_version_refuse()")
