"""Permissions: what a page or a call of the API needs, and which roles have it.

A route names the one permission that it needs; nothing else decides. An account with several roles
may do what any of them may.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage.records import AccountRole


class Permission(enum.StrEnum):
    """What somebody may do."""

    VIEW = "view"
    """See studies, the queue, nodes, rules, models and how the site stands."""
    REVIEW = "review"
    """Release and reject held studies, and say whether a verdict was right."""
    OPERATE = "operate"
    """Restart, pause and test: nothing that changes the configuration."""
    CONFIGURE = "configure"
    """Change nodes, rules, policy, channels and whole versions."""
    JUDGE = "judge"
    """Choose models, calibrations, shadows and reference windows."""
    AUDIT = "audit"
    """Read who did what."""
    ACCOUNTS = "accounts"
    """Make and change accounts and tokens."""


ALLOWS: Mapping[AccountRole, frozenset[Permission]] = {
    AccountRole.VIEWER: frozenset({Permission.VIEW}),
    AccountRole.REVIEWER: frozenset({Permission.VIEW, Permission.REVIEW}),
    AccountRole.PHYSICIST: frozenset({Permission.VIEW, Permission.JUDGE, Permission.AUDIT}),
    AccountRole.ADMINISTRATOR: frozenset(
        {
            Permission.VIEW,
            Permission.OPERATE,
            Permission.CONFIGURE,
            Permission.AUDIT,
            Permission.ACCOUNTS,
        }
    ),
}
"""Deciding about a patient's study, or about a model, is not an administrator's: separate duties;
one person of a small site has several roles."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        name: of the account or the token, as audit lines and versions name it.
        permissions: what it may do.
        session: digest of the browser's session; empty for a token.
    """

    name: str
    permissions: frozenset[Permission]
    roles: tuple[AccountRole, ...] = ()
    session: str = ""

    def may(self, permission: Permission) -> bool:
        """Return whether this is allowed."""
        return permission in self.permissions


def permissions_of(roles: Iterable[AccountRole]) -> frozenset[Permission]:
    """Return what these roles may do together."""
    return frozenset[Permission]().union(*(ALLOWS[role] for role in roles))
