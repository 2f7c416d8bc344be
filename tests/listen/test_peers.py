"""Who may open an association."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace

import pytest
from listen.wire import together

from gatekeeper.certificates import Presented
from gatekeeper.listen.peers import Address, Refusal, judge, parse_address
from gatekeeper.listen.resolver import Resolver
from storage.records import Confirm, Node

OWN = "GATEKEEPER"
SCANNER = Node("SCANNER", "10.0.0.7", 104, may_send=True)


def unresolved(_host: str) -> frozenset[Address]:
    return frozenset()


def verdict(
    node: Node | None, address: str = "10.0.0.7", called: str = OWN, *known: str
) -> Refusal | None:
    addresses = frozenset(parse_address(text) for text in known)
    return judge(called, address, OWN, node, lambda _host: addresses)


def test_a_known_node_at_its_address_is_welcome() -> None:
    """By literal address, by network, by name; IPv4 mapped into IPv6 is the same address."""
    assert verdict(SCANNER) is None
    assert verdict(SCANNER, "::ffff:10.0.0.7") is None
    assert verdict(SCANNER, "10.0.0.7", "GATEKEEPER  ") is None
    assert verdict(replace(SCANNER, networks=("10.0.0.0/24",)), "10.0.0.99") is None
    assert verdict(replace(SCANNER, networks=("10.0.0.9/24", "fd00::/8")), "fd00::1%eth0") is None
    named = replace(SCANNER, host="mr1.hospital")
    assert verdict(named, "10.0.0.8", OWN, "10.0.0.7", "10.0.0.8") is None


def test_everyone_else_is_refused() -> None:
    """AE title, right and address are each needed; a broken network lets nobody in."""
    assert verdict(SCANNER, "10.0.0.7", "OTHER") is Refusal.CALLED_AE
    assert verdict(SCANNER, "10.0.0.7", "gatekeeper") is Refusal.CALLED_AE
    assert verdict(None) is Refusal.CALLING_AE
    assert verdict(replace(SCANNER, enabled=False)) is Refusal.CALLING_AE
    assert verdict(replace(SCANNER, may_send=False)) is Refusal.CALLING_AE
    assert verdict(SCANNER, "10.0.0.8") is Refusal.ADDRESS
    assert verdict(replace(SCANNER, networks=("10.1.0.0/16",))) is Refusal.ADDRESS
    assert verdict(replace(SCANNER, networks=("anything",))) is Refusal.ADDRESS
    assert verdict(replace(SCANNER, host="mr1.hospital")) is Refusal.ADDRESS


def test_a_certificate_is_judged_beside_the_rest() -> None:
    """By its fingerprint if one was entered, else by the host it names; AE and address count on."""

    def judged(node: Node, presented: Presented | None, address: str = "10.0.0.7") -> object:
        return judge(OWN, address, OWN, node, unresolved, presented)

    own, other = Presented("aa", frozenset({"10.0.0.7"})), Presented("bb", frozenset({"10.0.0.8"}))
    secured = replace(SCANNER, tls=True)
    pinned = replace(SCANNER, certificate="bb")

    for node in (SCANNER, secured):
        assert judged(node, own) is None
        assert judged(node, other) is Refusal.CERTIFICATE
        assert judged(node, own, "10.0.0.8") is Refusal.ADDRESS
    assert judged(secured, None) is Refusal.PLAIN
    assert judged(pinned, None) is Refusal.PLAIN
    assert judged(pinned, other) is None
    assert judged(pinned, own) is Refusal.CERTIFICATE
    # Callers without a certificate come this far only where the settings allow them.
    assert judged(secured, Presented()) is None
    assert judged(pinned, Presented()) is Refusal.CERTIFICATE
    assert judged(replace(secured, may_send=False), own) is Refusal.CALLING_AE


def test_a_node_that_was_asked_to_commit_may_call_to_report() -> None:
    """From its address, though it sends nothing; one that is asked by query never calls."""
    archive = replace(SCANNER, may_send=False, confirm=Confirm.COMMITMENT)

    assert verdict(archive) is None
    assert verdict(archive, "10.0.0.8") is Refusal.ADDRESS
    assert verdict(replace(archive, confirm=Confirm.FIND)) is Refusal.CALLING_AE


def test_networks_replace_the_host_and_ask_no_name_service() -> None:
    """A node with networks may have a host that no name service knows."""

    def never(_host: str) -> frozenset[Address]:
        pytest.fail("the name service was asked")

    node = replace(SCANNER, host="mr1.hospital", networks=("192.0.2.0/24",))

    assert judge(OWN, "192.0.2.1", OWN, node, never) is None
    assert judge(OWN, "10.0.0.7", OWN, SCANNER, never) is None


def test_a_name_is_asked_once_while_its_answer_is_fresh() -> None:
    """However many associations come, and from however many threads."""
    asked: list[str] = []
    both = threading.Barrier(2)

    def lookup(host: str) -> list[str]:
        asked.append(host)
        both.wait(10)
        return ["10.0.0.7"]

    resolver = Resolver(10, 60, lookup)
    expected = frozenset({parse_address("10.0.0.7")})

    def one() -> None:
        assert resolver.addresses("mr1") == expected

    together(one, one, one, lambda: both.wait(10))
    assert resolver.addresses("mr1") == expected
    assert asked == ["mr1"]


def test_a_silent_name_service_holds_nobody_longer_than_the_wait() -> None:
    """The lookup goes on behind; its answer serves the next."""
    answer = threading.Event()

    def lookup(_host: str) -> list[str]:
        answer.wait(20)
        return ["10.0.0.7"]

    resolver = Resolver(0.05, 60, lookup)
    started = time.monotonic()
    assert resolver.addresses("mr1") == frozenset()
    assert time.monotonic() - started < 5

    answer.set()
    patient = time.monotonic() + 10
    while not resolver.addresses("mr1"):
        assert time.monotonic() < patient


def test_the_last_answer_stays_while_the_name_service_is_down() -> None:
    """An outage of the name service refuses no known scanner."""
    answers: list[list[str]] = [["10.0.0.7"]]

    def lookup(_host: str) -> list[str]:
        if not answers:
            raise socket.gaierror
        return answers.pop()

    resolver = Resolver(10, 0, lookup)

    assert resolver.addresses("mr1") == frozenset({parse_address("10.0.0.7")})
    assert resolver.addresses("mr1") == frozenset({parse_address("10.0.0.7")})
    assert resolver.addresses("mr2") == frozenset()


def test_the_system_knows_this_machine() -> None:
    """The real lookup, on the one name that is everywhere."""
    assert parse_address("127.0.0.1") in Resolver(10, 60).addresses("localhost")
