"""The console: what every page works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gatekeeper.admin.backtests import Backtests
from gatekeeper.admin.runs import Runs
from gatekeeper.identity.first_start import FirstStart
from gatekeeper.identity.oidc import Provider
from gatekeeper.identity.sign_on import SignOn
from gatekeeper.settings import Settings
from gatekeeper.viewing.renderer import Renderer
from storage.engine import Database
from storage.spool import Spool


@dataclass(frozen=True, slots=True)
class Console:
    """What every page works with; used from any thread.

    Attributes:
        settings: as this process started with.
        database: of the site.
        spool: of received and made objects.
        sign_on: who is signed in.
        first_start: how the first account is made.
        viewer: has series drawn.
        runs: calls of nodes that were begun here.
        provider: that people may sign in at; None without one.
        config_file: that the settings came from; None without one.
        backtests: the look back at past studies that was begun here.
    """

    settings: Settings
    database: Database
    spool: Spool
    sign_on: SignOn
    first_start: FirstStart
    viewer: Renderer
    runs: Runs
    provider: Provider | None = None
    config_file: Path | None = None
    backtests: Backtests = field(default_factory=Backtests)

    @classmethod
    def of(
        cls, settings: Settings, database: Database, spool: Spool, config_file: Path | None = None
    ) -> Console:
        """Return the console of a site."""
        accounts = settings.accounts
        return cls(
            settings,
            database,
            spool,
            SignOn(database, accounts),
            FirstStart(database, accounts.failures, accounts.failure_seconds),
            Renderer(settings),
            Runs(settings.web.maximum_calls),
            Provider(accounts) if accounts.oidc_issuer else None,
            config_file,
        )
