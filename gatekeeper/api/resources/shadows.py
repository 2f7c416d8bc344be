"""Other terms: shadows that decide beside those in force, and backtests on past studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Path, Request
from pydantic import Field, StringConstraints

from gatekeeper.admin import calibrated, trying
from gatekeeper.admin.routing import Desk, NotFound, principal_of
from gatekeeper.admin.trying import ShadowOver, ShadowTaken
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import Answer, Asked, Line, Reason
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.permission import Permission
from storage import shadows
from storage.engine import Transaction
from storage.records import Shadow, ShadowState

if TYPE_CHECKING:
    from gatekeeper.backtest.candidate import Candidate
    from gatekeeper.backtest.comparison import Comparison

routes = ApiRoutes("Other terms")

MOST_PAIRS = 2000
"""Newest studies of a shadow that its report is about."""
_MOST_CHANGED = 200

ShadowName = Annotated[Line, Path(max_length=64)]
NewName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$", max_length=64)
]


class Terms(Asked):
    """What is to be otherwise: values of the policy by key, or a bundle that is to answer."""

    policy: dict[Line, str | int | float | bool] = Field(
        default={}, max_length=20, description="As `models.false_hold_rate`: 0.02."
    )
    model: Line = Field(default="", description="Name of a bundle; instead of values.")


class NewShadow(Terms):
    """A shadow to begin."""

    name: NewName
    reason: Reason


class Said(Asked):
    """Why."""

    reason: Reason


class ShadowLine(Answer):
    """A shadow."""

    name: str
    state: ShadowState
    candidate: dict[str, Any]
    analyses: bool = Field(description="Whether its model analyses each study anew.")
    started_by: str
    why: str
    started_at: float
    ended_by: str
    ended_at: float | None


class Counts(Answer):
    """How many studies would become what."""

    studies: int
    held_before: int
    held_after: int
    newly_held: int
    newly_passed: int
    other_verdict: int
    mcnemar: float = Field(description="Exact two-sided p-value of the change.")


class Group(Counts):
    """The same, of one device, protocol and detector."""

    device: str
    protocol: str
    detector: str


class Changed(Answer):
    """A study that would be decided otherwise."""

    study: str
    before: str
    after: str


class Report(Answer):
    """What other terms would have decided, beside what was decided."""

    candidate: str
    total: Counts
    groups: list[Group]
    changed: list[Changed] = Field(description=f"At most {_MOST_CHANGED}.")
    not_replayable: dict[str, int]
    problems: list[str]


class ShadowWhole(Answer):
    """A shadow, and what it found so far."""

    shadow: ShadowLine
    report: Report | None = Field(
        description="Null where the libraries that compare are not installed."
    )


class BacktestLine(Answer):
    """A backtest of the process that answers."""

    candidate: str
    who: str
    limit: int
    begun_at: float
    done: int
    seconds: float | None = Field(description="That it took; null while it runs.")
    problem: str
    report: Report | None


@routes.get("/shadows", Permission.VIEW)
def listing(console: Desk) -> list[ShadowLine]:
    """List the shadows, the newest first."""
    with console.database.read() as tx:
        return [ShadowLine.model_validate(one) for one in shadows.listing(tx)]


@routes.post("/shadows", Permission.JUDGE, 409, status=201)
def begin(request: Request, console: Desk, asked: NewShadow) -> ShadowLine:
    """Decide by other terms too, from now on; nothing is sent or held by it."""
    wanted = _candidate(console, asked)
    with console.database.begin() as tx:
        added = shadows.add(
            tx,
            asked.name,
            wanted.document,
            principal_of(request).name,
            asked.reason,
            analyses=wanted.models is not None,
        )
        if not added:
            raise ShadowTaken("there is or was a shadow of that name")
        return ShadowLine.model_validate(_known(tx, asked.name))


@routes.get("/shadows/{name}", Permission.VIEW)
def show(console: Desk, name: ShadowName) -> ShadowWhole:
    """Tell what a shadow would have decided, beside what was decided."""
    with console.database.read() as tx:
        one = _known(tx, name)
    try:
        calibrated.need_libraries()
    except calibrated.LibrariesMissing:
        return ShadowWhole(shadow=ShadowLine.model_validate(one), report=None)
    from gatekeeper.backtest import shadowing

    found = shadowing.report(console.database, one, MOST_PAIRS)
    return ShadowWhole(shadow=ShadowLine.model_validate(one), report=_report(found))


@routes.post("/shadows/{name}/end", Permission.JUDGE, 409, status=204)
def end(request: Request, console: Desk, name: ShadowName) -> None:
    """End a shadow; what it found is kept."""
    with console.database.begin() as tx:
        _known(tx, name)
        if not shadows.end(tx, name, principal_of(request).name, ShadowState.ENDED):
            raise ShadowOver("it does not run")


@routes.post("/shadows/{name}/activate", Permission.JUDGE, 409, status=204)
def activate(request: Request, console: Desk, name: ShadowName, asked: Said) -> None:
    """Put a shadow's terms in force, as one version of the configuration."""
    with console.database.read() as tx:
        if _known(tx, name).state is not ShadowState.RUNNING:
            raise ShadowOver("it does not run")
    calibrated.need_libraries()
    from gatekeeper.backtest import activation

    who = principal_of(request).name
    activation.activate(console.database, console.settings, name, who, asked.reason)


@routes.post("/backtests", Permission.JUDGE, 409, status=202)
def look_back(request: Request, console: Desk, asked: Terms) -> BacktestLine:
    """Begin to decide past studies by other values of the policy; nothing is changed."""
    if asked.model:
        raise GatekeeperError(
            "another model analyses every study again, which is a worker's work: "
            "`gatekeeper backtest --model`, or a shadow"
        )
    trying.begin(console, _candidate(console, asked), principal_of(request).name)
    return _latest(console)


@routes.get("/backtests/latest", Permission.VIEW, 404)
def latest(console: Desk) -> BacktestLine:
    """Tell how far the latest backtest of this process is, or what came of it."""
    return _latest(console)


def _latest(console: Desk) -> BacktestLine:
    one = console.backtests.latest
    if one is None:
        raise NotFound("no backtest was begun since this process started")
    return BacktestLine(
        candidate=one.candidate,
        who=one.who,
        limit=one.limit,
        begun_at=one.begun_at,
        done=one.done,
        seconds=one.seconds,
        problem=one.problem,
        report=None if one.found is None else _report(one.found),
    )


def _candidate(console: Desk, asked: Terms) -> Candidate:
    if bool(asked.policy) == bool(asked.model):
        raise GatekeeperError("say either values of the policy or a model")
    if asked.model:
        return trying.of_model(console, asked.model)
    return trying.of_policy(asked.policy)


def _known(tx: Transaction, name: str) -> Shadow:
    found = shadows.get(tx, name)
    if found is None:
        raise NotFound("there is no shadow of this name")
    return found


def _report(found: Comparison) -> Report:
    changed = found.changed[:_MOST_CHANGED]
    return Report(
        candidate=found.candidate,
        total=Counts.model_validate(found.total),
        groups=[
            Group(
                **Counts.model_validate(counts).model_dump(),
                device=origin.device,
                protocol=origin.protocol,
                detector=origin.detector,
            )
            for origin, counts in found.groups.items()
        ],
        changed=[
            Changed(study=one.study_instance_uid, before=one.before.reason, after=one.after.reason)
            for one in changed
        ],
        not_replayable=dict(found.not_replayable),
        problems=list(found.problems),
    )
