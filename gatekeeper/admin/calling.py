"""Calling: a node is called in a thread, step by step, for pages and REST alike."""

from __future__ import annotations

from gatekeeper import node_changes
from gatekeeper.admin.console import Console
from gatekeeper.admin.runs import Run
from gatekeeper.node_calls import Call, Called, CannotCall, Tell, call
from gatekeeper.node_calls import problem as why_not
from gatekeeper.send.roundtrip import Baggage


def begin(console: Console, ae: str, what: str) -> Run:
    """Begin to call a node.

    Raises:
        GatekeeperError: saying why it is not called.
    """
    with console.database.read() as tx:
        node = node_changes.known(tx, ae)
    if what not in {one.value for one in Call}:
        raise CannotCall(f"a node is called for {', '.join(Call)}")
    wanted = Call(what)
    reason = why_not(node, wanted)
    if reason:
        raise CannotCall(reason)
    baggage = Baggage(node, console.settings, console.database, console.spool)

    def work(tell: Tell) -> Called:
        return call(wanted, baggage, tell)

    return console.runs.begin(ae, wanted, work)
