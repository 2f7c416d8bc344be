"""The form of a node: what was typed, the node it makes, and a node as it is typed again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import FormData

from gatekeeper import certificates, node_entry, sop_classes
from gatekeeper.admin.forms import listed, word, words
from gatekeeper.identifiers import AeTitle
from gatekeeper.node_entry import NodeRefused
from gatekeeper.peering import with_roles
from storage.records import Confirm, Node, Retrieve, Role

IMPLIED, YES, NO = "", "yes", "no"
DOES = ("may_send", "receives_results", "receives_studies")
_ROLES = {role.value: role for role in Role}
_TEXTS = (
    "ae_title",
    "address",
    "sop_classes",
    "networks",
    "quiet_seconds",
    "certificate",
    "description",
    "language",
    "retrieve",
    "confirm",
    *DOES,
)
_OPTIONS: Mapping[str, str] = {
    "role": "the role",
    "sends": "Sends studies",
    "results": "Receives results",
    "studies": "Receives every study",
    "objects": "the kinds of result",
    "viewer": "the viewer",
    "confirm": "Confirms",
    "language": "the language",
    "retrieve": "Priors by",
    "tls": "TLS",
    "certificate": "the certificate",
}
_OPTION = re.compile(r"--([a-z-]+)")

T = TypeVar("T")


@dataclass(frozen=True)
class NodeForm:
    """What stands in the form.

    Attributes:
        texts: of the fields of one line, by name; three of them are yes, no or as the role implies.
        roles, objects: what is ticked.
        tls: whether that is ticked.
    """

    texts: Mapping[str, str]
    roles: Sequence[str] = ()
    objects: Sequence[str] = ()
    tls: bool = False

    @classmethod
    def empty(cls, role: str = "") -> NodeForm:
        """Return the form of a node to be added."""
        usual = {"language": "en", "retrieve": Retrieve.GET.value, "confirm": Confirm.NONE.value}
        return cls(dict.fromkeys(_TEXTS, "") | usual, [role] if role in _ROLES else [])

    @classmethod
    def of(cls, node: Node) -> NodeForm:
        """Return a node as it would be typed."""
        bare = with_roles(Node(node.ae_title, node.host, node.port), node.roles)
        does = {name: _said(getattr(node, name), getattr(bare, name)) for name in DOES}
        quiet = "" if node.quiet_seconds is None else f"{node.quiet_seconds:g}"
        texts = {
            "ae_title": str(node.ae_title),
            "address": node_entry.address_of(node),
            "sop_classes": ", ".join(node.sop_classes),
            "networks": ", ".join(node.networks),
            "quiet_seconds": quiet,
            "certificate": node.certificate,
            "description": node.description,
            "language": node.language,
            "retrieve": node.retrieve.value,
            "confirm": node.confirm.value,
        }
        return cls(texts | does, [role.value for role in node.roles], node.objects, node.tls)

    @classmethod
    def typed(cls, form: FormData) -> NodeForm:
        """Return what was posted."""
        return cls(
            {name: word(form, name) for name in _TEXTS},
            words(form, "roles"),
            words(form, "objects"),
            bool(word(form, "tls")),
        )

    def node(self, catalogues: str, before: Node | None = None) -> Node:
        """Return the node.

        Args:
            catalogues: setting ``results.catalogues``.
            before: the node that is edited; its AE title and what the form does not ask stay.

        Raises:
            GatekeeperError: naming the rule that something typed breaks.
        """
        try:
            return self._node(catalogues, before)
        except NodeRefused as error:
            raise NodeRefused(in_words_of_the_form(str(error))) from None

    def _node(self, catalogues: str, before: Node | None) -> Node:
        text = self.texts
        title = AeTitle.parse(text["ae_title"]) if before is None else before.ae_title
        if not text["address"]:
            raise NodeRefused("a node has an address: HOST:PORT, HOST if it only sends, or a URL")
        host, port, url = node_entry.place(text["address"])
        roles = tuple(_of(_ROLES, role, "role") for role in self.roles)
        node = with_roles(Node(title, host, port, url=url), roles)
        does = {name: text[name] == YES for name in DOES if text[name] in (YES, NO)}
        certificate = text["certificate"]
        node = dataclasses.replace(
            node,
            **does,
            enabled=before is None or before.enabled,
            networks=node_entry.networks(listed(text["networks"])),
            quiet_seconds=_seconds(text["quiet_seconds"]),
            description=text["description"],
            objects=node_entry.kinds_taken(self.objects),
            language=text["language"] or "en",
            tls=self.tls or bool(certificate),
            certificate=certificates.parse_fingerprint(certificate) if certificate else "",
            confirm=_of({one.value: one for one in Confirm}, text["confirm"], "way to confirm"),
            retrieve=_of({one.value: one for one in Retrieve}, text["retrieve"], "way for priors"),
            sop_classes=sop_classes.parse(listed(text["sop_classes"])),
        )
        return node_entry.checked(node, catalogues)


def in_words_of_the_form(text: str) -> str:
    """Return a sentence that names options of the command line, with the form's labels instead."""
    return _OPTION.sub(lambda found: _quoted(found[1], found[0]), text)


def _quoted(name: str, otherwise: str) -> str:
    return f"\u2018{_OPTIONS[name]}\u2019" if name in _OPTIONS else otherwise


def _said(value: bool, implied: bool) -> str:
    return IMPLIED if value == implied else (YES if value else NO)


def _of(known: Mapping[str, T], name: str, what: str) -> T:
    if name not in known:
        raise NodeRefused(f"no {what} {name!r}; there are: {', '.join(known)}")
    return known[name]


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise NodeRefused(f"{text}: the quiet time is a number of seconds from 0 to 86400")
    return seconds
