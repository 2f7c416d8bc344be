"""Who may open an association: called AE title, calling AE title, address and certificate.

An AE title is a claim that anyone can make, so it is never trusted without the address, nor, by
TLS, without a certificate that is the node's.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from gatekeeper.certificates import Presented
from storage.records import Confirm, Node

Address = IPv4Address | IPv6Address
Resolve = Callable[[str], Collection[Address]]
"""Returns the addresses of a host name; empty when it has none."""


class Refusal(enum.StrEnum):
    """Why an association is refused; the value goes to the log."""

    CALLED_AE = "the called AE title is not ours"
    CALLING_AE = "the calling AE title is no enabled node that may send"
    ADDRESS = "the address is not one of the node's"
    PLAIN = "the node is to call by TLS alone"
    CERTIFICATE = "the certificate is not the node's"


def parse_address(text: str) -> Address:
    """Return the address `text`; an IPv4 address mapped into IPv6 becomes the IPv4 address.

    Raises:
        ValueError: if it is not a literal address.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def judge(
    called_ae: str,
    address: str,
    own_ae: str,
    node: Node | None,
    resolve: Resolve,
    presented: Presented | None = None,
) -> Refusal | None:
    """Return why the association is refused, or None when it is welcome.

    Args:
        called_ae: AE title that the peer called.
        address: the peer's literal IP address.
        own_ae: our AE title.
        node: the node registered under the calling AE title, if any.
        resolve: asked only when the node has no networks and its host is a name.
        presented: what the peer presented by TLS; None when it called in plain text.
    """
    if called_ae.strip() != own_ae:
        return Refusal.CALLED_AE
    if (
        node is None
        or not node.enabled
        or not (node.may_send or node.brings_priors or _reports(node))
    ):
        return Refusal.CALLING_AE
    if not _calls_from(node, parse_address(address), resolve):
        return Refusal.ADDRESS
    if presented is None:
        return Refusal.PLAIN if node.needs_tls else None
    return None if _shows(node, presented) else Refusal.CERTIFICATE


def _shows(node: Node, presented: Presented) -> bool:
    """Return whether the certificate is the node's.

    One that was entered for the node is the only one. Else it has to name the node's host; without
    any, which the settings must allow, TLS keeps secrets but tells nothing about the caller.
    """
    if node.certificate:
        return presented.fingerprint == node.certificate
    return not presented.fingerprint or presented.is_for(node.host)


def _reports(node: Node) -> bool:
    """Return whether a node calls to report on what we asked it to commit to."""
    return node.confirm is Confirm.COMMITMENT


def _calls_from(node: Node, address: Address, resolve: Resolve) -> bool:
    if node.networks:
        return any(_contains(network, address) for network in node.networks)
    try:
        return parse_address(node.host) == address
    except ValueError:
        return address in resolve(node.host)


def _contains(network: str, address: Address) -> bool:
    """Return whether `address` is in `network`; a network that is not one contains nothing."""
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False
