"""Choosing which bundle answers for a profile, as people do it: for commands, pages and the API."""

from __future__ import annotations

from sqlalchemy import Connection

from gatekeeper.configuration import changes, history
from gatekeeper.configuration.choice import registry
from gatekeeper.configuration.models import NAME
from gatekeeper.errors import GatekeeperError
from gatekeeper.settings import Settings
from models.activation import NOBODY, ProfileKey
from models.errors import ModelError
from models.registry import BundleInfo
from storage import active_bundles
from storage.engine import Database
from storage.records import ActiveBundle


class ChoiceRefused(GatekeeperError):
    """A choice that cannot be; says why."""


def key_of(profile: str) -> ProfileKey:
    """Return the profile of a text such as ``MR/BRAIN/T1``.

    Raises:
        ChoiceRefused: if it is none.
    """
    try:
        return ProfileKey.parse(profile)
    except ModelError as error:
        raise ChoiceRefused(str(error)) from None


def choose(tx: Connection, settings: Settings, profile: ProfileKey, name: str) -> BundleInfo | None:
    """Have a bundle answer for a profile, or nobody for an empty name.

    Args:
        tx: of `gatekeeper.configuration.changes.changing`.
        settings: of the site.
        profile: that it is to answer for.
        name: of the bundle.

    Raises:
        ChoiceRefused: if it is not installed, or made for another profile.
    """
    info = None
    if name != NOBODY:
        try:
            info = registry(tx, settings).get(name)
        except ModelError as error:
            raise ChoiceRefused(str(error)) from None
        if info.profile.narrowed(profile) is None:
            raise ChoiceRefused(f"{name} is made for {info.profile.key}, not for {profile}")
    digest = "" if info is None else info.digest
    active_bundles.save(tx, ActiveBundle(str(profile), name, digest))
    return info


def leave(tx: Connection, profile: ProfileKey) -> None:
    """Leave a profile to the default again.

    Raises:
        ChoiceRefused: if nothing was chosen for it.
    """
    if not active_bundles.remove(tx, str(profile)):
        raise ChoiceRefused(f"nothing was chosen for {profile}: the default answers")


def roll_back(
    database: Database, settings: Settings, who: str, why: str, expect: int | None = None
) -> int:
    """Undo the last change of who answers; again, to undo the one before it.

    Returns:
        The number of the version whose choice is in force again.

    Raises:
        ChoiceRefused: if there is nothing to undo.
        ConfigurationMoved, ConfigurationRefused, ConfigurationError: as `changes.changing` does.
    """
    now = changes.noticed(database, settings)
    with database.read() as tx:
        before = history.previous(tx, NAME)
    if before is None:
        raise ChoiceRefused("there is no change to undo")
    changes.put(
        database,
        history.with_section(now.document, NAME, before.document),
        who,
        why or f"model rollback to version {before.number}",
        settings,
        expect=now.number if expect is None else expect,
        restored_from=before.number,
    )
    return before.number
