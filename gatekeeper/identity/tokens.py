"""Tokens as people make and revoke them: for the command line, the pages and the API alike.

Each works in its caller's transaction. The text of a token is returned once and kept nowhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from sqlalchemy import Connection

from gatekeeper.atna.alerts import AccessChanged
from gatekeeper.atna.outbox import record
from gatekeeper.errors import GatekeeperError
from gatekeeper.identifiers import AeTitle
from gatekeeper.settings import Settings
from gatekeeper.web.access import new_token
from storage import audit as trail
from storage import nodes, tokens
from storage.records import Scope

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,55}")
"""With `token ` before it, as long as a reviewer's name may be."""


class TokenRefused(GatekeeperError):
    """A token that may not be made or revoked; says why."""


def make(
    tx: Connection,
    settings: Settings,
    name: str,
    scopes: Sequence[Scope],
    by: str,
    node: str = "",
    days: float | None = None,
) -> str:
    """Make a token and return its text, to be shown once.

    Args:
        tx: the open transaction.
        settings: of the site.
        name: for people and the log; never used again.
        scopes: what it may do, one or more.
        by: who makes it.
        node: AE title of the node that what it sends is from; for `Scope.STOW` and it alone.
        days: until it expires; None for never.

    Raises:
        TokenRefused, IdentifierError: saying why not.
    """
    if not _NAME.fullmatch(name):
        raise TokenRefused(
            "a token's name has up to 56 letters, digits, '.', '_' and '-', and begins with a "
            "letter or a digit"
        )
    chosen = tuple(scope for scope in Scope if scope in set(scopes))
    if not chosen:
        raise TokenRefused("a token may do at least one thing")
    if (Scope.STOW in chosen) != bool(node):
        raise TokenRefused("a token that sends by STOW, and no other, is of a node")
    ae_title = AeTitle.parse(node) if node else ""
    known = nodes.get(tx, ae_title) if ae_title else None
    if ae_title and (known is None or not known.may_send):
        raise TokenRefused(f"node {ae_title} is not known or does not send")
    text, token = new_token(name, chosen, ae_title)
    if not tokens.add(tx, token, days):
        raise TokenRefused(f"there is or was a token {name}; names are used once")
    may = [one.value for one in chosen]
    trail.append(tx, by, "token", detail={"token": name, "may": may})
    record(tx, settings, _changed(by, name, f"may {', '.join(may)}"))
    return text


def revoke(tx: Connection, settings: Settings, name: str, by: str) -> None:
    """Revoke a token, from the next request on and for good.

    Raises:
        TokenRefused: if there is none of this name.
    """
    if not tokens.revoke(tx, name):
        raise TokenRefused(f"there is no token {name}")
    trail.append(tx, by, "token", detail={"token": name, "revoked": True})
    record(tx, settings, _changed(by, name, "revoked"))


def _changed(by: str, name: str, what: str) -> AccessChanged:
    return AccessChanged(by, "", name, what, roles=True, at=time.time())
