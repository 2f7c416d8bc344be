"""Accounts of people who sign in elsewhere: made at the first time, their roles as said there."""

from __future__ import annotations

from sqlalchemy import Connection

from gatekeeper.identity.accounts import AccountRefused, alter, enter_elsewhere, name_of
from gatekeeper.identity.oidc import Person, ProviderRefused
from gatekeeper.settings import Settings
from storage import accounts
from storage.records import Account, AccountRole

BY = "OpenID Connect"
"""Who makes such accounts and changes their roles, in the audit trail."""


def welcome(tx: Connection, settings: Settings, person: Person) -> Account:
    """Return the account of somebody who is known by a provider.

    Args:
        tx: the open transaction.
        settings: of the site.
        person: as the ID token says.

    Raises:
        ProviderRefused: if the account is disabled, or its name is somebody else's.
        AccountRefused: if the name is none.
    """
    account = accounts.of_subject(tx, person.subject)
    if account is None:
        name = name_of(person.name)
        if accounts.get(tx, name) is not None:
            raise ProviderRefused(
                f"there is an account {name} already, which is not yours by this way of signing in"
            )
        roles = person.roles or (AccountRole.VIEWER,)
        return enter_elsewhere(tx, settings, name, roles, person.subject, BY)
    if account.disabled:
        raise ProviderRefused("this account is disabled: ask whoever looks after accounts here")
    if person.roles is not None and person.roles != account.roles:
        try:
            alter(tx, settings, account.name, BY, roles=person.roles)
        except AccountRefused as error:
            raise ProviderRefused(str(error)) from None
    return accounts.of_subject(tx, person.subject) or account
