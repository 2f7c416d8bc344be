"""Site: what the statement is made from, read once: settings, nodes, and what rules have sent.

Of rules only their actions are read. What they ask about may be a patient's name, and is in no
statement.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from gatekeeper.listen.contexts import storage_classes, transfer_syntaxes
from gatekeeper.results import kinds
from gatekeeper.rules import book
from gatekeeper.rules.rule import Forward, Priors
from gatekeeper.settings import Settings
from storage import nodes
from storage.records import Confirm, Node, Retrieve, Role


@dataclass(frozen=True, slots=True)
class Site:
    """The running configuration.

    Attributes:
        settings: all of them; secrets in them are left out by whoever shows them.
        nodes: the enabled ones, by AE title.
        forwarded: nodes that enabled rules forward to.
        asked: archives that enabled rules ask for priors.
    """

    settings: Settings
    nodes: tuple[Node, ...] = ()
    forwarded: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()

    @property
    def ae_title(self) -> str:
        """Our AE title."""
        return self.settings.listen.ae_title

    @property
    def storage(self) -> tuple[str, ...]:
        """SOP Class UIDs that the listener stores, in order."""
        return storage_classes(self.settings.listen.private_sop_classes)

    @property
    def syntaxes(self) -> tuple[str, ...]:
        """Transfer Syntax UIDs that the listener takes, the preferred one first."""
        return transfer_syntaxes(accept_deflated=self.settings.listen.accept_deflated)

    @property
    def created(self) -> tuple[str, ...]:
        """Kinds of result that some node takes, in the order of `kinds.KINDS`."""
        wanted = {
            kind
            for node in self.nodes
            if node.receives_results
            for kind in kinds.taken(node.objects)
        }
        return tuple(kind for kind in (*kinds.KINDS, kinds.STATEMENT) if kind in wanted)

    @property
    def callers(self) -> list[Node]:
        """Nodes that may open an association with us to send studies."""
        return [node for node in self.nodes if node.may_send]

    @property
    def sent_to(self) -> list[Node]:
        """Nodes that are sent results or studies."""
        return [
            node
            for node in self.nodes
            if node.receives_results or node.receives_studies or node.ae_title in self.forwarded
        ]

    def confirming(self, how: Confirm) -> list[Node]:
        """Return the nodes that are asked this way whether they keep what they were sent."""
        return [node for node in self.nodes if node.confirm is how]

    def retrieving(self, how: Retrieve) -> list[Node]:
        """Return the archives that priors are fetched from this way."""
        return [
            node
            for node in self.nodes
            if Role.ARCHIVE in node.roles and not node.url and node.retrieve is how
        ]


def read_site(settings: Settings, tx: Connection) -> Site:
    """Return the running configuration: `settings` and what the database has."""
    actions = [
        action for rule in book.read_book(tx).rules if rule.enabled for action in rule.actions
    ]
    return Site(
        settings,
        tuple(node for node in nodes.listing(tx) if node.enabled),
        frozenset(action.node for action in actions if isinstance(action, Forward)),
        frozenset(action.node for action in actions if isinstance(action, Priors)),
    )
