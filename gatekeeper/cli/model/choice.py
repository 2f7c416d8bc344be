"""`gatekeeper model activate`, `deactivate`, `rollback` and `history`: which bundle answers."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from gatekeeper.cli.changes import By, Why, configuring, operating_user
from gatekeeper.cli.model.common import BundleName, model_errors, registry_of
from gatekeeper.cli.output import console, emit_rows, fail, moment, short
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.configuration import choosing
from gatekeeper.configuration import history as versions
from gatekeeper.configuration.choosing import ChoiceError
from gatekeeper.configuration.models import NAME as MODELS
from models.activation import NOBODY, ProfileKey
from models.registry import Registry
from storage import active_bundles
from storage.records import ActiveBundle

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


def activate(
    context: typer.Context,
    name: BundleName,
    for_profile: ForProfile = None,
    by: By = "",
    why: Why = "",
) -> None:
    """Have a bundle answer for its profile, in place of the one that does now."""
    with model_errors():
        info, key = choosing.wanted(registry_of(context), name, for_profile)
        with configuring(context, by, why, f"model activate {name} {info.version}") as tx:
            choosing.choose(tx, info, key)
    if info.non_commercial:
        console.print(f"Its weights are not for commercial use: {escape(info.weights_licence)}")
    _say_who_answers(registry_of(context), key)


def deactivate(
    context: typer.Context,
    name: BundleName,
    for_profile: ForProfile = None,
    by: By = "",
    why: Why = "",
) -> None:
    """Have a bundle answer no longer: the default does, or nobody when it was the default."""
    with model_errors():
        registry = registry_of(context)
        wanted = None if for_profile is None else ProfileKey.parse(for_profile)
        answering = [
            one
            for one in registry.answering
            if one.info.name == name and wanted in (None, one.profile.key)
        ]
        # A bundle that was chosen and is not installed any more answers for nothing.
        missing = [] if answering else _chosen_for(context, name)
        if not answering and not missing:
            fail(f"{name} does not answer for any profile")
        keys = [one.profile.key for one in answering] or missing
        with configuring(context, by, why, f"model deactivate {name}") as tx:
            for key in keys:
                if any(one.profile.key == key and one.info.default for one in answering):
                    active_bundles.save(tx, ActiveBundle(str(key), NOBODY))
                else:
                    active_bundles.remove(tx, str(key))
    registry = registry_of(context)
    for key in keys:
        _say_who_answers(registry, key)


def _chosen_for(context: typer.Context, name: str) -> list[ProfileKey]:
    """Return the profiles for which a bundle is activated."""
    with site_of(context).database() as database, database.read() as tx:
        found = active_bundles.listing(tx)
    return [ProfileKey.parse(one.profile) for one in found if one.bundle == name]


def rollback(context: typer.Context, by: By = "", why: Why = "") -> None:
    """Undo the last change of who answers; again, to undo the one before it."""
    site = site_of(context)
    with model_errors(), site.database() as database:
        try:
            keys = choosing.go_back(database, site.settings, by or operating_user(), why)
        except ChoiceError as error:
            fail(str(error))
    registry = registry_of(context)
    for key in keys:
        _say_who_answers(registry, key)


def history(context: typer.Context, as_json: AsJson = False) -> None:
    """List every change of who answers, oldest first."""
    with site_of(context).database() as database, database.read() as tx:
        found = versions.changes_of(tx, MODELS)
    listed = list(choosing.over_time(found[::-1]))
    emit_rows(
        "Changes",
        listed,
        {
            "version": lambda one: str(one.version),
            "at": lambda one: moment(one.at),
            "who": lambda one: escape(one.who),
            "why": lambda one: escape(one.why),
            "profile": lambda one: escape(one.profile),
            "before": lambda one: escape(choosing.in_words(one.before)),
            "after": lambda one: escape(
                f"{choosing.in_words(one.after)} {short(one.digest)}".strip()
            ),
        },
        as_json=as_json,
        empty="Nothing was ever chosen: the defaults answer.",
    )


def _say_who_answers(registry: Registry, key: ProfileKey) -> None:
    info = registry.match(key.modality, key.body_part, key.sequence)
    if info is None:
        console.print(f"No bundle answers for {key}: such series are not assessed.")
    else:
        console.print(
            f"{info.name} {info.version} answers for {key}. Studies under way are assessed anew "
            "with it; those that are done keep their results."
        )
