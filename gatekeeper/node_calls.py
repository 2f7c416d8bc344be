"""Calling a node because a person asks: echo, contexts, a round trip, a test of commitment.

Each is a few steps with a time and a sentence, in the same words on the command line and the pages.
Every step has a deadline: those of `send` and of the trip.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass

from gatekeeper.errors import GatekeeperError, TransportError
from gatekeeper.send import contexts, dimse, roundtrip, stow
from gatekeeper.send.roundtrip import Baggage, Step
from gatekeeper.settings import Settings
from storage import instances, nodes
from storage.engine import Database
from storage.records import Node

Tell = Callable[[Step], None]


class Call(enum.StrEnum):
    """What a node is called for."""

    ECHO = "echo"
    CONTEXTS = "contexts"
    ROUNDTRIP = "roundtrip"
    COMMITMENT = "commitment"


class CannotCall(GatekeeperError):
    """A node that is not called this way; says why."""


@dataclass(frozen=True, slots=True)
class Called:
    """What came of a call.

    Attributes:
        ok: whether nothing failed.
        leftover: how to get rid of what the node keeps of it; empty when it keeps nothing.
    """

    ok: bool
    leftover: str = ""


def echo(
    node: Node, settings: Settings, database: Database
) -> dimse.EchoAnswer | stow.WebEchoAnswer:
    """Call a node with C-ECHO, or with a query if it has a URL, and keep what it answered.

    Raises:
        TransportError: if it does not answer; that is kept, too.
    """
    try:
        answer = stow.echo(node, settings) if node.url else dimse.echo(node, settings)
    except TransportError as error:
        with database.begin() as tx:
            nodes.note_echo(tx, node.ae_title, False, str(error))
        raise
    with database.begin() as tx:
        nodes.note_echo(tx, node.ae_title, True, answer.in_words)
    return answer


def problem(node: Node, call: Call) -> str:
    """Return why a node is not called for this, or nothing."""
    if not node.port:
        return f"node {node.ae_title} has no port, so that it cannot be called"
    if node.url and call is not Call.ECHO:
        return f"node {node.ae_title} is called by DICOMweb: only the echo tries it"
    return ""


def call(what: Call, baggage: Baggage, tell: Tell) -> Called:
    """Call a node and tell each step as it ends; never raises for the node.

    Raises:
        CannotCall: if the node is not called for this.
    """
    why_not = problem(baggage.node, what)
    if why_not:
        raise CannotCall(why_not)
    if what is Call.ECHO:
        return _told("echo", lambda: _echoed(baggage), tell)
    if what is Call.CONTEXTS:
        return _contexts(baggage, tell)
    route = roundtrip.COMMITTED if what is Call.COMMITMENT else roundtrip.ROUND
    trip = roundtrip.travel(baggage, tell, route)
    return Called(trip.ok, trip.leftover)


def _echoed(baggage: Baggage) -> tuple[bool, str]:
    answer = echo(baggage.node, baggage.settings, baggage.database)
    return True, f"it answers {answer.in_words}"


def _contexts(baggage: Baggage, tell: Tell) -> Called:
    node, settings = baggage.node, baggage.settings
    found: list[contexts.ClassAnswer] = []

    def ask() -> tuple[bool, str]:
        with baggage.database.read() as tx:
            received = instances.latest_classes(tx)
        sent = contexts.wanted(node, received, settings.results.compression)
        if not sent:
            return True, "nothing that we would send is known"
        found.extend(contexts.ask(node, sent, settings))
        return True, f"{len(found)} SOP classes were proposed"

    asked = _told("propose", ask, tell)
    for one in found:
        tell(Step("class", one.ok, 0.0, one.meaning))
    return Called(asked.ok and all(one.ok for one in found))


def _told(name: str, work: Callable[[], tuple[bool, str]], tell: Tell) -> Called:
    started = time.monotonic()
    try:
        ok, text = work()
    except GatekeeperError as error:
        ok, text = False, str(error)
    tell(Step(name, ok, (time.monotonic() - started) * 1000, text))
    return Called(ok)
