"""Accounts as people make and change them: for the command line, the pages and the API alike.

Each works in its caller's transaction and either does the whole or raises. The last administrator
who can sign in is never taken away.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from sqlalchemy import Connection

from gatekeeper.atna.alerts import AccessChanged
from gatekeeper.atna.outbox import record
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity import passwords
from gatekeeper.settings import Settings
from storage import accounts
from storage import audit as trail
from storage.records import Account, AccountRole

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


class AccountRefused(GatekeeperError):
    """An account that may not be made or changed so; says why."""


def name_of(text: str) -> str:
    """Return the name of an account: no difference is made between capitals and small letters.

    Raises:
        AccountRefused: if it is none.
    """
    name = text.strip().casefold()
    if not _NAME.fullmatch(name):
        raise AccountRefused(
            "an account's name has up to 64 letters, digits, '.', '_', '-', '+' and '@', and "
            "begins with a letter or a digit"
        )
    return name


def make(
    tx: Connection,
    name: str,
    roles: Sequence[AccountRole],
    password: str,
    by: str,
    shortest: int,
) -> Account:
    """Make a local account.

    Args:
        tx: the open transaction.
        name: as typed.
        roles: one or more.
        password: as typed.
        by: who makes it.
        shortest: characters that a password has at least.

    Raises:
        AccountRefused, PasswordRefused: saying why not.
    """
    known = name_of(name)
    account = Account(known, _roles(roles), passwords.hashed(known, password, shortest))
    if not accounts.add(tx, account):
        raise AccountRefused(f"there is an account {known} already")
    trail.append(tx, by, "account", detail={"account": known, "roles": list(account.roles)})
    return account


def change(
    tx: Connection,
    name: str,
    by: str,
    *,
    roles: Sequence[AccountRole] | None = None,
    password: str | None = None,
    disabled: bool | None = None,
    shortest: int = 0,
) -> None:
    """Change an account; its sessions end when its password changes or it is disabled.

    Raises:
        AccountRefused, PasswordRefused: saying why not.
    """
    before = accounts.get(tx, name)
    if before is None:
        raise AccountRefused(f"there is no account {name}")
    if password is not None and before.subject:
        raise AccountRefused(f"{name} signs in elsewhere and has no password here")
    chosen = None if roles is None else _roles(roles)
    kept = None if password is None else passwords.hashed(name, password, shortest)
    accounts.change(tx, name, roles=chosen, password=kept, disabled=disabled)
    if not any(_rules(account) for account in accounts.listing(tx)):
        raise AccountRefused("nobody would be left who is an administrator and may sign in")
    detail = {
        "account": name,
        "roles": None if chosen is None else list(chosen),
        "password": None if kept is None else "changed",
        "disabled": disabled,
    }
    known = {key: value for key, value in detail.items() if value is not None}
    trail.append(tx, by, "account", detail=known)


def enter(
    tx: Connection,
    settings: Settings,
    name: str,
    roles: Sequence[AccountRole],
    password: str,
    by: str,
) -> Account:
    """Make a local account as `make` does, and have the audit repository told."""
    made = make(tx, name, roles, password, by, settings.accounts.password_characters)
    _tell(tx, settings, by, made.name, f"made: {', '.join(made.roles)}", roles=True)
    return made


def alter(
    tx: Connection,
    settings: Settings,
    name: str,
    by: str,
    *,
    roles: Sequence[AccountRole] | None = None,
    password: str | None = None,
    disabled: bool | None = None,
) -> None:
    """Change an account as `change` does, and have the audit repository told."""
    shortest = settings.accounts.password_characters
    change(tx, name, by, roles=roles, password=password, disabled=disabled, shortest=shortest)
    if roles is not None:
        _tell(tx, settings, by, name, f"is now: {', '.join(roles)}", roles=True)
    if disabled is not None:
        _tell(tx, settings, by, name, "disabled" if disabled else "enabled", roles=True)
    if password is not None:
        _tell(tx, settings, by, name, "has a new password", roles=False)


def _tell(
    tx: Connection, settings: Settings, by: str, name: str, what: str, *, roles: bool
) -> None:
    record(tx, settings, AccessChanged(by, "", name, what, roles=roles, at=time.time()))


def _rules(account: Account) -> bool:
    return AccountRole.ADMINISTRATOR in account.roles and not account.disabled


def _roles(roles: Sequence[AccountRole]) -> tuple[AccountRole, ...]:
    chosen = tuple(role for role in AccountRole if role in set(roles))
    if not chosen:
        raise AccountRefused("an account has at least one role")
    return chosen
