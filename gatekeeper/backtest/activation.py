"""Activation: a candidate put in force, within one change of the configuration."""

from __future__ import annotations

from sqlalchemy import Connection

from gatekeeper.backtest.candidate import Candidate
from gatekeeper.errors import ConfigurationError
from gatekeeper.rules.book import save, surroundings
from gatekeeper.rules.document import parse_rule
from gatekeeper.settings import Settings
from models.errors import ModelError
from models.registry import Registry
from storage import active_bundles, policies, rules
from storage.records import ActiveBundle


def put_in_force(tx: Connection, candidate: Candidate, settings: Settings) -> None:
    """Write what a candidate changes.

    Args:
        tx: of `gatekeeper.configuration.changes.changing`.
        candidate: not of a whole configuration, which `gatekeeper config import` puts in force.
        settings: of the site.

    Raises:
        ConfigurationError: if a bundle is not installed.
        RuleError: if a rule names what is not there by now.
    """
    for key, value in candidate.policy.items():
        policies.save(tx, key, value)
    if candidate.rules is not None:
        around = surroundings(tx, settings)
        for row in rules.listing(tx):
            rules.remove(tx, row.name)
        for document in candidate.rules:
            save(tx, parse_rule(document), around)
    registry = Registry(settings.models.directories)
    for profile, name in (candidate.models or {}).items():
        try:
            digest = registry.get(name).digest if name else ""
        except ModelError as error:
            raise ConfigurationError(
                "models", f"{error}; `gatekeeper model import` installs it"
            ) from None
        active_bundles.save(tx, ActiveBundle(profile, name, digest))
