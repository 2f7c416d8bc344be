"""What people can be told of, and what a message may say of it.

Each kind of event is a record of typed facts; `FACTS` is the list of every fact there is, with the
rule that it keeps. No patient's name, number or date has a place here. A study is named by its UID,
which leaves the site only on a channel whose details are ``uids``.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gatekeeper.errors import IdentifierError
from gatekeeper.identifiers import AeTitle, Uid

SENTENCE_LENGTH = 300
"""Characters of a sentence of ours that are told."""
NAME_LENGTH = 64
"""Characters of a name that an administrator gave."""

_UNDECIDED = frozenset({"UNREADABLE", "UNCALIBRATED"})


class Event(enum.StrEnum):
    """What a channel may want to be told."""

    STUDY_HELD = "study-held"
    HOLD_ENDS_SOON = "hold-ends-soon"
    HOLD_EXPIRED = "hold-expired"
    STUDY_RELEASED = "study-released"
    STUDY_REJECTED = "study-rejected"
    STUDY_NOT_DECIDED = "study-not-decided"
    VERDICT_CAME_LATE = "verdict-came-late"
    MODEL_UNAVAILABLE = "model-unavailable"
    DELIVERY_DEAD = "delivery-dead"
    JOB_DEAD = "job-dead"
    INTAKE_PAUSED = "intake-paused"
    CERTIFICATE_EXPIRES = "certificate-expires"
    DRIFT_FOUND = "drift-found"
    CLOCK_WRONG = "clock-wrong"
    SOFTWARE_CHANGED = "software-changed"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class StudyHeld:
    """A study is held from downstream nodes, until a time in seconds since 1970 or for ever."""

    event: ClassVar[Event] = Event.STUDY_HELD
    study: str
    until: float | None = None
    rule: str = ""


@dataclass(frozen=True, slots=True)
class HoldEndsSoon:
    """A held study nears the end of its hold; `outcome` is what then becomes of it."""

    event: ClassVar[Event] = Event.HOLD_ENDS_SOON
    study: str
    until: float
    outcome: str


@dataclass(frozen=True, slots=True)
class HoldExpired:
    """A hold ended with nobody's decision; `outcome` is what became of the study."""

    event: ClassVar[Event] = Event.HOLD_EXPIRED
    study: str
    outcome: str


@dataclass(frozen=True, slots=True)
class StudyReleased:
    """A person released a held study."""

    event: ClassVar[Event] = Event.STUDY_RELEASED
    study: str


@dataclass(frozen=True, slots=True)
class StudyRejected:
    """A person rejected a held study."""

    event: ClassVar[Event] = Event.STUDY_REJECTED
    study: str


@dataclass(frozen=True, slots=True)
class StudyNotDecided:
    """A study could not be judged: UNREADABLE or UNCALIBRATED."""

    event: ClassVar[Event] = Event.STUDY_NOT_DECIDED
    study: str
    job: int
    verdict: str


@dataclass(frozen=True, slots=True)
class VerdictCameLate:
    """A study went on to a gated node without a verdict, and the one that came is not CLEAR."""

    event: ClassVar[Event] = Event.VERDICT_CAME_LATE
    study: str
    node: str
    verdict: str


@dataclass(frozen=True, slots=True)
class ModelUnavailable:
    """Studies cannot be judged because a model, or what it runs on, is not there."""

    event: ClassVar[Event] = Event.MODEL_UNAVAILABLE
    model: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryDead:
    """A delivery is set aside after its last attempt."""

    event: ClassVar[Event] = Event.DELIVERY_DEAD
    delivery: int
    node: str
    reason: str
    study: str | None = None


@dataclass(frozen=True, slots=True)
class JobDead:
    """A job is set aside after its last attempt."""

    event: ClassVar[Event] = Event.JOB_DEAD
    job: int
    study: str
    reason: str


@dataclass(frozen=True, slots=True)
class IntakePaused:
    """The listener takes nothing more for now, by one of its marks, since a time."""

    event: ClassVar[Event] = Event.INTAKE_PAUSED
    mark: str
    since: float


