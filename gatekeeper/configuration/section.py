"""Section: a part of the configuration that is read, checked and written by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Table

from gatekeeper.configuration.document import Document, Items


class Section(Protocol):
    """One part of the document, with the tables that are its truth."""

    @property
    def name(self) -> str:
        """Its name in the document and the file: ``nodes``."""
        ...

    @property
    def title(self) -> str:
        """What it holds, as a heading in the file."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """Tables that it reads and writes; kept from others while the configuration changes."""
        ...

    def read(self, tx: Connection) -> Items:
        """Return what is in force, in the form that `parse` gives."""
        ...

    def parse(self, items: Mapping[str, Any]) -> Items:
        """Return items as people write them, checked by type and in canonical form.

        Raises:
            ConfigurationError: naming the item and key that is wrong.
        """
        ...

    def problems(self, document: Document) -> list[str]:
        """Return what is wrong with this section within a whole document, each with its item."""
        ...

    def write(self, tx: Connection, items: Items) -> None:
        """Have these items, and no others, in force."""
        ...
