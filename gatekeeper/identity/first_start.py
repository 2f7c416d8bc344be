"""First start: the first account, made by whoever can read the log; there is no default password.

While there is no account, the web role writes a one-time code to its log. It is good in this
process, until the first account is there.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence

from sqlalchemy import Connection

from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.accounts import make
from gatekeeper.web.throttle import Throttle
from storage import accounts
from storage.engine import Database
from storage.records import Account, AccountRole

_LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
_GROUPS, _OF = 4, 4
"""16 letters of 30: 78 bits."""


class CodeRefused(GatekeeperError):
    """A code that is not the one in the log, or that is not good any more."""


class FirstStart:
    """The one-time code of one process.

    Args:
        database: of the accounts.
        failures: wrong codes of one address, after which it is to wait.
        seconds: for so long.
    """

    def __init__(self, database: Database, failures: int, seconds: float) -> None:
        self._database = database
        self._throttle = Throttle(failures, seconds)
        groups = ["".join(secrets.choice(_LETTERS) for _ in range(_OF)) for _ in range(_GROUPS)]
        self.code = "-".join(groups)
        self._over = False

    def needed(self) -> bool:
        """Return whether there is no account yet."""
        if not self._over:
            with self._database.read() as tx:
                self._over = accounts.count(tx) > 0
        return not self._over

    def check(self, code: str, address: str) -> None:
        """Look at a code.

        Raises:
            CodeRefused: if it is not the one in the log.
        """
        if self._throttle.wait(address):
            raise CodeRefused("too many wrong codes: wait a while")
        typed = "".join(letter for letter in code.upper() if letter.isalnum())
        if not hmac.compare_digest(typed.encode(), self.code.replace("-", "").encode()):
            self._throttle.failed(address)
            raise CodeRefused("this is not the code that the log shows")

    def make(
        self, tx: Connection, name: str, password: str, shortest: int, roles: Sequence[AccountRole]
    ) -> Account:
        """Make the first account, an administrator's.

        Args:
            tx: the open transaction.
            name: as typed.
            password: as typed.
            shortest: characters that a password has at least.
            roles: what it is beside administrator.

        Raises:
            CodeRefused: if there is an account by now.
            AccountRefused, PasswordRefused: saying why not.
        """
        made = make(
            tx, name, (AccountRole.ADMINISTRATOR, *roles), password, "first start", shortest
        )
        # After the insert, so that of two at once the later one sees the earlier one's.
        if accounts.count(tx) != 1:
            raise CodeRefused("the first account has been made already: sign in")
        return made
