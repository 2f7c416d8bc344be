"""Problems: an error of the API as `application/problem+json` (RFC 9457), whoever answers it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

KIND = "application/problem+json"
ROOT = "/api/"
"""Beginning of the paths whose errors are problems."""


def body(status: int, name: str, text: str) -> dict[str, Any]:
    """Return the members of a problem.

    Args:
        status: of HTTP.
        name: the same for the same rule that was broken.
        text: that rule, in a sentence for people.
    """
    return {
        "type": f"urn:gatekeeper:problem:{name}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": text,
        "wrong": [],
    }
