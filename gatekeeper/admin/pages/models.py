"""Models: which bundle answers for which profile, its card, and choosing another or going back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Form, Request
from fastapi.responses import Response

from gatekeeper.admin.console import Console
from gatekeeper.admin.rendering import go, render
from gatekeeper.admin.routing import Desk, NotFound, Routes, principal_of
from gatekeeper.configuration import choice, choosing, history, models
from gatekeeper.configuration.changes import changing
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.permission import Permission
from models.activation import ProfileKey
from models.errors import ModelError
from models.registry import BundleInfo, Registry

routes = Routes()

_LONGEST_WHY = 300
_DEEPEST = 4
_MOST_FIGURES = 40


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A profile with the bundles that are made for it.

    Attributes:
        key: its name.
        answers: name of the bundle that answers; empty for none.
        activated: whether the site chose that; otherwise it is the default.
        missing: name of a bundle that was chosen and is not installed; empty for none.
        bundles: that fit it, the one that answers first.
    """

    key: str
    answers: str
    activated: bool
    missing: str
    bundles: Sequence[BundleInfo]


@routes.get("/models", Permission.VIEW)
def listing(request: Request, console: Desk) -> Response:
    """List the profiles, who answers for each, and who else could."""
    return _listing(request, console)


@routes.get("/models/history", Permission.VIEW)
def choices(request: Request, console: Desk) -> Response:
    """List every change of who answers, the newest first."""
    with console.database.read() as tx:
        found = history.changes_of(tx, models.NAME)
    changed = list(choosing.over_time(found[::-1]))[::-1]
    rows = [(one, choosing.in_words(one.before), choosing.in_words(one.after)) for one in changed]
    return render(request, "models_history.html", rows=rows)


@routes.post("/models/rollback", Permission.JUDGE)
def rollback(request: Request, console: Desk, why: Annotated[str, Form()] = "") -> Response:
    """Undo the last change of who answers."""
    if not why.strip():
        return _listing(request, console, "say why the choice goes back", 422)
    try:
        keys = choosing.go_back(
            console.database,
            console.settings,
            principal_of(request).name,
            why.strip()[:_LONGEST_WHY],
        )
    except (GatekeeperError, ModelError) as error:
        return _listing(request, console, str(error), 422, why)
    registry = _registry(console)
    said = " ".join(_who_answers(registry, key) for key in keys)
    return go(request, "/models", said)


@routes.get("/models/{bundle}", Permission.VIEW)
def card(request: Request, console: Desk, bundle: str) -> Response:
    """Show a bundle: its card, what was measured, and what the site's latest series say of it."""
    return _card(request, console, bundle)


@routes.post("/models/{bundle}/activate", Permission.JUDGE)
def activate(
    request: Request,
    console: Desk,
    bundle: str,
    profile: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
) -> Response:
    """Have a bundle answer for a profile, in place of the one that does now."""
    typed = {"profile": profile, "why": why}
    if not why.strip():
        return _card(request, console, bundle, "say why it is to answer", typed)
    _info(_registry(console), bundle)
    try:
        info, key = choosing.wanted(_registry(console), bundle, profile.strip() or None)
        with changing(
            console.database,
            principal_of(request).name,
            why.strip()[:_LONGEST_WHY],
            console.settings,
        ) as tx:
            choosing.choose(tx, info, key)
    except (GatekeeperError, ModelError) as error:
        return _card(request, console, bundle, str(error), typed)
    return go(request, f"/models/{info.name}", _who_answers(_registry(console), key))


def _listing(
    request: Request, console: Console, problem: str = "", http_status: int = 200, why: str = ""
) -> Response:
    with console.database.read() as tx:
        chosen = choice.chosen(tx, console.settings)
    registry = Registry(console.settings.models.directories, chosen)
    return render(
        request,
        "models.html",
        http_status=http_status,
        profiles=profiles_of(registry, chosen),
        unknown=chosen is None,
        problem=problem,
        why=why,
    )


