"""Rendering: facts become the subject, the text and the JSON of a message; pure.

The text is made when a message is sent, for the details that its channel then has. It is English.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gatekeeper.notify.events import FACTS, IDENTIFYING, Event
from storage.notifications import DIGEST
from storage.records import Details, Notification

LOOK_UP = "gatekeeper notification show {number}"

_SENTENCES: Mapping[str, tuple[str, str]] = {
    Event.STUDY_HELD: ("a study is held", "A study{study} is held{until}{rule}."),
    Event.HOLD_ENDS_SOON: (
        "a hold ends soon",
        "The hold of a study{study} ends{at}; it is then {outcome}.",
    ),
    Event.HOLD_EXPIRED: (
        "a hold has expired",
        "The hold of a study{study} has expired with no decision; it is {outcome}.",
    ),
    Event.STUDY_RELEASED: ("a study is released", "A held study{study} is released."),
    Event.STUDY_REJECTED: ("a study is rejected", "A held study{study} is rejected."),
    Event.STUDY_NOT_DECIDED: (
        "a study is not decided",
        "A study{study} could not be judged in job {job}: {verdict}.",
    ),
    Event.VERDICT_CAME_LATE: (
        "a verdict came late",
        "A study{study} went on to {node} before it was judged: {verdict}.",
    ),
    Event.MODEL_UNAVAILABLE: (
        "a model is not available",
        "Studies are not judged: model {model} is not available{reason}.",
    ),
    Event.DELIVERY_DEAD: (
        "a delivery is set aside",
        "Delivery {delivery} to {node}{study} is set aside{reason}.",
    ),
    Event.JOB_DEAD: ("a job is set aside", "Job {job}{study} is set aside{reason}."),
    Event.INTAKE_PAUSED: ("intake is paused", "Intake is paused by the {mark} since {since}."),
    Event.CERTIFICATE_EXPIRES: (
        "a certificate expires",
        "The certificate of {setting} {expires}.",
    ),
    Event.DRIFT_FOUND: (
        "drift is found",
        "{device} sends other than before: {attribute} (gatekeeper drift show {stream}).",
    ),
    Event.CLOCK_WRONG: (
        "a clock is off",
        "The clock of {device} is off, or its images come later: {seconds} s after their making.",
    ),
    Event.SOFTWARE_CHANGED: ("software has changed", "{device} has other software than before."),
    Event.RULE: ("a rule matches", "A study{study} matches rule {name}."),
}
_UNKNOWN = ("something happened", "An event that this version does not know: {event}.")

_UID = re.compile(r"\b(?:2\.25\.\d+|\d+(?:\.\d+){4,})\b")


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, whichever way it travels."""

    delivery_id: str
    subject: str
    text: str
    payload: dict[str, Any]
    """JSON."""


def render(
    notification: Notification,
    details: Details,
    site: str,
    gathered: Sequence[Notification] = (),
    lines: int = 50,
) -> Message:
    """Return the message of a notification.

    Args:
        notification: what is told.
        details: what is said of which study it is about.
        site: our AE title, so that several sites can be told apart.
        gathered: what a digest tells of.
        lines: how many of those are named one by one.
    """
    if notification.event == DIGEST:
        return _digest(notification, details, site, gathered, lines)
    title, _ = _SENTENCES.get(notification.event, _UNKNOWN)
    look_up = LOOK_UP.format(number=notification.id)
    text = [
        sentence(notification, details),
        "",
        f"Happened: {_moment(notification.created_at)}",
        f"Look it up: {look_up}",
    ]
    return Message(
        notification.delivery_id,
        f"[{site}] {title} (number {notification.id})",
        _signed(text, site),
        {"site": site, **_payload(notification, details)},
    )


def test_message(delivery_id: str, site: str) -> Message:
    """Return the message of `gatekeeper channel test`."""
    text = "This is a test. Nothing happened."
    payload = {"site": site, "id": delivery_id, "event": "test", "text": text}
    return Message(delivery_id, f"[{site}] a test", _signed([text], site), payload)


def sentence(notification: Notification, details: Details) -> str:
    """Return what happened in one sentence."""
    facts = shown(notification.facts, details)
    _, pattern = _SENTENCES.get(notification.event, _UNKNOWN)
    return pattern.format_map(_Words(facts, str(notification.event)))


def shown(facts: Mapping[str, Any], details: Details) -> dict[str, Any]:
    """Return the facts that a channel of these details is told."""
    allowed = {name: facts[name] for name in FACTS if name in facts}
    if details is Details.UIDS:
        return allowed
    kept = {name: value for name, value in allowed.items() if name not in IDENTIFYING}
    if "reason" in kept:
        kept["reason"] = _UID.sub("(UID)", kept["reason"])
    return kept


class _Words(dict[str, str]):
    """Facts as they stand in a sentence; one that there is not leaves nothing."""

    def __init__(self, facts: Mapping[str, Any], event: str) -> None:
        super().__init__({name: str(value) for name, value in facts.items()})
        self["event"] = event
        self["name"] = self.get("rule", "")
        if "study" in facts:
            self["study"] = f" ({facts['study']})"
        if "rule" in facts:
            self["rule"] = f" by rule {facts['rule']}"
        if "reason" in facts:
            self["reason"] = f": {str(facts['reason']).rstrip('.')}"
        if "until" in facts:
            self["until"] = f" until {_moment(facts['until'])}"
            self["at"] = f" at {_moment(facts['until'])}"
        if "since" in facts:
            self["since"] = _moment(facts["since"])
        if "days" in facts:
            days = facts["days"]
            self["expires"] = f"expires in {days} days" if days >= 0 else "has expired"

    def __missing__(self, name: str) -> str:
        return ""


def _digest(
    notification: Notification,
    details: Details,
    site: str,
    gathered: Sequence[Notification],
    lines: int,
) -> Message:
    counts = Counter(one.event for one in gathered)
    text = ["Many events came at once; these were not told one by one:", ""]
    text += [f"{number:6d}  {event}" for event, number in counts.most_common()]
    text += [""] + [
        f"{one.id}  {_moment(one.created_at)}  {sentence(one, details)}" for one in gathered[:lines]
    ]
    if len(gathered) > lines:
        text.append(f"and {len(gathered) - lines} more")
    text += ["", f"Look them up: {LOOK_UP.format(number=notification.id)}"]
    payload = {
        "site": site,
        "id": notification.delivery_id,
        "number": notification.id,
        "event": DIGEST,
        "happened_at": notification.created_at,
        "counts": dict(counts),
        "notifications": [_payload(one, details) for one in gathered[:lines]],
    }
    return Message(
        notification.delivery_id,
        f"[{site}] {len(gathered)} events (number {notification.id})",
        _signed(text, site),
        payload,
    )


def _payload(notification: Notification, details: Details) -> dict[str, Any]:
    return {
        "id": notification.delivery_id,
        "number": notification.id,
        "event": notification.event,
        "happened_at": notification.created_at,
        "facts": shown(notification.facts, details),
        "text": sentence(notification, details),
        "look_up": LOOK_UP.format(number=notification.id),
    }


def _signed(lines: Sequence[str], site: str) -> str:
    return "\n".join([*lines, "", "-- ", f"Gatekeeper at {site}"]) + "\n"


def _moment(seconds: float) -> str:
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S %z")
