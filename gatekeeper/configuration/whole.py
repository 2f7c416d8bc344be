"""The whole configuration: every section read, checked or written as one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from sqlalchemy import Connection, Table

from gatekeeper.configuration.channels import ChannelsSection
from gatekeeper.configuration.document import Document
from gatekeeper.configuration.models import ModelsSection
from gatekeeper.configuration.nodes import NodesSection
from gatekeeper.configuration.policy import PolicySection
from gatekeeper.configuration.rules import RulesSection
from gatekeeper.configuration.section import Section
from gatekeeper.errors import ConfigurationError
from gatekeeper.settings import Settings
from models.registry import Registry


@dataclass(frozen=True, slots=True)
class Whole:
    """The sections, in the order of writing: what is named comes before what names it.

    Attributes:
        sections: as they are in the file too.
    """

    sections: tuple[Section, ...]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return all sections, checked on a machine with these settings."""
        installed = Registry(settings.models.directories)
        return cls(
            (
                NodesSection(settings.results.catalogues),
                ChannelsSection(settings.notify.plain_hosts),
                ModelsSection(installed),
                PolicySection(),
                RulesSection(installed),
            )
        )

    @property
    def tables(self) -> Sequence[Table]:
        """Every table of the configuration."""
        return [table for section in self.sections for table in section.tables]

    def read(self, tx: Connection) -> Document:
        """Return what is in force as one document."""
        return _without_empty({section.name: section.read(tx) for section in self.sections})

    def parse(self, stated: Mapping[str, Any]) -> Document:
        """Return a document as people write it in canonical form.

        Raises:
            ConfigurationError: naming what is unknown, missing or of another type.
        """
        known = {section.name for section in self.sections}
        for name in stated:
            if name not in known:
                raise ConfigurationError(name, "no such section")
        found: Document = {}
        for section in self.sections:
            items = stated.get(section.name, {})
            if not isinstance(items, dict):
                raise ConfigurationError(section.name, "must be a table of items")
            for item, keys in cast("dict[str, Any]", items).items():
                if not isinstance(keys, dict):
                    raise ConfigurationError(f"{section.name}.{item}", "must be a table of keys")
            found[section.name] = section.parse(cast("dict[str, Any]", items))
        return _without_empty(found)

    def problems(self, document: Document) -> list[str]:
        """Return what is wrong with a canonical document, each with section and item."""
        return [problem for one in self.sections for problem in one.problems(document)]

    def write(self, tx: Connection, document: Document) -> None:
        """Have exactly this canonical document in force."""
        for section in self.sections:
            section.write(tx, document.get(section.name, {}))


def _without_empty(document: Document) -> Document:
    return {name: items for name, items in document.items() if items}
