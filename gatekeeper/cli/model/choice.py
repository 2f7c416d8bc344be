"""`gatekeeper model activate`, `deactivate`, `rollback` and `history`: which bundle answers."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from gatekeeper.cli.model.common import BundleName, model_errors, registry_of, site_folder
from gatekeeper.cli.output import console, emit_rows, fail
from gatekeeper.cli.site import AsJson
from models import activation
from models.activation import NOBODY, Change, ProfileKey
from models.registry import Registry

ForProfile = Annotated[
    str | None,
    typer.Option(help="profile as MODALITY/BODYPART/SEQUENCE; the bundle's own when left out"),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(activate)
    app.command()(deactivate)
    app.command()(rollback)
    app.command()(history)


def activate(context: typer.Context, name: BundleName, for_profile: ForProfile = None) -> None:
    """Have a bundle answer for its profile, in place of the one that does now."""
    folder = site_folder(context)
    with model_errors():
        info = registry_of(context).get(name)
        key = info.profile.key if for_profile is None else ProfileKey.parse(for_profile)
        if info.profile.narrowed(key) is None:
            fail(f"{name} is made for {info.profile.key}, not for {key}")
        with activation.locked(folder):
            choice = activation.read(folder)
            changed = choice.changed("activate", key, name, info.version, info.digest)
            activation.write(folder, changed)
    if info.non_commercial:
        console.print(f"Its weights are not for commercial use: {escape(info.weights_licence)}")
    _say_who_answers(registry_of(context), key)


def deactivate(context: typer.Context, name: BundleName, for_profile: ForProfile = None) -> None:
    """Have a bundle answer no longer: the default does, or nobody when it was the default."""
    folder = site_folder(context)
    with model_errors():
        registry = registry_of(context)
        wanted = None if for_profile is None else ProfileKey.parse(for_profile)
        answering = [
            one
            for one in registry.answering
            if one.info.name == name and wanted in (None, one.profile.key)
        ]
        missing = [] if answering else _chosen_but_missing(context, name)
        if not answering and not missing:
            fail(f"{name} does not answer for any profile")
        keys = [one.profile.key for one in answering] or missing
        with activation.locked(folder):
            choice = activation.read(folder)
            for key in keys:
                is_default = any(one.profile.key == key and one.info.default for one in answering)
                choice = choice.changed("deactivate", key, NOBODY if is_default else None)
            activation.write(folder, choice)
    registry = registry_of(context)
    for key in keys:
        _say_who_answers(registry, key)


def _chosen_but_missing(context: typer.Context, name: str) -> list[ProfileKey]:
    """Return the profiles for which a bundle is activated that is not installed any more."""
    active = activation.read(site_folder(context)).active
    return [key for key in sorted(active, key=str) if active[key] == name]


def rollback(context: typer.Context) -> None:
    """Undo the last change of who answers; again, to undo the one before it."""
    folder = site_folder(context)
    with model_errors():
        with activation.locked(folder):
            choice = activation.read(folder).rolled_back()
            activation.write(folder, choice)
        registry = registry_of(context)
        _say_who_answers(registry, ProfileKey.parse(choice.history[-1].profile))


def history(context: typer.Context, as_json: AsJson = False) -> None:
    """List every change of who answers, oldest first."""
    with model_errors():
        changes = activation.read(site_folder(context)).history
    emit_rows(
        "Changes",
        changes,
        {
            "at": lambda change: change.at,
            "who": lambda change: escape(change.who),
            "action": lambda change: change.action,
            "profile": lambda change: escape(change.profile),
            "before": lambda change: escape(_chosen(change.before)),
            "after": lambda change: escape(_described(change)),
        },
        as_json=as_json,
        empty="Nothing was ever chosen: the defaults answer.",
    )


def _described(change: Change) -> str:
    return " ".join((_chosen(change.after), change.version, change.digest[:12])).strip()


def _chosen(name: str | None) -> str:
    if name is None:
        return "(default)"
    return "(nobody)" if name == NOBODY else name


def _say_who_answers(registry: Registry, key: ProfileKey) -> None:
    info = registry.match(key.modality, key.body_part, key.sequence)
    if info is None:
        console.print(f"No bundle answers for {key}: such series are not assessed.")
    else:
        console.print(
            f"{info.name} {info.version} answers for {key}. Studies under way are assessed anew "
            "with it; those that are done keep their results."
        )
