"""The site: who calls, how everything stands, settings and policy."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import StrictBool, StrictFloat, StrictInt

import gatekeeper
from gatekeeper import settings_shown, status
from gatekeeper.admin.routing import Desk, NotFound, principal_of
from gatekeeper.api.changes import ETAG, Expected, change, tag, tag_now
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import Answer, Asked, Line, Name, Why
from gatekeeper.configuration import policy
from gatekeeper.identity.permission import Permission
from gatekeeper.settings import describe
from storage import policies
from storage.engine import Transaction
from storage.records import AccountRole

routes = ApiRoutes("Site")

Value = StrictBool | StrictInt | StrictFloat | Line


class Caller(Answer):
    """Who calls, and what it may do."""

    name: str
    permissions: list[Permission]
    roles: list[AccountRole]
    release: str


class Status(Answer):
    """Counts of everything that waits, runs, or is stuck, and what expires."""

    instances: int
    studies: dict[str, int]
    jobs: dict[str, int]
    deliveries: dict[str, int]
    oldest_queued_seconds: float | None
    free_mib: float
    certificates: dict[str, int | None]
    confirmations: dict[str, int]
    commitments: dict[str, int]
    priors: dict[str, int]
    intake_paused: dict[str, float]
    removed: int
    forwards: dict[str, int]
    notifications: dict[str, int]
    waiting_for_space: int


class Setting(Answer):
    """A setting as this process started with it; a secret is not shown."""

    key: str
    meaning: str
    value: str
    default: str
    changed: bool
    variable: str


class PolicyKey(Answer):
    """A key of the policy: what is in force, and whether it was set over the settings."""

    key: str
    meaning: str
    choices: list[str]
    value: bool | int | float | str
    is_set: bool


class PolicyValue(Asked):
    """What a key is to be."""

    value: Value


@routes.get("/me", None)
def me(request: Request) -> Caller:
    """Tell who calls."""
    who = principal_of(request)
    return Caller(
        name=who.name,
        permissions=sorted(who.permissions),
        roles=list(who.roles),
        release=gatekeeper.__version__,
    )


@routes.get("/status", Permission.VIEW)
def standing(console: Desk) -> Status:
    """Tell how the site stands."""
    found = status.read(console.database, console.spool, console.settings.tls)
    return Status.model_validate(found)


@routes.get("/settings", Permission.VIEW)
def settings(console: Desk) -> list[Setting]:
    """List every setting of the process that answers."""
    sections = settings_shown.shown(console.settings)
    return [Setting.model_validate(one) for rows in sections.values() for one in rows]


@routes.get("/policy", Permission.VIEW, responses=ETAG)
def list_policy(console: Desk, response: Response) -> list[PolicyKey]:
    """List the keys of the policy; one of a single profile only where it is set."""
    with console.database.read() as tx:
        tag(response, tx)
        return _all(tx, console)


@routes.put("/policy/{key:path}", Permission.CONFIGURE, 412, responses=ETAG)
def put(
    request: Request,
    console: Desk,
    response: Response,
    key: Name,
    asked: PolicyValue,
    expect: Expected,
    why: Why = "",
) -> PolicyKey:
    """Set a key over the settings, from the next study on and in every process."""
    usable = policy.checked(key, asked.value)
    with change(request, console, expect, why, f"policy set {key} {usable}") as tx:
        policies.save(tx, key, usable)
    tag_now(response, console)
    with console.database.read() as tx:
        return next(one for one in _all(tx, console) if one.key == key)


@routes.delete("/policy/{key:path}", Permission.CONFIGURE, 412, status=204)
def remove(request: Request, console: Desk, key: Name, expect: Expected, why: Why = "") -> None:
    """Leave a key to the settings again."""
    with change(request, console, expect, why, f"policy unset {key}") as tx:
        if key not in policies.values(tx):
            raise NotFound("this key is not set")
        policies.remove(tx, key)


def _all(tx: Transaction, console: Desk) -> list[PolicyKey]:
    given = policies.values(tx)
    found = policy.in_force(tx, console.settings)
    rows = policy.open_rows()
    keys = [
        PolicyKey(
            key=key,
            meaning=describe(row),
            choices=[str(one) for one in row.choices],
            value=getattr(getattr(found, row.section), row.name),
            is_set=key in given,
        )
        for key, row in rows.items()
    ]
    meaning = describe(rows[policy.RATE])
    return keys + [
        PolicyKey(
            key=f"{policy.RATES}.{profile}", meaning=meaning, choices=[], value=rate, is_set=True
        )
        for profile, rate in sorted(policy.rates(tx).items())
    ]