@dataclass(frozen=True, slots=True)
class CertificateExpires:
    """A certificate named by a setting expires within so many days, or has."""

    event: ClassVar[Event] = Event.CERTIFICATE_EXPIRES
    setting: str
    days: int


@dataclass(frozen=True, slots=True)
class DriftFound:
    """What comes from a device is other than before: `attribute` of stream number `stream`."""

    event: ClassVar[Event] = Event.DRIFT_FOUND
    device: str
    attribute: str
    stream: int


@dataclass(frozen=True, slots=True)
class ClockWrong:
    """A device's clock is off, or its images take another time to come than before."""

    event: ClassVar[Event] = Event.CLOCK_WRONG
    device: str
    seconds: int


@dataclass(frozen=True, slots=True)
class SoftwareChanged:
    """A device has software that it never had before."""

    event: ClassVar[Event] = Event.SOFTWARE_CHANGED
    device: str


@dataclass(frozen=True, slots=True)
class RuleNotifies:
    """A rule matched a study, and says that people are to be told."""

    event: ClassVar[Event] = Event.RULE
    study: str
    rule: str


Happening = (
    StudyHeld
    | HoldEndsSoon
    | HoldExpired
    | StudyReleased
    | StudyRejected
    | StudyNotDecided
    | VerdictCameLate
    | ModelUnavailable
    | DeliveryDead
    | JobDead
    | IntakePaused
    | CertificateExpires
    | DriftFound
    | ClockWrong
    | SoftwareChanged
    | RuleNotifies
)


def _study(value: Any) -> str:
    """Return the UID, or nothing where a scanner sent what is none: it could say anything."""
    try:
        return Uid.parse(value)
    except IdentifierError:
        return ""


def _number(value: Any) -> int:
    return int(value)


def _moment(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError("not a moment")
    return float(value)


def _words(length: int) -> Callable[[Any], str]:
    """Return what makes one line of printable text of a value."""

    def line(value: Any) -> str:
        printable = "".join(one if one.isprintable() else " " for one in str(value))
        return " ".join(printable.split())[:length]

    return line


def _one_of(*choices: str) -> Callable[[Any], str]:
    def choice(value: Any) -> str:
        if str(value) not in choices:
            raise ValueError(f"not one of {', '.join(choices)}")
        return str(value)

    return choice


FACTS: Mapping[str, Callable[[Any], Any]] = {
    "study": _study,
    "delivery": _number,
    "job": _number,
    "node": AeTitle.parse,
    "setting": _words(NAME_LENGTH),
    "mark": _words(NAME_LENGTH),
    "model": _words(NAME_LENGTH),
    "device": _words(NAME_LENGTH),
    "attribute": _words(NAME_LENGTH),
    "stream": _number,
    "seconds": _number,
    "rule": _words(NAME_LENGTH),
    "verdict": _one_of("SUSPECT", *sorted(_UNDECIDED)),
    "outcome": _words(NAME_LENGTH),
    "reason": _words(SENTENCE_LENGTH),
    "days": _number,
    "since": _moment,
    "until": _moment,
}
"""Every fact that is kept for a message, and what reads it or refuses. The first that an event has
is what the event is about."""

IDENTIFYING = frozenset({"study"})
"""Facts that name a study, told on a channel of details ``uids`` alone."""


def facts_of(happening: Happening) -> dict[str, Any]:
    """Return the facts of an event as JSON; a study whose UID breaks the rules is not named.

    Raises:
        IdentifierError, ValueError: if one is not what its name says.
    """
    given = {one.name: getattr(happening, one.name) for one in dataclasses.fields(happening)}
    read = {name: FACTS[name](value) for name, value in given.items() if value not in (None, "")}
    return {name: value for name, value in read.items() if value != ""}


def subject_of(facts: Mapping[str, Any]) -> str:
    """Return what an event of these facts is about."""
    return next((str(facts[name]) for name in FACTS if name in facts), "")


def is_undecided(verdict: str) -> bool:
    """Return whether a verdict is one that people are told of because nothing was decided."""
    return verdict in _UNDECIDED
