"""Who may come in: accounts, their sessions, and tokens of programs."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from storage.schema.base import AE, DIGEST, metadata

# Who may call by DICOMweb; of the token itself only the SHA-256 is kept.
api_token = Table(
    "api_token",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("digest", DIGEST, nullable=False),
    # No foreign key: a token of a node that is removed is refused, and seen.
    Column("node", AE, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("disabled", Boolean, nullable=False),
    UniqueConstraint("digest"),
)

# Who may sign in to the pages.
account = Table(
    "account",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("roles", JSON, nullable=False),
    Column("password", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("signed_in_at", Double),
)

web_session = Table(
    "web_session",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("account", String(64), ForeignKey(account.c.name), nullable=False),
    Column("address", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Index(None, "account"),
)
