"""Models: the bundles that are installed, which of them answers for what, and the way back."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request, Response

from gatekeeper import model_choice
from gatekeeper.admin.routing import Desk, principal_of
from gatekeeper.api.changes import ETAG, Expected, change, tag, tag_now
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import Answer, Asked, Line, Why
from gatekeeper.configuration.choice import registry
from gatekeeper.identity.permission import Permission
from storage import active_bundles
from storage.engine import Transaction

routes = ApiRoutes("Models")

Profile = Annotated[Line, Path(max_length=128, description="As `MR/BRAIN/T1`.")]


class Bundle(Answer):
    """A bundle that is installed."""

    name: str
    version: str
    detector: str
    profile: str
    digest: str
    default: bool
    weights_licence: str
    non_commercial: bool
    calibration_size: int


class Answers(Answer):
    """Which bundle answers for a profile, and whether the site chose it."""

    profile: str
    bundle: str
    version: str
    activated: bool


class Chosen(Answer):
    """What the site chose for a profile; an empty bundle where nobody is to answer."""

    profile: str
    bundle: str
    digest: str


class Models(Answer):
    """All of it."""

    bundles: list[Bundle]
    answering: list[Answers]
    chosen: list[Chosen]
    problems: list[str]


class Choice(Asked):
    """Which bundle is to answer; an empty one for nobody."""

    bundle: Line


@routes.get("/models", Permission.VIEW, responses=ETAG)
def listing(console: Desk, response: Response) -> Models:
    """List the bundles, who answers for what, and what the site chose."""
    with console.database.read() as tx:
        tag(response, tx)
        return _models(tx, console)


@routes.put("/models/active/{profile:path}", Permission.JUDGE, 412, responses=ETAG)
def choose(
    request: Request,
    console: Desk,
    response: Response,
    profile: Profile,
    asked: Choice,
    expect: Expected,
    why: Why = "",
) -> Models:
    """Have a bundle answer for a profile; studies under way are assessed anew with it."""
    key = model_choice.key_of(profile)
    with change(request, console, expect, why, f"model activate {asked.bundle} for {key}") as tx:
        model_choice.choose(tx, console.settings, key, asked.bundle)
    return _after(console, response)


@routes.delete("/models/active/{profile:path}", Permission.JUDGE, 412, responses=ETAG)
def leave(
    request: Request,
    console: Desk,
    response: Response,
    profile: Profile,
    expect: Expected,
    why: Why = "",
) -> Models:
    """Leave a profile to its default bundle again."""
    key = model_choice.key_of(profile)
    with change(request, console, expect, why, f"model default for {key}") as tx:
        model_choice.leave(tx, key)
    return _after(console, response)


@routes.post("/models/rollback", Permission.JUDGE, 412, responses=ETAG)
def roll_back(
    request: Request, console: Desk, response: Response, expect: Expected, why: Why = ""
) -> Models:
    """Undo the last change of who answers; again, to undo the one before it."""
    who = principal_of(request).name
    model_choice.roll_back(console.database, console.settings, who, why.strip(), expect)
    return _after(console, response)


def _after(console: Desk, response: Response) -> Models:
    tag_now(response, console)
    with console.database.read() as tx:
        return _models(tx, console)


def _models(tx: Transaction, console: Desk) -> Models:
    known = registry(tx, console.settings)
    bundles = [
        Bundle(
            name=one.name,
            version=one.version,
            detector=one.detector,
            profile=str(one.profile.key),
            digest=one.digest,
            default=one.default,
            weights_licence=one.weights_licence,
            non_commercial=one.non_commercial,
            calibration_size=one.calibration_size,
        )
        for one in known.bundles()
    ]
    answering = [
        Answers(
            profile=str(one.profile.key),
            bundle=one.info.name,
            version=one.info.version,
            activated=one.activated,
        )
        for one in known.answering
    ]
    chosen = [Chosen.model_validate(one) for one in active_bundles.listing(tx)]
    return Models(bundles=bundles, answering=answering, chosen=chosen, problems=known.problems())
