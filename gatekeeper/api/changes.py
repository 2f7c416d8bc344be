"""Changes of the configuration by REST: who, why, and at which version, by ETag (RFC 9110 8.8.3).

What is of the configuration is answered with the number of its version as ETag; a change that
states it in `If-Match` is carried out only if nobody changed anything since.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from gatekeeper.admin.console import Console
from gatekeeper.admin.routing import principal_of
from gatekeeper.configuration.changes import changing
from storage import configuration_versions as versions
from storage.engine import Transaction

ETAG: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "ETag": {
                "description": "Version of the configuration, for `If-Match`.",
                "schema": {"type": "string"},
            }
        }
    }
}
"""What OpenAPI says of an answer that `tag` was called for."""


def _expected(
    if_match: Annotated[
        str | None,
        Header(
            pattern=r'^(\*|"[0-9]{1,9}")$',
            description="ETag of what is to be changed; left out or `*` for whichever it is.",
        ),
    ] = None,
) -> int | None:
    return None if if_match in (None, "*") else int(if_match.strip('"'))


Expected = Annotated[int | None, Depends(_expected)]
"""Number of the version that a change is made for; None for whichever is in force."""


def tag(response: Response, tx: Transaction) -> None:
    """Put the version of the configuration in an answer."""
    response.headers["ETag"] = f'"{versions.latest_number(tx)}"'


def tag_now(response: Response, console: Console) -> None:
    """Put it there after a change."""
    with console.database.read() as tx:
        tag(response, tx)


def change(
    request: Request, console: Console, expect: int | None, why: str, otherwise: str
) -> AbstractContextManager[Transaction]:
    """Return a transaction that changes the configuration; raises as `changing` does.

    Args:
        request: of whoever changes it.
        console: of the site.
        expect: version that the change is made for.
        why: as given.
        otherwise: the reason when none was given.
    """
    who = principal_of(request).name
    return changing(
        console.database, who, why.strip() or otherwise, console.settings, expect=expect
    )
