"""Alerts: what people are told of the gate's decisions, in the log and through the outbox."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from gatekeeper.log import get_logger
from gatekeeper.notify import events
from gatekeeper.notify.announce import announce
from gatekeeper.rules.plan import Telling
from storage import notifications

log = get_logger()


class Event(enum.StrEnum):
    """What happened."""

    HELD = "study_held"
    REJECTED = "study_rejected"
    RELEASED = "study_released"
    FORWARDED = "study_forwarded_unclear"
    """Forwarded with another verdict than CLEAR, or with none."""
    ENDING = "hold_ends_soon"
    EXPIRED = "hold_expired"
    LATE = "verdict_came_late"
    """A study was forwarded without a verdict, and is not CLEAR."""
    RULE = "rule_says_so"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that people are told, without patient data.

    Attributes:
        event: what happened.
        study: Study Instance UID.
        revision: of the study.
        node: AE title of the destination; empty when it is about none.
        verdict: empty when there is none.
        reason: in one sentence; empty where a person's words would be it.
        until: when a hold ends, in seconds since 1970.
        outcome: what then becomes of the study, or has.
        channel: that a rule names; empty for those that want the event.
        rule: the rule that names it.
    """

    event: Event
    study: str
    revision: int
    node: str = ""
    verdict: str = ""
    reason: str = ""
    until: float | None = None
    outcome: str = ""
    channel: str = ""
    rule: str = ""


def of_rules(study: str, revision: int, verdict: str, tells: Iterable[Telling]) -> list[Alert]:
    """Return what rules say that channels are told."""
    return [
        Alert(Event.RULE, study, revision, verdict=verdict, channel=one.channel, rule=one.rule)
        for one in tells
    ]


def tell(tx: Connection, alerts: Iterable[Alert]) -> None:
    """Queue the notifications of these alerts in the transaction that they are about.

    A study that is held from several nodes is told of once a revision.
    """
    for one in alerts:
        happening = _happening(one)
        if happening is None:
            continue
        key = f"{one.study}:{one.revision}"
        if isinstance(happening, events.RuleNotifies):
            facts = events.facts_of(happening)
            dedup = f"{happening.event}:{one.rule}:{key}"
            subject = events.subject_of(facts)
            notifications.enqueue(tx, one.channel, happening.event, subject, facts, dedup)
        else:
            announce(tx, happening, key)


def _happening(one: Alert) -> events.Happening | None:
    """Return the event that channels know; None for what the worker or nobody announces."""
    if one.event is Event.FORWARDED:
        return None if one.verdict else events.ModelUnavailable("analysis", one.reason)
    known: dict[Event, events.Happening] = {
        Event.HELD: events.StudyHeld(one.study, one.until, one.rule),
        Event.REJECTED: events.StudyRejected(one.study),
        Event.RELEASED: events.StudyReleased(one.study),
        Event.ENDING: events.HoldEndsSoon(one.study, one.until or 0.0, one.outcome),
        Event.EXPIRED: events.HoldExpired(one.study, one.outcome),
        Event.RULE: events.RuleNotifies(one.study, one.rule),
        Event.LATE: events.VerdictCameLate(one.study, one.node, one.verdict),
    }
    return known.get(one.event)


def log_alerts(alerts: Iterable[Alert]) -> None:
    """Log alerts; to be called once their transaction is committed."""
    for one in alerts:
        told = {
            "study": one.study,
            "node": one.node,
            "verdict": one.verdict,
            "reason": one.reason,
            "rule": one.rule,
            "key": one.channel,
        }
        say = log.info if one.event is Event.RELEASED else log.warning
        say(one.event.value, **{name: value for name, value in told.items() if value})
