"""Trials: other terms tried before they are in force: on past studies, or beside those in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Form, Request
from fastapi.responses import Response

from gatekeeper.admin import calibrated, trying
from gatekeeper.admin.calibrated import LibrariesMissing
from gatekeeper.admin.console import Console
from gatekeeper.admin.rendering import go, live, render
from gatekeeper.admin.routing import Desk, NotFound, Routes, principal_of
from gatekeeper.configuration import choice, policy
from gatekeeper.configuration.policy import RATE
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.permission import Permission
from models.errors import ModelError
from storage import shadows
from storage.records import Shadow, ShadowState

if TYPE_CHECKING:
    from gatekeeper.backtest.candidate import Candidate
    from gatekeeper.backtest.comparison import Comparison

routes = Routes()

LONGEST_NAME = 64
MOST_PAIRS = 2000
_LONGEST_WHY = 300
_CHANGED = 50
_KINDS = {
    "rate": "another false-hold rate",
    "policy": "another policy",
    "model": "another model",
}


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed to try other terms."""

    name: str = ""
    kind: str = "rate"
    rate: str = ""
    key: str = ""
    value: str = ""
    model: str = ""
    why: str = ""


def typed(
    name: Annotated[str, Form()] = "",
    kind: Annotated[str, Form()] = "rate",
    rate: Annotated[str, Form()] = "",
    key: Annotated[str, Form()] = "",
    value: Annotated[str, Form()] = "",
    model: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
) -> Typed:
    """Return what was typed."""
    return Typed(name.strip(), kind, rate.strip(), key, value.strip(), model, why.strip())


Form_ = Annotated[Typed, Depends(typed)]


@routes.get("/models/shadows", Permission.VIEW)
def listing(request: Request, console: Desk) -> Response:
    """List shadows, the newest first, with the form that begins one."""
    return _listing(request, console, Typed())


@routes.post("/models/shadows", Permission.JUDGE)
def begin(request: Request, console: Desk, form: Form_) -> Response:
    """Decide by other terms too, from now on."""
    if not form.name.isprintable() or not 0 < len(form.name) <= LONGEST_NAME or "/" in form.name:
        return _listing(request, console, form, f"a name has 1 to {LONGEST_NAME} letters, no '/'")
    if not form.why:
        return _listing(request, console, form, "say why, for who reads it later")
    try:
        wanted = _candidate(console, form)
    except (GatekeeperError, ModelError) as error:
        return _listing(request, console, form, str(error))
    with console.database.begin() as tx:
        added = shadows.add(
            tx,
            form.name,
            wanted.document,
            principal_of(request).name,
            form.why[:_LONGEST_WHY],
            analyses=wanted.models is not None,
        )
    if not added:
        return _listing(request, console, form, "there is a shadow of that name already")
    return go(
        request, f"/models/shadows/{form.name}", f"It decides from now on: {wanted.in_words}."
    )


@routes.get("/models/shadows/{name}", Permission.VIEW)
def report(request: Request, console: Desk, name: str) -> Response:
    """Show what a shadow would have decided, beside what was."""
    return _report(request, console, name)


@routes.post("/models/shadows/{name}", Permission.JUDGE)
def decide(
    request: Request,
    console: Desk,
    name: str,
    do: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
) -> Response:
    """End a shadow, or put its terms in force."""
    _known(console, name)
    who, reason = principal_of(request).name, why.strip()[:_LONGEST_WHY]
    if do == "end":
        with console.database.begin() as tx:
            ended = shadows.end(tx, name, who, ShadowState.ENDED)
        if not ended:
            return _report(request, console, name, "it does not run")
        return go(request, f"/models/shadows/{name}", "It has ended. What it found is kept.")
    if do != "activate":
        return _report(request, console, name, "nothing was chosen")
    if not reason:
        return _report(request, console, name, "say why these terms are to be in force")
    try:
        calibrated.need_libraries()
        from gatekeeper.backtest.activation import activate

        activate(console.database, console.settings, name, who, reason)
    except (GatekeeperError, ModelError) as error:
        return _report(request, console, name, str(error))
    return go(request, f"/models/shadows/{name}", "Its terms are in force, as one version.")


@routes.get("/models/backtest", Permission.VIEW)
def backtest(request: Request, console: Desk) -> Response:
    """Show the latest backtest, with the form that begins one."""
    return _backtest(request, console, Typed())


