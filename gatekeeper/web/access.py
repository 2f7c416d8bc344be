"""Who may call: bearer tokens (RFC 6750), each for one node and some scopes.

A token is 256 random bits, and only its SHA-256 is in the database, so it can neither be guessed
nor read there. It is looked up for each request: a revoked one ends at once. An address that failed
too often is answered 429 without a look at what it shows.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from gatekeeper.errors import GatekeeperError
from gatekeeper.web.throttle import Throttle
from storage import nodes, tokens
from storage.engine import Database
from storage.records import ApiToken, Node, Scope
from storage.spool import Digest

_PREFIX = "gk_"
_LONGEST = 200


class Denial(enum.Enum):
    """Why a caller may not do what it asks."""

    NO_TOKEN = (401, "a bearer token is needed")
    UNKNOWN = (401, "the token is not valid")
    SCOPE = (403, "the token does not allow this")
    NODE = (403, "the token's node may not send")
    THROTTLED = (429, "too many failed attempts")

    @property
    def status(self) -> int:
        """HTTP status to answer."""
        return self.value[0]

    @property
    def text(self) -> str:
        """What the caller is told."""
        return self.value[1]


class Denied(GatekeeperError):
    """A caller that is refused; says why, and when to come again if ever."""

    def __init__(self, denial: Denial, retry_after: float | None = None) -> None:
        super().__init__(denial.text)
        self.denial = denial
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        token: name of its token.
        node: AE title of the node that what it sends comes from; empty for one that only reads.
        address: literal IP address.
    """

    token: str
    node: str
    address: str


def new_token(name: str, scopes: tuple[Scope, ...], node: str) -> tuple[str, ApiToken]:
    """Return the text of a new token, to be shown once, and what is kept of it."""
    text = _PREFIX + secrets.token_urlsafe(32)
    return text, ApiToken(name, Digest.of(text.encode("ascii")), scopes, node)


class Access:
    """Judges callers; used from any thread.

    Args:
        database: of tokens and nodes.
        throttle: counts failures.
    """

    def __init__(self, database: Database, throttle: Throttle) -> None:
        self._database = database
        self._throttle = throttle

    def judge(self, authorization: str | None, address: str, scope: Scope) -> Caller:
        """Return who calls, if it may do what it asks.

        Args:
            authorization: the header, None without one.
            address: of the caller.
            scope: what it asks for.

        Raises:
            Denied: if it may not.
            DatabaseUnavailableError: if nobody can be judged.
        """
        token, node = self._known(authorization, address)
        if scope not in token.scopes:
            raise Denied(Denial.SCOPE)
        if scope is Scope.STOW and (node is None or not node.may_send or not node.enabled):
            raise Denied(Denial.NODE)
        return Caller(token.name, token.node, address)

    def token(self, authorization: str | None, address: str) -> ApiToken:
        """Return the token that a caller shows, whatever it may do; as `judge`.

        Raises:
            Denied: if it is none, or not valid any more.
            DatabaseUnavailableError: if that cannot be told.
        """
        return self._known(authorization, address)[0]

    def _known(self, authorization: str | None, address: str) -> tuple[ApiToken, Node | None]:
        wait = self._throttle.wait(address)
        if wait:
            raise Denied(Denial.THROTTLED, wait)
        kind, _, shown = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not shown.strip():
            raise Denied(Denial.NO_TOKEN)
        token, node = self._look_up(shown.strip()[:_LONGEST])
        if token is None or token.disabled or token.expired:
            self._throttle.failed(address)
            raise Denied(Denial.UNKNOWN)
        return token, node

    def _look_up(self, shown: str) -> tuple[ApiToken | None, Node | None]:
        digest = hashlib.sha256(shown.encode("utf-8", "replace")).hexdigest()
        with self._database.read() as tx:
            token = tokens.find(tx, digest)
            if token is None or not hmac.compare_digest(token.digest, digest):
                return None, None
            return token, nodes.get(tx, token.node) if token.node else None
