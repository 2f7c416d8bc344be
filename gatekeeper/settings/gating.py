"""Settings of the gate: what passes to downstream nodes, what is held, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting

_ACTIONS = ("hold", "forward", "reject")


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What becomes of a study on its way to nodes of the role downstream; CLEAR always passes."""

    suspect: str = setting("hold", "what becomes of a SUSPECT study", choices=_ACTIONS)
    unreadable: str = setting("hold", "what becomes of an UNREADABLE study", choices=_ACTIONS)
    uncalibrated: str = setting(
        "forward", "what becomes of an UNCALIBRATED study", choices=_ACTIONS
    )
    unavailable: str = setting(
        "forward",
        "what becomes of a study without a verdict: its job is dead, or none came in time; "
        "an alert in any case",
        choices=_ACTIONS,
    )
    verdict_minutes: float = setting(
        30.0, "how long a study waits for its verdict", unit="min", minimum=0.1, maximum=10080
    )
    maximum_hold_hours: float = setting(
        24.0, "longest time that a study is held; rules may hold shorter", unit="h", minimum=0.01
    )
    at_limit: str = setting(
        "forward", "what becomes of a study that was held so long", choices=("forward", "reject")
    )
    warn_hours: float = setting(
        2.0, "how long before that an alert is given, once", unit="h", minimum=0
    )
    copy_instances: int = setting(
        1000, "most instances in one delivery to a node that waits for no verdict", minimum=1
    )
    decide_at_once: int = setting(
        500, "most studies that one tick decides about; the rest waits for the next", minimum=1
    )
