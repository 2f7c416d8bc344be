"""Configuration: its versions, what differs between them, export, import and the way back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from pydantic import Field, StringConstraints

from gatekeeper.admin.routing import Desk, NotFound, principal_of
from gatekeeper.api.changes import ETAG, Expected, tag, tag_now
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import LARGEST_NUMBER, After, Answer, Asked, Json, Limit, Reason, Why
from gatekeeper.api.paging import Page, number_of, place_after
from gatekeeper.configuration import changes, file, history
from gatekeeper.configuration.document import Document, differences
from gatekeeper.configuration.whole import Whole
from gatekeeper.errors import ConfigurationError
from gatekeeper.identity.permission import Permission
from storage import configuration_versions as versions
from storage.engine import Transaction
from storage.records import ConfigurationVersion

routes = ApiRoutes("Configuration")

VersionNumber = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]


class Version(Answer):
    """One version; times are in seconds since 1970."""

    number: int
    at: float
    who: str
    why: str
    digest: str
    restored_from: int | None


class WholeVersion(Version):
    """One version with all that it says."""

    document: dict[str, dict[str, Json]]


class Difference(Answer):
    """One thing that differs; an empty key where the whole item came or went."""

    section: str
    item: str
    key: str
    before: Any
    after: Any


class Stated(Asked):
    """A file as `export` hands it out. A section that it does not name is left as it is."""

    text: Annotated[str, StringConstraints(max_length=file.LARGEST_BYTES)]


class Looked(Answer):
    """What a file would change, and what is wrong with it."""

    version: int = Field(description="In force; for `If-Match`.")
    differences: list[Difference]
    problems: list[str]


class Said(Asked):
    """Why."""

    reason: Reason


@routes.get("/configuration/versions", Permission.VIEW, responses=ETAG)
def log(console: Desk, response: Response, limit: Limit = 50, after: After = "") -> Page[Version]:
    """List the versions, the newest first."""
    with console.database.read() as tx:
        tag(response, tx)
        found = versions.listing(tx, limit, number_of(after))
    end = place_after(found, limit, found[-1].number) if found else None
    return Page(items=[Version.model_validate(one) for one in found], next=end)


@routes.get("/configuration/versions/{number}", Permission.VIEW)
def show(console: Desk, number: VersionNumber) -> WholeVersion:
    """Tell one version with all that it says."""
    with console.database.read() as tx:
        return WholeVersion.model_validate(_version(tx, number))


@routes.get("/configuration/versions/{number}/differences", Permission.VIEW)
def diff(
    console: Desk,
    number: VersionNumber,
    against: Annotated[
        int | None,
        Query(ge=0, le=LARGEST_NUMBER, description="0 for nothing; the one before if left out."),
    ] = None,
) -> list[Difference]:
    """Tell what differs between another version and this one."""
    other = number - 1 if against is None else against
    with console.database.read() as tx:
        version = _version(tx, number)
        before: Document = _version(tx, other).document if other else {}
    return [Difference.model_validate(one) for one in differences(before, version.document)]


@routes.get(
    "/configuration/versions/{number}/export",
    Permission.VIEW,
    response_class=Response,
    responses={200: {"content": {"application/toml": {"schema": {"type": "string"}}}}},
)
def export(console: Desk, number: VersionNumber) -> Response:
    """Hand out a version as the file that `import` and `gatekeeper config import` read."""
    with console.database.read() as tx:
        version = _version(tx, number)
    text = file.heading(version) + file.written(
        version.document, Whole.of(console.settings).sections
    )
    return Response(text, media_type="application/toml")


@routes.post("/configuration/look", Permission.CONFIGURE)
def look(console: Desk, asked: Stated) -> Looked:
    """Tell what a file would change; nothing is changed."""
    version = changes.noticed(console.database, console.settings)
    wanted = _wanted(console, asked.text, version.document)
    whole = Whole.of(console.settings)
    known = whole.problems(version.document)
    return Looked(
        version=version.number,
        differences=[
            Difference.model_validate(one) for one in differences(version.document, wanted)
        ],
        problems=[one for one in whole.problems(wanted) if one not in known],
    )


@routes.post("/configuration/import", Permission.CONFIGURE, 412, responses=ETAG)
def put(
    request: Request,
    console: Desk,
    response: Response,
    asked: Stated,
    expect: Expected,
    why: Why = "",
) -> Version:
    """Have in force what a file says."""
    version = changes.noticed(console.database, console.settings)
    changes.put(
        console.database,
        _wanted(console, asked.text, version.document),
        principal_of(request).name,
        why.strip() or "import by REST",
        console.settings,
        expect=version.number if expect is None else expect,
    )
    return _after(console, response)


@routes.post("/configuration/versions/{number}/restore", Permission.CONFIGURE, 412, responses=ETAG)
def restore(
    request: Request,
    console: Desk,
    response: Response,
    number: VersionNumber,
    expect: Expected,
    why: Why = "",
) -> Version:
    """Return to a version."""
    with console.database.read() as tx:
        wanted = Whole.of(console.settings).parse(_version(tx, number).document)
    changes.put(
        console.database,
        wanted,
        principal_of(request).name,
        why.strip() or f"return to version {number}",
        console.settings,
        expect=expect,
        restored_from=number,
    )
    return _after(console, response)


@routes.post("/configuration/accept", Permission.CONFIGURE, responses=ETAG)
def accept(request: Request, console: Desk, response: Response, asked: Said) -> Version:
    """Answer for what was changed past Gatekeeper."""
    who = principal_of(request).name
    changes.accept(console.database, who, asked.reason, console.settings)
    return _after(console, response)


def _after(console: Desk, response: Response) -> Version:
    tag_now(response, console)
    return Version.model_validate(changes.noticed(console.database, console.settings))


def _version(tx: Transaction, number: int) -> ConfigurationVersion:
    try:
        return history.version(tx, number)
    except ConfigurationError as error:
        raise NotFound(str(error)) from None


def _wanted(console: Desk, text: str, running: Document) -> Document:
    stated = file.parsed(text, "the file")
    document = Whole.of(console.settings).parse(stated)
    return {name: items for name, items in running.items() if name not in stated} | document
