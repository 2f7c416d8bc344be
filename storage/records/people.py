"""People who sign in: accounts, and the sessions of their browsers."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class AccountRole(enum.StrEnum):
    """What an account is for; an account has one or more."""

    ADMINISTRATOR = "administrator"
    """Configures the site and looks after its queue and its accounts."""
    REVIEWER = "reviewer"
    """Decides about held studies."""
    PHYSICIST = "physicist"
    """Chooses models, thresholds and references."""
    VIEWER = "viewer"
    """Looks."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in."""

    name: str
    roles: tuple[AccountRole, ...]
    password: str = ""
    """Argon2 hash in PHC form; empty for an account that signs in elsewhere."""
    subject: str = ""
    """Issuer and subject of OpenID Connect, a blank between; empty for a local account."""
    disabled: bool = False
    created_at: float = 0.0
    signed_in_at: float | None = None


@dataclass(frozen=True, slots=True)
class WebSession:
    """A browser that is signed in; of its cookie only the SHA-256 is kept."""

    digest: str
    account: str
    address: str
    created_at: float
    seen_at: float
