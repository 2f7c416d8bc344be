"""Choosing: a bundle that answers for a profile, and the way back; for command line and pages.

Each choice is a change of the configuration: one version, with who and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gatekeeper.configuration import changes
from gatekeeper.configuration import history as versions
from gatekeeper.configuration.document import differences
from gatekeeper.configuration.models import NAME
from gatekeeper.errors import GatekeeperError
from gatekeeper.settings import Settings
from models.activation import NOBODY, ProfileKey
from models.errors import ModelError
from models.registry import BundleInfo, Registry
from storage import active_bundles
from storage.engine import Database
from storage.records import ActiveBundle, ConfigurationVersion


class ChoiceError(GatekeeperError):
    """A choice that cannot be made or undone; the message says why."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A profile for which another bundle was chosen.

    Attributes:
        version: of the configuration, that chose it.
        at: when, seconds since 1970.
        who, why: of that version.
        profile: as `ProfileKey` writes it.
        before, after: names of the bundles; None for the default, empty for nobody.
        digest: of the bundle after, when it was chosen; empty where it is not known.
    """

    version: int
    at: float
    who: str
    why: str
    profile: str
    before: str | None
    after: str | None
    digest: str


def wanted(registry: Registry, name: str, profile: str | None) -> tuple[BundleInfo, ProfileKey]:
    """Return a bundle and what it is to answer for: its own profile where none is named.

    Raises:
        ModelError: if it is not installed, or not made for the profile.
    """
    info = registry.get(name)
    key = info.profile.key if profile is None else ProfileKey.parse(profile)
    if info.profile.narrowed(key) is None:
        raise ModelError(f"{name} is made for {info.profile.key}, not for {key}")
    return info, key


def choose(tx: Connection, info: BundleInfo, key: ProfileKey) -> None:
    """Have a bundle answer for a profile; within `gatekeeper.configuration.changes.changing`."""
    active_bundles.save(tx, ActiveBundle(str(key), info.name, info.digest))


def go_back(database: Database, settings: Settings, who: str, why: str) -> tuple[ProfileKey, ...]:
    """Undo the last choice; again, to undo the one before it.

    Args:
        database: of the site.
        settings: of the site.
        who: account that does.
        why: empty for the command in short.

    Returns:
        the profiles for which another bundle answers now.

    Raises:
        ChoiceError: if there is nothing to undo.
        ConfigurationMoved, ConfigurationRefused: as `changes.put` does.
    """
    now = changes.noticed(database, settings)
    with database.read() as tx:
        before = versions.previous(tx, NAME)
    if before is None:
        raise ChoiceError("there is no change to undo")
    document = versions.with_section(now.document, NAME, before.document)
    changes.put(
        database,
        document,
        who,
        why or f"model rollback to version {before.number}",
        settings,
        expect=now.number,
        restored_from=before.number,
    )
    return tuple(ProfileKey.parse(one.item) for one in differences(now.document, document))


def over_time(found: Sequence[ConfigurationVersion]) -> Iterator[Chosen]:
    """Yield what each version chose otherwise than the one before it.

    Args:
        found: the oldest first.
    """
    before: ConfigurationVersion | None = None
    for version in found:
        old = {} if before is None else before.document.get(NAME, {})
        new = version.document.get(NAME, {})
        for profile in sorted({*old, *new}):
            if old.get(profile) != new.get(profile):
                after = new.get(profile, {})
                yield Chosen(
                    version=version.number,
                    at=version.at,
                    who=version.who,
                    why=version.why,
                    profile=profile,
                    before=old.get(profile, {}).get("bundle"),
                    after=after.get("bundle"),
                    digest=after.get("digest", ""),
                )
        before = version


def in_words(name: str | None) -> str:
    """Return the name of a chosen bundle as people read it."""
    if name is None:
        return "(default)"
    return "(nobody)" if name == NOBODY else name
