"""The accounts of forwards: what does not add up about what is on its way through the gate.

As `gatekeeper.accounts`, over the facts of `storage.ledger_forwards`.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatekeeper.accounts import Entry
from storage.ledger_forwards import ForwardFacts, Uncopied
from storage.records import ForwardState

_NO_TICK = "`gatekeeper tick` does not run"


def judge_forward(forward: ForwardFacts, overdue_seconds: float) -> Iterator[Entry]:
    """Yield what does not add up about a forward."""
    waiting = forward.state == ForwardState.WAITING
    held = forward.state == ForwardState.HELD
    ended = forward.state in (ForwardState.SENT, ForwardState.REJECTED)
    judged = forward.judged_for is not None and forward.judged_for > overdue_seconds
    over = forward.hold_over_for is not None and forward.hold_over_for > overdue_seconds
    rules = (
        (
            forward.state not in set(ForwardState),
            f"its state '{forward.state}' is none that this version knows",
        ),
        (
            waiting and not forward.gated and forward.waited_for > overdue_seconds,
            f"{forward.node} is not gated and has waited {forward.waited_for:.0f} s: {_NO_TICK}",
        ),
        (
            waiting and forward.gated and judged,
            f"its study was judged, or given up, and nothing was decided: {_NO_TICK}",
        ),
        (held and forward.hold_over_for is None, "it is held without an end"),
        (held and over, f"its hold ended {forward.hold_over_for or 0:.0f} s ago: {_NO_TICK}"),
        (
            ended and forward.gated and not forward.decided_by,
            f"it is {forward.state} and nobody has decided that",
        ),
        (
            (waiting or held) and not forward.node_known,
            f"node {forward.node} is not known; it waits until the node is added again",
        ),
    )
    key = str(forward.id)
    yield from (Entry("forward", key, cause) for wrong, cause in rules if wrong)
    if held and not over:
        cause = f"study {forward.study_instance_uid} is held from {forward.node}: {forward.reason}"
        yield Entry("forward", key, cause, remark=True)


def judge_uncopied(lacking: Uncopied, overdue_seconds: float) -> Iterator[Entry]:
    """Yield what is to be said of instances that a node has no delivery of."""
    if lacking.waited_for > overdue_seconds:
        cause = (
            f"{lacking.count} of its instances are on no delivery to {lacking.node}, the first "
            f"since {lacking.waited_for:.0f} s"
        )
        yield Entry("study", lacking.study_instance_uid, cause)