def profiles_of(registry: Registry, chosen: choice.Choice | None) -> list[ProfileRow]:
    """Return every profile that a bundle answers for, is chosen for or is made for, by name."""
    answering = {str(one.profile.key): one for one in registry.answering}
    named = {str(key): name for key, name in (chosen or {}).items()}
    bundles = registry.bundles()
    keys = {*answering, *named, *(str(info.profile.key) for info in bundles)}
    rows: list[ProfileRow] = []
    for key in sorted(keys):
        one = answering.get(key)
        profile = ProfileKey.parse(key)
        fitting = [info for info in bundles if info.profile.narrowed(profile) is not None]
        answers = "" if one is None else one.info.name
        rows.append(
            ProfileRow(
                key=key,
                answers=answers,
                activated=key in named,
                missing="" if one is not None else named.get(key, ""),
                bundles=sorted(fitting, key=lambda info: (info.name != answers, info.name)),
            )
        )
    return rows


def _card(
    request: Request,
    console: Console,
    bundle: str,
    problem: str = "",
    typed: Mapping[str, str] | None = None,
) -> Response:
    registry = _registry(console)
    info = _info(registry, bundle)
    answers = [one for one in registry.answering if one.info.name == info.name]
    return render(
        request,
        "model.html",
        http_status=422 if problem else 200,
        info=info,
        manifest=info.manifest,
        answers=answers,
        measured=[
            (name, figures_of(found)) for name, found in sorted(_mapping(info, "metrics").items())
        ],
        data=sorted(_mapping(info, "data").items()),
        problem=problem,
        typed=typed or {"profile": str(info.profile.key), "why": ""},
    )


def figures_of(measured: Any) -> list[tuple[str, str]]:
    """Return the figures of an evaluation as a manifest keeps it: names, and values as text.

    An estimate with its interval is one figure; those of floors, sites and conditions are left to
    `gatekeeper model show --json`.
    """
    found: list[tuple[str, str]] = []
    _collect(measured, "", 0, found)
    return found[:_MOST_FIGURES]


def _collect(value: Any, name: str, depth: int, found: list[tuple[str, str]]) -> None:
    if isinstance(value, Mapping):
        own: Mapping[str, Any] = value
        if "value" in own:
            found.append((name, _estimate(own)))
            return
        for key, inner in own.items():
            if depth < _DEEPEST and key not in {"floors", "sites", "conditions"}:
                _collect(inner, f"{name}, {key}" if name else key, depth + 1, found)
    elif isinstance(value, bool) or value is None or isinstance(value, list):
        return
    elif isinstance(value, int | float):
        found.append((name.replace("_", " "), f"{value:.4g}"))
    elif isinstance(value, str) and value:
        found.append((name.replace("_", " "), value))


def _estimate(one: Mapping[str, Any]) -> str:
    value, low, high = one.get("value"), one.get("low"), one.get("high")
    if not isinstance(value, int | float):
        return "–"
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return f"{value:.3g} (no interval)"
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def _registry(console: Console) -> Registry:
    with console.database.read() as tx:
        return choice.registry(tx, console.settings)


def _info(registry: Registry, name: str) -> BundleInfo:
    try:
        return registry.get(name)
    except ModelError:
        raise NotFound(f"bundle {name[:64]!r} is not installed here") from None


def _mapping(info: BundleInfo, name: str) -> Mapping[str, Any]:
    found = info.manifest.get(name)
    return found if isinstance(found, dict) else {}


def _who_answers(registry: Registry, key: ProfileKey) -> str:
    info = registry.match(key.modality, key.body_part, key.sequence)
    if info is None:
        return f"No bundle answers for {key}: such series are not assessed."
    return (
        f"{info.name} {info.version} answers for {key}. Studies under way are assessed anew with "
        "it; those that are done keep their results."
    )
