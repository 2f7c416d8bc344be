"""Passwords: argon2id (RFC 9106) and a rule about length; the text is never kept.

Lengths follow NIST SP 800-63B 5.1.1: a minimum, no rules of composition, and not the name itself.
"""

from __future__ import annotations

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gatekeeper.errors import GatekeeperError

LONGEST = 256
"""Characters; more is refused before it is hashed."""

_AT_ONCE = threading.BoundedSemaphore(2)
"""Each takes 64 MiB for a moment: many who guess at once are to wait, not to fill the memory."""
_WAIT_SECONDS = 20.0
_HASHER = PasswordHasher()


class PasswordRefused(GatekeeperError):
    """A password that may not be chosen; says why."""


class PasswordsBusy(GatekeeperError):
    """Too many are checked at this moment."""


def hashed(name: str, password: str, shortest: int) -> str:
    """Return the argon2id hash of a password that is chosen for an account.

    Args:
        name: of the account.
        password: as typed.
        shortest: characters that it has at least.

    Raises:
        PasswordRefused: if it is too short, too long, or the account's name.
        PasswordsBusy: if the check could not be made.
    """
    text = _normal(password)
    if len(text) < shortest:
        raise PasswordRefused(f"the password has {len(text)} characters; at least {shortest}")
    if len(text) > LONGEST:
        raise PasswordRefused(f"the password has more than {LONGEST} characters")
    if text.casefold() == name.casefold() or len(set(text)) < 4:
        raise PasswordRefused("the password is too easy to guess")
    with _Turn():
        return _HASHER.hash(text)


def agrees(kept: str, password: str) -> bool:
    """Return whether a typed password is the one that was hashed; takes as long if none was.

    Args:
        kept: the hash in PHC form; empty for an account without a password, or none at all.
        password: as typed.

    Raises:
        PasswordsBusy: if it could not be looked at.
    """
    text = _normal(password)[:LONGEST]
    with _Turn():
        try:
            return _HASHER.verify(kept or _NOBODY, text) and bool(kept)
        except (VerificationError, InvalidHashError):
            return False


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


class _Turn:
    def __enter__(self) -> None:
        if not _AT_ONCE.acquire(timeout=_WAIT_SECONDS):
            raise PasswordsBusy("too many are signing in at this moment: try again")

    def __exit__(self, *_exception: object) -> None:
        _AT_ONCE.release()


_NOBODY = _HASHER.hash("nobody's")
