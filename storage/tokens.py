"""Tokens: who may call by DICOMweb. Of a token's text only the SHA-256 is ever stored."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, case, insert, select, update

from storage.engine import facts, now
from storage.records import ApiToken, Scope
from storage.schema import api_token as table


def add(tx: Connection, token: ApiToken, days: float | None = None) -> bool:
    """Enter a token; False, and nothing written, when one of this name was ever entered.

    Args:
        tx: the open transaction.
        token: name, digest, scopes and node are used.
        days: how long it is valid; None for ever.
    """
    if tx.execute(select(table.c.name).where(table.c.name == token.name)).first() is not None:
        return False
    tx.execute(
        insert(table).values(
            name=token.name,
            digest=token.digest,
            node=str(token.node),
            scopes=[Scope(scope).value for scope in token.scopes],
            created_at=now(),
            expires_at=None if days is None else now() + days * 86400.0,
            disabled=False,
        )
    )
    return True


def revoke(tx: Connection, name: str) -> bool:
    """Disable a token for good; False when there is none of this name. The row stays, as record."""
    return tx.execute(update(table).where(table.c.name == name).values(disabled=True)).rowcount == 1


def find(tx: Connection, digest: str) -> ApiToken | None:
    """Return the token of this digest, usable or not, or None."""
    row = tx.execute(_query(table.c.digest == digest)).mappings().one_or_none()
    return None if row is None else _token(row)


def listing(tx: Connection) -> list[ApiToken]:
    """Return all tokens in the order of their names."""
    return [_token(row) for row in tx.execute(_query().order_by(table.c.name)).mappings()]


def _query(*conditions: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    expired = case((table.c.expires_at <= now(), True), else_=False)
    return select(*table.c, expired.label("expired")).where(*conditions)


def _token(row: RowMapping) -> ApiToken:
    scopes = tuple(Scope(scope) for scope in row["scopes"])
    return ApiToken(**facts(row, scopes=scopes, expired=bool(row["expired"])))
