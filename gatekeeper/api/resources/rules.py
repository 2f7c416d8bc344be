"""Rules: what is done with which study, in the order in which they are asked."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import Field

from gatekeeper.admin.routing import Desk, NotFound
from gatekeeper.api.changes import ETAG, Expected, change, tag, tag_now
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import LARGEST_NUMBER, Answer, Asked, Json, Line, Name, Number, Why
from gatekeeper.configuration.fields import text
from gatekeeper.errors import ConfigurationError
from gatekeeper.identity.permission import Permission
from gatekeeper.rules import words
from gatekeeper.rules.book import Book, parse_book, save, surroundings, switch
from gatekeeper.rules.document import parse_rule
from storage import rules as stored
from storage.engine import Transaction
from storage.records import RuleRow

routes = ApiRoutes("Rules")

_LONGEST = 200
"""Members of a list of a rule; `gatekeeper.rules` allows fewer."""


class RuleFields(Asked):
    """A rule as its document is written; see `gatekeeper rule show --json`."""

    when: Annotated[list[str | Json], Field(max_length=_LONGEST, default_factory=list)]
    """Tests such as `Modality is MR`, and groups such as `{"any": [...]}`."""
    then: Annotated[list[Json], Field(max_length=_LONGEST, default_factory=list)]
    """Actions such as `{"forward": "AI"}`."""
    stop: bool = False
    enabled: bool = True
    description: Line = ""


class RuleAnswer(Answer):
    """A rule as it is stored, and in words."""

    name: str
    position: int = Field(description="1 for the one that is asked first.")
    enabled: bool
    document: Json
    updated_at: float
    when: str
    then: str
    problem: str = Field(description="Why it is not asked, if this version cannot read it.")


class To(Asked):
    """Where a rule is moved to."""

    position: Number


@routes.get("/rules", Permission.VIEW, responses=ETAG)
def listing(console: Desk, response: Response) -> list[RuleAnswer]:
    """List the rules in the order in which they are asked."""
    with console.database.read() as tx:
        tag(response, tx)
        return _all(tx)


@routes.get("/rules/{name:path}", Permission.VIEW, responses=ETAG)
def show(console: Desk, response: Response, name: Name) -> RuleAnswer:
    """Tell one rule."""
    with console.database.read() as tx:
        tag(response, tx)
        return _one(tx, name)


@routes.put("/rules/{name:path}", Permission.CONFIGURE, 412, responses=ETAG)
def put(
    request: Request,
    console: Desk,
    response: Response,
    name: Name,
    asked: RuleFields,
    expect: Expected,
    why: Why = "",
) -> RuleAnswer:
    """Add a rule at the end, or replace the one of this name where it stands."""
    given: Json = asked.model_dump()
    _keepable(f"rules.{name[:32]}", given)
    rule = parse_rule({**given, "name": name})
    with change(request, console, expect, why, f"rule put {name}") as tx:
        save(tx, rule, surroundings(tx, console.settings))
    return _after(console, response, name)


@routes.delete("/rules/{name:path}", Permission.CONFIGURE, 412, status=204)
def remove(request: Request, console: Desk, name: Name, expect: Expected, why: Why = "") -> None:
    """Remove a rule."""
    with change(request, console, expect, why, f"rule remove {name}") as tx:
        _known(tx, name)
        stored.remove(tx, name)


@routes.post("/rules/{name:path}/move", Permission.CONFIGURE, 412, responses=ETAG)
def move(
    request: Request,
    console: Desk,
    response: Response,
    name: Name,
    asked: To,
    expect: Expected,
    why: Why = "",
) -> RuleAnswer:
    """Ask a rule earlier or later; all are numbered anew."""
    with change(request, console, expect, why, f"rule move {name} {asked.position}") as tx:
        _known(tx, name)
        stored.move(tx, name, asked.position)
    return _after(console, response, name)


@routes.post("/rules/{name:path}/enable", Permission.CONFIGURE, 412, responses=ETAG)
def enable(
    request: Request,
    console: Desk,
    response: Response,
    name: Name,
    expect: Expected,
    why: Why = "",
) -> RuleAnswer:
    """Have a rule asked again; refused when it names what is no longer there."""
    with change(request, console, expect, why, f"rule enable {name}") as tx:
        _known(tx, name)
        switch(tx, name, enabled=True, around=surroundings(tx, console.settings))
    return _after(console, response, name)


@routes.post("/rules/{name:path}/disable", Permission.CONFIGURE, 412, responses=ETAG)
def disable(
    request: Request,
    console: Desk,
    response: Response,
    name: Name,
    expect: Expected,
    why: Why = "",
) -> RuleAnswer:
    """Ask a rule no longer; it stays."""
    with change(request, console, expect, why, f"rule disable {name}") as tx:
        _known(tx, name)
        stored.enable(tx, name, enabled=False)
    return _after(console, response, name)


def _known(tx: Transaction, name: str) -> None:
    if stored.get(tx, name) is None:
        raise NotFound("no rule of this name is known")


def _after(console: Desk, response: Response, name: str) -> RuleAnswer:
    tag_now(response, console)
    with console.database.read() as tx:
        return _one(tx, name)


def _one(tx: Transaction, name: str) -> RuleAnswer:
    found = next((one for one in _all(tx) if one.name == name), None)
    if found is None:
        raise NotFound("no rule of this name is known")
    return found


def _all(tx: Transaction) -> list[RuleAnswer]:
    rows = stored.listing(tx)
    book = parse_book(rows)
    return [_told(row, place, book) for place, row in enumerate(rows, start=1)]


def _told(row: RuleRow, place: int, book: Book) -> RuleAnswer:
    rule = next((one for one in book.rules if one.name == row.name), None)
    problem = book.problems.get(row.name, "")
    return RuleAnswer(
        name=row.name,
        position=place,
        enabled=row.enabled,
        document=row.document,
        updated_at=row.updated_at,
        when=words.when(rule, problem),
        then=words.then(rule),
        problem=problem,
    )


def _keepable(path: str, value: Any) -> None:
    """Refuse a text within a document that no database can keep, and numbers that no JSON has."""
    if isinstance(value, dict):
        found: dict[str, Any] = value
        for key, one in found.items():
            text(path, key)
            _keepable(path, one)
    elif isinstance(value, list):
        for one in value:
            _keepable(path, one)
    elif isinstance(value, str):
        text(path, value)
    elif isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise ConfigurationError(path, "a number is too large")
