"""Settings: what each process started with, and the policy, which changes during the day."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import Form, Request
from fastapi.responses import Response

from gatekeeper import settings_shown
from gatekeeper.admin.console import Console
from gatekeeper.admin.rendering import go, render
from gatekeeper.admin.routing import Desk, Routes, principal_of
from gatekeeper.configuration import policy
from gatekeeper.configuration.changes import changing
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.permission import Permission
from gatekeeper.settings import describe, section_class
from storage import policies

routes = Routes()


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyRow:
    """A key of the policy as its form shows it."""

    key: str
    meaning: str
    value: str
    choices: tuple[str, ...]
    is_set: bool
    of_file: str


@routes.get("/settings", Permission.VIEW)
def settings(request: Request, console: Desk) -> Response:
    """Show every setting and the policy."""
    return _page(request, console)


@routes.post("/settings/policy", Permission.CONFIGURE)
def set_policy(
    request: Request,
    console: Desk,
    key: Annotated[str, Form()] = "",
    value: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
    do: Annotated[str, Form()] = "set",
) -> Response:
    """Set a key of the policy, or leave it to the settings again."""
    who = principal_of(request).name
    try:
        if do == "unset":
            with changing(
                console.database, who, why or f"policy unset {key}", console.settings
            ) as tx:
                policies.remove(tx, key)
            return go(request, "/settings", f"{key} is left to the settings file again.")
        usable = policy.checked(key, policy.read_text(value))
        reason = why or f"policy set {key} {value}"
        with changing(console.database, who, reason, console.settings) as tx:
            policies.save(tx, key, usable)
    except GatekeeperError as error:
        return _page(request, console, 422, str(error), key, value)
    return go(request, "/settings", f"{key} is {usable} from now on, in every process.")


def _page(
    request: Request,
    console: Console,
    http_status: int = 200,
    problem: str = "",
    key: str = "",
    typed: str = "",
) -> Response:
    with console.database.read() as tx:
        given = policies.values(tx)
        rates = policy.rates(tx)
        found = policy.in_force(tx, console.settings)
    rows = [
        PolicyRow(
            one,
            describe(row),
            typed if one == key and problem else _plain(_value(found, one)),
            row.choices,
            one in given,
            _plain(_value(console.settings, one)),
        )
        for one, row in policy.open_rows().items()
    ]
    sections = settings_shown.shown(console.settings)
    return render(
        request,
        "settings.html",
        http_status=http_status,
        problem=problem,
        policy=rows,
        rates=[(f"{policy.RATES}.{profile}", rate) for profile, rate in sorted(rates.items())],
        rates_key=policy.RATES,
        sections={name: (section_class(name).__doc__, found) for name, found in sections.items()},
    )


def _value(settings: Any, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
