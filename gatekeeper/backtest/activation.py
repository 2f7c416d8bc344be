"""Activation: a candidate put in force, within one change of the configuration."""

from __future__ import annotations

from sqlalchemy import Connection

from gatekeeper.backtest.candidate import Candidate
from gatekeeper.configuration.changes import changing
from gatekeeper.errors import ConfigurationError, GatekeeperError
from gatekeeper.rules.book import save, surroundings
from gatekeeper.rules.document import parse_rule
from gatekeeper.settings import Settings
from models.errors import ModelError
from models.registry import Registry
from storage import active_bundles, policies, rules, shadows
from storage.engine import Database
from storage.records import ActiveBundle, ShadowState


def activate(database: Database, settings: Settings, name: str, who: str, why: str) -> None:
    """Put a running shadow's terms in force, and end it: one version of the configuration.

    Args:
        database: of the site.
        settings: of the site.
        name: of the shadow.
        who: account that does.
        why: empty for the command in short.

    Raises:
        GatekeeperError: if it does not run, or the configuration refuses what it changes.
    """
    with changing(database, who, why or f"shadow activate {name}", settings) as tx:
        succeed(tx, name, who, settings)


def succeed(tx: Connection, name: str, who: str, settings: Settings) -> None:
    """Do so in a transaction that changes the configuration.

    Raises:
        GatekeeperError: if it does not run.
    """
    one = shadows.get(tx, name)
    if one is None or one.state is not ShadowState.RUNNING:
        raise GatekeeperError(f"shadow '{name}' does not run")
    put_in_force(tx, Candidate.of(one.candidate), settings)
    if not shadows.end(tx, name, who, ShadowState.ACTIVATED):
        raise GatekeeperError(f"shadow '{name}' does not run")


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
