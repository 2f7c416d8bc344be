"""Accounts: who may sign in, and the sessions of their browsers.

A session is good while its account is enabled and it is neither idle nor old; all of it is looked
up in one query for each request, so that what is withdrawn ends at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    delete,
    func,
    insert,
    select,
    update,
)

from storage.engine import facts, now
from storage.records import Account, AccountRole, WebSession
from storage.schema import account as table
from storage.schema import web_session

SEEN_SECONDS = 60.0
"""How often at most it is written down that a session is used."""


def add(tx: Connection, account: Account) -> bool:
    """Enter an account; False, and nothing written, when there is one of this name."""
    if get(tx, account.name) is not None:
        return False
    tx.execute(
        insert(table).values(
            name=account.name,
            roles=_values(account.roles),
            password=account.password,
            subject=account.subject,
            disabled=account.disabled,
            created_at=now(),
        )
    )
    return True


def change(
    tx: Connection,
    name: str,
    *,
    roles: Sequence[AccountRole] | None = None,
    password: str | None = None,
    disabled: bool | None = None,
) -> bool:
    """Change what is given of an account; False when there is none of this name.

    With a new password, or disabled, its sessions end.
    """
    given: dict[str, Any] = {"password": password, "disabled": disabled}
    values = {key: value for key, value in given.items() if value is not None}
    if roles is not None:
        values["roles"] = _values(roles)
    if not values:
        return get(tx, name) is not None
    if password is not None or disabled:
        sign_out_everywhere(tx, name)
    return tx.execute(update(table).where(table.c.name == name).values(**values)).rowcount == 1


def get(tx: Connection, name: str) -> Account | None:
    """Return the account of this name, or None."""
    return _one(tx, table.c.name == name)


def of_subject(tx: Connection, subject: str) -> Account | None:
    """Return the account that signs in elsewhere under this subject, or None."""
    return _one(tx, table.c.subject == subject)


def listing(tx: Connection) -> list[Account]:
    """Return all accounts in the order of their names."""
    return [_account(row) for row in tx.execute(_query().order_by(table.c.name)).mappings()]


def count(tx: Connection) -> int:
    """Return how many accounts there are."""
    return tx.execute(select(func.count()).select_from(table)).scalar_one()


def sign_in(tx: Connection, name: str, digest: str, address: str) -> None:
    """Begin a session.

    Args:
        tx: the open transaction.
        name: of the account.
        digest: SHA-256 of the text that its cookie holds.
        address: literal IP address of the browser.
    """
    tx.execute(
        insert(web_session).values(
            digest=digest, account=name, address=address, created_at=now(), seen_at=now()
        )
    )
    tx.execute(update(table).where(table.c.name == name).values(signed_in_at=now()))


def signed_in(
    tx: Connection, digest: str, idle_seconds: float, longest_seconds: float
) -> tuple[Account, WebSession, bool] | None:
    """Return the account of a session, the session, and whether it is to be marked as seen.

    Args:
        tx: the open transaction.
        digest: SHA-256 of the text of its cookie.
        idle_seconds: time without a request after which a session is over.
        longest_seconds: time after which any session is over.
    """
    query = (
        select(
            *table.c,
            web_session.c.digest,
            web_session.c.account,
            web_session.c.address,
            web_session.c.created_at.label("began_at"),
            web_session.c.seen_at,
            (web_session.c.seen_at < now() - SEEN_SECONDS).label("stale"),
        )
        .join(table, table.c.name == web_session.c.account)
        .where(
            web_session.c.digest == digest,
            table.c.disabled.is_(False),
            web_session.c.seen_at > now() - idle_seconds,
            web_session.c.created_at > now() - longest_seconds,
        )
    )
    row = tx.execute(query).mappings().one_or_none()
    if row is None:
        return None
    session = WebSession(
        row["digest"], row["account"], row["address"], row["began_at"], row["seen_at"]
    )
    found = {column.name: row[column.name] for column in table.c}
    return _account(found), session, bool(row["stale"])


def seen(tx: Connection, digest: str) -> None:
    """Write down that a session is used."""
    tx.execute(update(web_session).where(web_session.c.digest == digest).values(seen_at=now()))


def sign_out(tx: Connection, digest: str) -> None:
    """End a session."""
    tx.execute(delete(web_session).where(web_session.c.digest == digest))


def sign_out_everywhere(tx: Connection, name: str) -> None:
    """End all sessions of an account."""
    tx.execute(delete(web_session).where(web_session.c.account == name))


def sessions(tx: Connection, name: str) -> list[WebSession]:
    """Return the sessions of an account that were not ended, the latest used first."""
    query = select(web_session).where(web_session.c.account == name)
    rows = tx.execute(query.order_by(web_session.c.seen_at.desc())).mappings()
    return [WebSession(**row) for row in rows]


def sweep(tx: Connection, idle_seconds: float, longest_seconds: float) -> int:
    """Remove the sessions that are over, and return how many."""
    over = (web_session.c.seen_at <= now() - idle_seconds) | (
        web_session.c.created_at <= now() - longest_seconds
    )
    return tx.execute(delete(web_session).where(over)).rowcount


def _one(tx: Connection, condition: ColumnElement[bool]) -> Account | None:
    row = tx.execute(_query(condition)).mappings().one_or_none()
    return None if row is None else _account(row)


def _query(*conditions: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return select(*table.c).where(*conditions)


def _values(roles: Sequence[AccountRole]) -> list[str]:
    return [AccountRole(role).value for role in roles]


def _account(row: RowMapping | dict[str, Any]) -> Account:
    roles = tuple(AccountRole(role) for role in row["roles"])
    return Account(**facts(row, roles=roles, disabled=bool(row["disabled"])))
