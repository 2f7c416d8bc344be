"""The section `models`: the bundle that answers for a profile, where the site has chosen one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gatekeeper.configuration.document import Document, Items
from gatekeeper.configuration.fields import item_of, record_of
from gatekeeper.errors import ConfigurationError
from models.activation import ProfileKey
from models.errors import ModelError
from models.registry import Registry
from storage import active_bundles
from storage.records import ActiveBundle
from storage.schema import active_bundle as table

NAME = "models"


@dataclass(frozen=True, slots=True)
class ModelsSection:
    """Active bundles by profile.

    Attributes:
        registry: the bundles that are installed on this machine.
    """

    registry: Registry
    name: str = NAME
    title: str = "The bundle that answers for a profile; an empty one for nobody."
    tables: tuple[Any, ...] = (table,)

    def read(self, tx: Connection) -> Items:
        """Return the choice in force; see `Section.read`."""
        return {one.profile: item_of(one, without="profile") for one in active_bundles.listing(tx)}

    def parse(self, items: Mapping[str, Any]) -> Items:
        """Return a checked choice; see `Section.parse`."""
        found: Items = {}
        for profile, item in items.items():
            try:
                key = str(ProfileKey.parse(profile))
            except ModelError as error:
                raise ConfigurationError(f"{NAME}.{profile}", str(error)) from None
            if key in found:
                raise ConfigurationError(f"{NAME}.{profile}", "is named twice")
            found[key] = item_of(_chosen(key, item), without="profile")
        return found

    def problems(self, document: Document) -> list[str]:
        """Return what is wrong with the choice on this machine; see `Section.problems`."""
        found: list[str] = []
        for profile, item in document.get(NAME, {}).items():
            name = item.get("bundle", "")
            try:
                key = ProfileKey.parse(profile)
                info = self.registry.get(name) if name else None
            except ModelError as error:
                found.append(f"{NAME}.{profile}: {error}")
                continue
            if info is not None and info.profile.narrowed(key) is None:
                found.append(f"{NAME}.{profile}: {name} is made for {info.profile.key}")
        return found

    def write(self, tx: Connection, items: Items) -> None:
        """Have this choice in force; see `Section.write`."""
        for one in active_bundles.listing(tx):
            if one.profile not in items:
                active_bundles.remove(tx, one.profile)
        for profile, item in items.items():
            active_bundles.save(tx, _chosen(profile, item))


def replaced(registry: Registry, items: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each chosen bundle that is installed with other content by now."""
    found: list[str] = []
    installed = {info.name: info.digest for info in registry.bundles()}
    for profile, item in items.items():
        name, digest = item.get("bundle", ""), item.get("digest", "")
        if digest and installed.get(name, digest) != digest:
            found.append(
                f"{NAME}.{profile}: {name} is installed as {installed[name][:12]}, and was chosen "
                f"as {digest[:12]}"
            )
    return found


def _chosen(profile: str, item: Mapping[str, Any]) -> ActiveBundle:
    return record_of(ActiveBundle, f"{NAME}.{profile}", item, profile=profile)
