"""The book of rules as stored: what parses is asked, what does not is named and never passed over.

A stored rule may stop parsing when a version knows other fields. Studies are then planned without
it; `gatekeeper check` fails, and each reading logs `rule_not_readable`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from gatekeeper.log import get_logger
from gatekeeper.rules.check import Surroundings, check_rule
from gatekeeper.rules.document import parse_rule, write_rule
from gatekeeper.rules.rule import MAXIMUM_RULES, Rule, RuleError
from gatekeeper.settings import Settings
from models.registry import Registry
from storage import channels, nodes
from storage import rules as stored
from storage.records import RuleRow

log = get_logger()


@dataclass(frozen=True, slots=True)
class Book:
    """The rules of the site.

    Attributes:
        rules: those that parse, in order.
        problems: why the others do not, by their names.
    """

    rules: tuple[Rule, ...] = ()
    problems: dict[str, str] = field(default_factory=dict[str, str])


def read_book(tx: Connection) -> Book:
    """Return the rules as stored; each that does not parse is logged."""
    found = parse_book(stored.listing(tx))
    for name, problem in found.problems.items():
        log.error("rule_not_readable", rule=name, reason=problem)
    return found


def parse_book(rows: Iterable[RuleRow]) -> Book:
    """Return the rules of stored rows, in their order."""
    rules: list[Rule] = []
    problems: dict[str, str] = {}
    for row in rows:
        try:
            rules.append(rule_of(row))
        except RuleError as error:
            problems[row.name] = str(error)
    return Book(tuple(rules), problems)


def surroundings(tx: Connection, settings: Settings) -> Surroundings:
    """Return what the site's rules may name."""
    return Surroundings(
        nodes={node.ae_title: node for node in nodes.listing(tx)},
        bundles=[bundle.name for bundle in Registry(settings.models.directories).bundles()],
        channels=[channel.name for channel in channels.listing(tx) if channel.enabled],
    )


def rule_of(row: RuleRow) -> Rule:
    """Return the rule of a stored row.

    Raises:
        RuleError: when it does not parse.
    """
    document: Any = row.document
    if not isinstance(document, dict):
        raise RuleError("its document is no table", row.name)
    return parse_rule({**row.document, "name": row.name, "enabled": row.enabled})


def switch(tx: Connection, name: str, *, enabled: bool, around: Surroundings) -> None:
    """Have a rule asked, or not.

    Raises:
        RuleError: when there is none of this name, or it is to be asked and does not parse or names
            what is no longer there.
    """
    row = stored.get(tx, name)
    if row is None:
        raise RuleError("it is not known", name)
    if enabled:
        check_rule(rule_of(row), around)
    stored.enable(tx, name, enabled=enabled)


def save(tx: Connection, rule: Rule, around: Surroundings) -> None:
    """Store a rule, in the place of the one of its name, else at the end.

    Raises:
        RuleError: when it names what is not there, or there are `MAXIMUM_RULES` already.
    """
    check_rule(rule, around)
    names = [row.name for row in stored.listing(tx)]
    if rule.name not in names and len(names) >= MAXIMUM_RULES:
        raise RuleError(f"there are {MAXIMUM_RULES} rules, and no more are allowed", rule.name)
    document = write_rule(rule)
    del document["name"]
    document.pop("enabled", None)
    stored.save(tx, rule.name, document, enabled=rule.enabled)
