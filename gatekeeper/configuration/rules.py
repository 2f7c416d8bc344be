"""The section `rules`: what is done with which study, in the order of their positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gatekeeper.configuration import channels, nodes
from gatekeeper.configuration.document import Document, Item, Items
from gatekeeper.configuration.fields import record_of
from gatekeeper.errors import ConfigurationError
from gatekeeper.rules.check import Surroundings, refusals
from gatekeeper.rules.document import parse_rule, write_rule
from gatekeeper.rules.rule import MAXIMUM_RULES, Rule, RuleError
from models.registry import Registry
from storage import rules as stored
from storage.records import Node, RuleRow
from storage.schema import rule as table

NAME = "rules"
POSITION = "position"


@dataclass(frozen=True, slots=True)
class RulesSection:
    """Rules by name.

    Attributes:
        registry: the bundles that are installed on this machine.
    """

    registry: Registry
    name: str = NAME
    title: str = "What is done with which study; rules are asked in the order of their positions."
    tables: tuple[Any, ...] = (table,)

    def read(self, tx: Connection) -> Items:
        """Return the rules in force; see `Section.read`. They are as stored, not parsed anew."""
        return {row.name: _item_of_row(row) for row in stored.listing(tx)}

    def parse(self, items: Mapping[str, Any]) -> Items:
        """Return checked rules; see `Section.parse`. One without a position comes last."""
        given = {name: dict(item) for name, item in items.items()}
        positions = {name: _position(name, item) for name, item in given.items()}
        last = max((one for one in positions.values() if one is not None), default=0)
        found: Items = {}
        for name in sorted(given):
            try:
                rule = parse_rule({**given[name], "name": name})
            except RuleError as error:
                raise ConfigurationError(f"{NAME}.{name}", _said(error)) from None
            position = positions[name]
            if position is None:
                last += 1
                position = last
            found[name] = _item(rule, position)
        return found

    def problems(self, document: Document) -> list[str]:
        """Return what is wrong with the rules; see `Section.problems`."""
        items = document.get(NAME, {})
        found: list[str] = []
        if len(items) > MAXIMUM_RULES:
            found.append(f"{NAME}: there are {len(items)}, and {MAXIMUM_RULES} are allowed")
        around = self._around(document)
        for name, item in items.items():
            try:
                rule = _rule(name, item)
            except RuleError as error:
                found.append(f"{NAME}.{name}: {_said(error)}")
                continue
            if rule.enabled:
                found += [
                    f"{NAME}.{name}: {place}: {problem}"
                    for place, problem in refusals(rule, around)
                ]
        return found

    def _around(self, document: Document) -> Surroundings:
        """Return what rules may name: the nodes and channels of the same document."""
        known: dict[str, Node] = {}
        for ae_title, item in document.get(nodes.NAME, {}).items():
            try:
                known[ae_title] = record_of(Node, ae_title, item, ae_title=ae_title)
            except ConfigurationError:
                continue  # A problem of that section, named there.
        return Surroundings(
            nodes=known,
            bundles=[info.name for info in self.registry.bundles()],
            channels=list(document.get(channels.NAME, {})),
        )

    def write(self, tx: Connection, items: Items) -> None:
        """Have these rules in force; see `Section.write`."""
        before = {row.name: row for row in stored.listing(tx)}
        for name in before.keys() - items.keys():
            stored.remove(tx, name)
        for name, item in items.items():
            if name in before and _item_of_row(before[name]) == item:
                continue
            content = {key: item[key] for key in item if key not in (POSITION, "enabled")}
            stored.save(
                tx, name, content, enabled=item.get("enabled", True), position=item[POSITION]
            )


def _item_of_row(row: RuleRow) -> Item:
    disabled: Item = {} if row.enabled else {"enabled": False}
    return {**row.document, **disabled, POSITION: row.position}


def _item(rule: Rule, position: int) -> Item:
    return {key: value for key, value in write_rule(rule).items() if key != "name"} | {
        POSITION: position
    }


def _rule(name: str, item: Mapping[str, Any]) -> Rule:
    return parse_rule({key: item[key] for key in item if key != POSITION} | {"name": name})


def _position(name: str, item: Item) -> int | None:
    """Return an item's position and take it from the item; None when it has none."""
    if "name" in item:
        raise ConfigurationError(f"{NAME}.{name}.name", "a rule is named by its table")
    position = item.pop(POSITION, None)
    if position is None:
        return None
    if isinstance(position, bool) or not isinstance(position, int) or not 0 < position < 1 << 31:
        raise ConfigurationError(f"{NAME}.{name}.{POSITION}", "must be a whole number from 1")
    return position


def _said(error: RuleError) -> str:
    return f"{error.place}: {error.problem}" if error.place else error.problem
