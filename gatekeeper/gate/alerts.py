"""Alerts: what people are told of the gate's decisions.

Each is an event in the log. `tell` is the one place where they become notifications.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from gatekeeper.log import get_logger
from gatekeeper.rules.plan import Telling

log = get_logger()


class Event(enum.StrEnum):
    """What happened."""

    HELD = "study_held"
    REJECTED = "study_rejected"
    FORWARDED = "study_forwarded_unclear"
    """Forwarded with another verdict than CLEAR, or with none."""
    ENDING = "hold_ends_soon"
    LATE = "verdict_came_late"
    """A study was forwarded without a verdict, and is not CLEAR."""
    RULE = "rule_says_so"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that people are told, without patient data.

    Attributes:
        event: what happened.
        study: Study Instance UID.
        node: AE title of the destination; empty when it is about none.
        verdict: empty when there is none.
        reason: in one sentence.
        channel: that a rule names; empty for the usual ones.
        rule: the rule that names it.
    """

    event: Event
    study: str
    node: str = ""
    verdict: str = ""
    reason: str = ""
    channel: str = ""
    rule: str = ""

    @property
    def key(self) -> str:
        """The same for the same thing told twice."""
        return ":".join((self.event, self.study, self.node, self.channel, self.rule))


def of_rules(study: str, verdict: str, tells: Iterable[Telling]) -> list[Alert]:
    """Return what rules say that channels are told."""
    return [
        Alert(Event.RULE, study, verdict=verdict, channel=one.channel, rule=one.rule)
        for one in tells
    ]


def tell(tx: Connection, alerts: Iterable[Alert]) -> None:
    """Queue the notifications of these alerts in the transaction that they are about.

    THE SEAM OF NOTIFICATIONS: `storage.notifications.enqueue(tx, channel, event, facts, dedup)` is
    called here for each alert, with `Alert.key` to tell it once.
    """
    del tx, alerts


def log_alerts(alerts: Iterable[Alert]) -> None:
    """Log alerts; to be called once their transaction is committed."""
    for one in alerts:
        log.warning(
            one.event.value,
            study=one.study,
            node=one.node or None,
            verdict=one.verdict or None,
            reason=one.reason or None,
            rule=one.rule or None,
            key=one.channel or None,
        )
