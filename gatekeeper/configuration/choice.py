"""Choice: which bundle answers for which profile, as every process reads it from the database.

Earlier the choice was a file in `models.directory`. Such a file answers until the first version of
the configuration is recorded, which takes it over; from then on it is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection

from gatekeeper.errors import ConfigurationError
from gatekeeper.settings import Settings
from models import activation
from models.activation import ACTIVE as FILE
from models.activation import ProfileKey
from models.errors import ModelError
from models.registry import Registry
from storage import active_bundles
from storage import configuration_versions as versions
from storage.records import ActiveBundle

__all__ = ["FILE", "Choice", "chosen", "file_of", "of_file", "registry", "take_over"]

Choice = Mapping[ProfileKey, str]
"""The bundle's name for each profile that something was chosen for."""


def chosen(tx: Connection, settings: Settings) -> Choice | None:
    """Return the site's choice; None when it cannot be known: then no bundle is to answer."""
    if not versions.latest_number(tx):
        return of_file(settings)
    try:
        return {ProfileKey.parse(one.profile): one.bundle for one in active_bundles.listing(tx)}
    except ModelError:
        return None


def of_file(settings: Settings) -> Choice | None:
    """Return the choice of the file, an empty one without it, None when it cannot be read."""
    found: dict[ProfileKey, str] = {}
    try:
        for directory in settings.models.directories:
            found |= activation.read(directory)
    except ModelError:
        return None
    return found


def registry(tx: Connection, settings: Settings) -> Registry:
    """Return the installed bundles under the site's choice."""
    return Registry(settings.models.directories, chosen(tx, settings))


def file_of(settings: Settings) -> Path | None:
    """Return the file of an older version of Gatekeeper; None when there is none."""
    for directory in settings.models.directories:
        if (directory / FILE).exists():
            return directory / FILE
    return None


def take_over(tx: Connection, settings: Settings) -> int:
    """Write the file's choice to the database; return for how many profiles it chose.

    Raises:
        ConfigurationError: if the file cannot be read.
    """
    found = of_file(settings)
    if found is None:
        raise ConfigurationError(
            "models.directory", f"{FILE} cannot be read: repair it, or remove it for the defaults"
        )
    installed = {info.name: info.digest for info in Registry(settings.models.directories).bundles()}
    for key, name in found.items():
        active_bundles.save(tx, ActiveBundle(str(key), name, installed.get(name, "")))
    return len(found)
