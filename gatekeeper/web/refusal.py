"""Refusal: a request that cannot be taken, with the status to answer."""

from __future__ import annotations

from gatekeeper.errors import GatekeeperError


class BadRequest(GatekeeperError):
    """A request that cannot be taken.

    Args:
        status: HTTP status to answer.
        rule: the rule that was broken.
    """

    def __init__(self, status: int, rule: str) -> None:
        super().__init__(rule)
        self.status = status
