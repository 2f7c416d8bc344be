"""Nodes: whom we talk to, by which AE title, and what they last answered."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Double, Integer, Table, Text, false

from storage.schema.base import AE, LANGUAGE, STATE, metadata

node = Table(
    "node",
    metadata,
    Column("ae_title", AE, primary_key=True),
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("may_send", Boolean, nullable=False),
    Column("receives_results", Boolean, nullable=False),
    Column("networks", JSON, nullable=False),
    Column("quiet_seconds", Double),
    Column("enabled", Boolean, nullable=False),
    Column("description", Text, nullable=False),
    Column("objects", JSON, nullable=False, server_default="[]"),
    Column("language", LANGUAGE, nullable=False, server_default="en"),
    Column("tls", Boolean, nullable=False, server_default=false()),
    Column("certificate", Text, nullable=False, server_default=""),
    Column("confirm", STATE, nullable=False, server_default="none"),
    Column("roles", JSON, nullable=False, server_default="[]"),
    Column("receives_studies", Boolean, nullable=False, server_default=false()),
    Column("sop_classes", JSON, nullable=False, server_default="[]"),
    Column("retrieve", STATE, nullable=False, server_default="get"),
    Column("url", Text, nullable=False, server_default=""),
)

# What a node answered to the latest C-ECHO. No foreign key: it goes with the node all the same.
echo = Table(
    "echo",
    metadata,
    Column("node", AE, primary_key=True),
    Column("at", Double, nullable=False),
    Column("answered", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
)