@routes.get("/models/backtest/latest", Permission.VIEW)
def backtest_again(request: Request, console: Desk) -> Response:
    """Show how far it is, or what came of it."""
    return live(request, "trial_backtest.html", **_latest(console))


@routes.post("/models/backtest", Permission.JUDGE)
def look_back(request: Request, console: Desk, form: Form_) -> Response:
    """Decide past studies by other terms; nothing is changed, sent or told."""
    if form.kind == "model":
        return _backtest(
            request,
            console,
            form,
            "another model analyses every study again, which is a worker's work: run "
            f"`gatekeeper backtest --model {form.model or 'BUNDLE'}` there, or begin a shadow",
        )
    try:
        trying.begin(console, _candidate(console, form), principal_of(request).name)
    except (GatekeeperError, ModelError) as error:
        return _backtest(request, console, form, str(error))
    return go(request, "/models/backtest")


def _candidate(console: Console, form: Typed) -> Candidate:
    """Return what was typed as a candidate.

    Raises:
        GatekeeperError, ModelError: if it is none.
    """
    if form.kind == "rate":
        return trying.of_policy({RATE: policy.read_text(form.rate)})
    if form.kind == "policy":
        return trying.of_policy({form.key: policy.read_text(form.value)})
    if form.kind != "model":
        raise GatekeeperError("nothing was chosen to try")
    return trying.of_model(console, form.model)


def _form(console: Console, form: Typed) -> dict[str, Any]:
    with console.database.read() as tx:
        bundles = [one.name for one in choice.registry(tx, console.settings).bundles()]
        rate = policy.in_force(tx, console.settings).models.false_hold_rate
    return {
        "typed": form,
        "kinds": _KINDS,
        "bundles": bundles,
        "keys": sorted(policy.OPEN),
        "rate": rate,
    }


def _listing(request: Request, console: Console, form: Typed, problem: str = "") -> Response:
    with console.database.read() as tx:
        found = shadows.listing(tx)
    return render(
        request,
        "trials.html",
        http_status=422 if problem else 200,
        shadows=[(one, in_words(one.candidate)) for one in found],
        problem=problem,
        **_form(console, form),
    )


def in_words(document: Mapping[str, Any]) -> str:
    """Return what a candidate changes, in a line; as `Candidate.in_words`, which takes scipy."""
    parts = [f"{key} = {value}" for key, value in document.get("policy", {}).items()]
    if document.get("rules") is not None:
        parts.append(f"{len(document['rules'])} rules")
    models: Mapping[str, str] = document.get("models") or {}
    parts += [f"{name or 'nobody'} for {key}" for key, name in models.items()]
    return ", ".join(parts) or "nothing"


def _known(console: Console, name: str) -> Shadow:
    with console.database.read() as tx:
        found = shadows.get(tx, name)
    if found is None:
        raise NotFound(f"there is no shadow {name[:LONGEST_NAME]!r}")
    return found


def _report(request: Request, console: Console, name: str, problem: str = "") -> Response:
    one = _known(console, name)
    found: Comparison | None = None
    missing = ""
    try:
        calibrated.need_libraries()
        from gatekeeper.backtest import shadowing

        found = shadowing.report(console.database, one, MOST_PAIRS)
    except LibrariesMissing as error:
        missing = str(error)
    return render(
        request,
        "trial_shadow.html",
        http_status=422 if problem else 200,
        one=one,
        words=in_words(one.candidate),
        problem=problem or missing,
        **_table(found),
    )


def _backtest(request: Request, console: Console, form: Typed, problem: str = "") -> Response:
    return render(
        request,
        "trials_backtest.html",
        http_status=422 if problem else 200,
        problem=problem,
        most=trying.MOST_PAST,
        **_form(console, form),
        **_latest(console),
    )


def _latest(console: Console) -> dict[str, Any]:
    latest = console.backtests.latest
    return {"run": latest, **_table(None if latest is None else latest.found)}


def _table(found: Comparison | None) -> dict[str, Any]:
    if found is None:
        return {"found": None, "columns": (), "rows": (), "changed": (), "rest": 0}
    from gatekeeper.backtest.tables import COLUMNS, comparison_rows

    changed = found.changed
    return {
        "found": found,
        "columns": COLUMNS,
        "rows": comparison_rows(found),
        "changed": changed[:_CHANGED],
        "rest": max(0, len(changed) - _CHANGED),
    }
