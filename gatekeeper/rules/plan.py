"""Plan: what the rules say is to be done with a study, and which rule says so.

Rules are asked twice. On receipt, when a study is complete: what to analyse and with which model,
how urgent it is, which priors to fetch, and where it is forwarded without waiting for a verdict.
Once judged: whom to forward it to, for whom to hold it, whom to tell.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Phase(enum.StrEnum):
    """When rules are asked."""

    RECEIVED = "received"
    JUDGED = "judged"


@dataclass(frozen=True, slots=True)
class Forwarding:
    """A node that the study is forwarded to."""

    node: str
    rule: str


@dataclass(frozen=True, slots=True)
class Holding:
    """A gated node that the study is held from.

    Attributes:
        node: AE title; empty for every gated node.
        rule: name of the rule.
        hours: longest hold; None for the site's maximum.
    """

    node: str
    rule: str
    hours: float | None = None


@dataclass(frozen=True, slots=True)
class Telling:
    """A channel that is told."""

    channel: str
    rule: str


@dataclass(frozen=True, slots=True)
class Fetching:
    """Prior studies to fetch.

    Attributes:
        node: AE title of the archive.
        rule: name of the rule.
        count: studies at most, the newest first.
        modality: of priors, empty for that of the study.
    """

    node: str
    rule: str
    count: int = 1
    modality: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """What one rule said of the study, for `gatekeeper rule test`.

    Attributes:
        rule: its name.
        matched: whether it applies.
        because: the tests that decided, in words: ``Modality is 'MR': it is 'CT'``. No patient data
            beyond the attributes that the rule names.
        series: Series Instance UIDs that it applies to; empty when it does not depend on a series.
    """

    rule: str
    matched: bool
    because: tuple[str, ...]
    series: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        models: Series Instance UID -> name of the bundle to analyse it with, as a rule says; series
            that are not named are analysed with the bundle that answers for their protocol.
        skipped: Series Instance UID -> name of the rule that leaves it out.
        forwards: nodes to forward to, each once, the first rule that says so.
        holds: gated nodes to hold the study from.
        tells: channels to tell.
        fetches: priors to fetch.
        priority: of the job; higher first, 0 is routine.
        matches: every enabled rule in order, with why it applies or not.
    """

    models: Mapping[str, str] = field(default_factory=dict[str, str])
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    forwards: tuple[Forwarding, ...] = ()
    holds: tuple[Holding, ...] = ()
    tells: tuple[Telling, ...] = ()
    fetches: tuple[Fetching, ...] = ()
    priority: int = 0
    matches: tuple[Match, ...] = ()
