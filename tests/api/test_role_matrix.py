"""Who may do what: every route of the pages and of the API, asked by nobody and by every role."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from api.conftest import Api
from fastapi.routing import APIRoute

from gatekeeper.api.entry import ROOT
from gatekeeper.identity.permission import ALLOWS, Permission
from storage.records import AccountRole

FOR_EVERYONE = {
    "GET /sign-in",
    "POST /sign-in",
    "POST /sign-out",
    "GET /first-start",
    "POST /first-start",
}
"""Pages that need no permission, since nobody is signed in there."""
FOR_EVERY_CALLER = {f"GET {ROOT}/me"}
"""What needs a good token or session, and no permission."""
BY_OTHER_MEANS = re.compile(r"/(dicom-web|static)(/|$)|/(health|ready|metrics)$")
"""DICOMweb and metrics have scopes of their own; assets, health and readiness are for everyone."""


def leaves(routes: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every route with its whole path, however deep it was included or mounted."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from leaves(included.routes, prefix + route.include_context.prefix)
        elif getattr(route, "routes", None):
            yield from leaves(route.routes, prefix + route.path)
        else:
            yield prefix + route.path, route


@pytest.fixture
def declared(api: Api) -> dict[str, Permission | None]:
    """Return what each route needs, by method and path; one that does not say so is an error."""
    application = api.pages.server.application
    assert application is not None
    found: dict[str, Permission | None] = {}
    for path, route in leaves(application.routes):
        if BY_OTHER_MEANS.search(path) and not path.startswith(ROOT):
            continue
        assert isinstance(route, APIRoute), f"{path} is no route that says what it needs"
        extra = route.openapi_extra or {}
        assert "x-needs" in extra, f"{path} does not say what it needs"
        needs = extra["x-needs"]
        for method in route.methods or ():
            found[f"{method} {path}"] = None if needs is None else Permission(needs)
    return found


def filled(path: str) -> str:
    """Return a path with something in place of its parameters."""
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda match: "1", path)


def test_every_route_says_what_it_needs_and_few_need_nothing(
    declared: dict[str, Permission | None],
) -> None:
    """A new route that everyone may call has to be entered here by hand."""

    free = {name for name, needs in declared.items() if needs is None}
    assert free == FOR_EVERYONE | FOR_EVERY_CALLER
    assert len([name for name in declared if ROOT in name]) > 55
    assert {needs for needs in declared.values() if needs} == set(Permission)


def test_nobody_is_led_to_the_sign_in_page_or_answered_401(
    api: Api, declared: dict[str, Permission | None]
) -> None:
    """Pages lead on, the API tells programs what they lack; both before anything is looked at."""

    browser = api.pages.of("")
    for name in sorted(declared.keys() - FOR_EVERYONE):
        method, _, path = name.partition(" ")
        answer = browser.request(method, filled(path))
        if path.startswith(ROOT):
            assert (answer.status_code, "Bearer" in answer.headers["www-authenticate"]) == (
                401,
                True,
            ), name
        else:
            there = answer.headers.get("location", "")
            assert (answer.status_code, there.startswith("/sign-in?")) == (303, True), name


@pytest.mark.parametrize("role", list(AccountRole))
def test_a_role_does_what_it_may_and_nothing_else(
    api: Api, declared: dict[str, Permission | None], role: AccountRole
) -> None:
    """403 exactly where the permission is missing; the same by a session and by a token."""

    people = {AccountRole.ADMINISTRATOR: "admin"}
    browser = api.browser(people.get(role, role.value))
    token = api.token("all-of-it", *ALLOWS[role])
    for name, needs in sorted(declared.items()):
        if needs is None:
            continue
        method, _, path = name.partition(" ")
        answer = browser.request(method, filled(path))
        refused = answer.status_code in (401, 403)
        assert refused == (needs not in ALLOWS[role]), (name, answer.status_code)
        if path.startswith(ROOT) and refused:
            told = api.pages.of("").request(
                method, filled(path), headers={"Authorization": f"Bearer {token}"}
            )
            assert told.status_code == 403, name
            assert f"'{needs}'" in told.json()["detail"]
