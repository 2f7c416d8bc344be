"""Trying: other terms made into a candidate, and past studies decided by it, for pages and REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatekeeper.admin import calibrated
from gatekeeper.admin.backtests import Backtest, Seen
from gatekeeper.admin.console import Console
from gatekeeper.configuration import choice
from gatekeeper.errors import GatekeeperError

if TYPE_CHECKING:
    from gatekeeper.backtest.candidate import Candidate
    from gatekeeper.backtest.comparison import Comparison

MOST_PAST = 5000
"""Studies that a backtest looks back on at most."""
LONGEST_SECONDS = 300.0


class ShadowTaken(GatekeeperError):
    """There is or was a shadow of that name."""


class ShadowOver(GatekeeperError):
    """A shadow that does not run any more."""


def of_policy(values: Mapping[str, Any]) -> Candidate:
    """Return a candidate with other values of the policy.

    Raises:
        GatekeeperError: if a value may not be set, or the libraries are missing.
    """
    calibrated.need_libraries()
    from gatekeeper.backtest import candidate

    return candidate.of_policy(values)


def of_model(console: Console, bundle: str) -> Candidate:
    """Return a candidate in which another bundle answers for its profile.

    Raises:
        GatekeeperError, ModelError: if there is none of this name, or the libraries are missing.
    """
    calibrated.need_libraries()
    from gatekeeper.backtest import candidate

    with console.database.read() as tx:
        return candidate.of_model(choice.registry(tx, console.settings).get(bundle))


def begin(console: Console, wanted: Candidate, who: str) -> Backtest:
    """Begin to decide past studies by a candidate; nothing is changed, sent or told.

    Raises:
        BacktestRuns: if one runs already.
    """
    return console.backtests.begin(
        wanted.in_words,
        who,
        MOST_PAST,
        LONGEST_SECONDS,
        lambda seen: _compared(console, wanted, seen),
    )


def _compared(console: Console, wanted: Candidate, seen: Seen) -> Comparison:
    from gatekeeper.backtest.candidate import IN_FORCE
    from gatekeeper.backtest.past import Past
    from gatekeeper.backtest.replay import Ground, Replay, compared

    with console.database.read() as tx:
        now, then = (one.terms(tx, console.settings) for one in (IN_FORCE, wanted))
    ground = Ground(console.database, console.spool, console.settings.rules)
    past = Past(console.database, limit=MOST_PAST)
    return compared(Replay(ground, now, then), past, wanted.in_words, seen)
