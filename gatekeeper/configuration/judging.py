"""Judging: what a study is judged by at this moment, read in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from gatekeeper.configuration import policy
from gatekeeper.configuration.choice import Choice, chosen
from gatekeeper.log import get_logger
from gatekeeper.settings import Settings
from storage import policies

log = get_logger()


@dataclass(frozen=True, slots=True)
class Judging:
    """The models and the policy in force.

    Attributes:
        settings: of the site, with the policy over them.
        choice: the bundles that the site chose; None when that cannot be known.
        false_hold_rates: of profiles that have one of their own.
    """

    settings: Settings
    choice: Choice | None
    false_hold_rates: Mapping[str, float]


def read(tx: Connection, settings: Settings) -> Judging:
    """Return what is in force; a value of the policy that cannot be used is logged."""
    for problem in policy.problems_of(policies.values(tx)):
        log.error("policy_passed_over", reason=problem)
    return Judging(policy.in_force(tx, settings), chosen(tx, settings), policy.rates(tx))
