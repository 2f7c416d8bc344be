"""Signing in: a password against its hash, a session for a cookie, and who a cookie is.

The cookie's text is 256 random bits, of which only the SHA-256 is kept. Guessing is slowed down for
an address and for a name alike; who is slowed down is told so, and nobody is told which of the two
was wrong.
"""

from __future__ import annotations

import secrets

from gatekeeper.errors import GatekeeperError
from gatekeeper.identity import passwords
from gatekeeper.identity.accounts import AccountRefused, name_of
from gatekeeper.identity.permission import Principal, permissions_of
from gatekeeper.settings import AccountSettings
from gatekeeper.web.throttle import Throttle
from storage import accounts
from storage.engine import Database
from storage.records import Account
from storage.spool import Digest

_LONGEST_COOKIE = 100


class SignInRefused(GatekeeperError):
    """A name and a password that do not go together, or too many tries.

    Args:
        text: what the person is told.
        retry_after: seconds until another try is looked at; None when it is now.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class SignOn:
    """Sessions of one site; used from any thread.

    Args:
        database: of accounts and sessions.
        settings: how long sessions last.
    """

    def __init__(self, database: Database, settings: AccountSettings) -> None:
        self._database = database
        self._settings = settings
        seconds = settings.failure_seconds
        self._addresses = Throttle(settings.failures, seconds)
        self._names = Throttle(settings.failures, seconds)

    def sign_in(self, name: str, password: str, address: str) -> str:
        """Return the text of a new session's cookie.

        Args:
            name: as typed.
            password: as typed.
            address: literal IP address of the browser.

        Raises:
            SignInRefused: if they do not go together, the account is disabled, or too many were
                tried.
            PasswordsBusy: if it could not be looked at.
            DatabaseUnavailableError: if nobody can sign in now.
        """
        return self.begin(self.confirm(name, password, address), address)

    def confirm(self, name: str, password: str, address: str) -> Account:
        """Return the account that a name and a password are of; raises as `sign_in` does."""
        try:
            known = name_of(name)
        except AccountRefused:
            # No account has such a name; it is looked at all the same, and takes as long.
            known = ""
        self._let(known, address)
        with self._database.read() as tx:
            account = accounts.get(tx, known)
        kept = "" if account is None else account.password
        if not passwords.agrees(kept, password) or account is None or account.disabled:
            self._addresses.failed(address)
            self._names.failed(known)
            raise SignInRefused("the name or the password is wrong")
        return account

    def begin(self, account: Account, address: str) -> str:
        """Return the text of a new session's cookie for somebody whose identity is shown."""
        text = secrets.token_urlsafe(32)
        with self._database.begin() as tx:
            accounts.sweep(tx, *self._limits)
            accounts.sign_in(tx, account.name, _digest(text), address)
        return text

    def who(self, cookie: str | None) -> Principal | None:
        """Return who a cookie is, or None when nobody is signed in by it.

        Raises:
            DatabaseUnavailableError: if it cannot be told.
        """
        if not cookie or len(cookie) > _LONGEST_COOKIE:
            return None
        digest = _digest(cookie)
        with self._database.read() as tx:
            found = accounts.signed_in(tx, digest, *self._limits)
        if found is None:
            return None
        account, session, stale = found
        if stale:
            with self._database.begin() as tx:
                accounts.seen(tx, session.digest)
        return Principal(account.name, permissions_of(account.roles), account.roles, session.digest)

    def sign_out(self, session: str) -> None:
        """End the session of this digest."""
        with self._database.begin() as tx:
            accounts.sign_out(tx, session)

    @property
    def longest_seconds(self) -> float:
        """How long a session lasts at most, in seconds."""
        return self._limits[1]

    @property
    def _limits(self) -> tuple[float, float]:
        return 60.0 * self._settings.idle_minutes, 3600.0 * self._settings.session_hours

    def _let(self, name: str, address: str) -> None:
        wait = max(self._addresses.wait(address), self._names.wait(name))
        if wait:
            raise SignInRefused(f"too many failed attempts: try again in {int(wait) + 1} s", wait)


def _digest(text: str) -> str:
    return str(Digest.of(text.encode("utf-8", "replace")))
