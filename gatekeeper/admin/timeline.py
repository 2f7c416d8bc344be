"""Timeline: a study's way as lines of a picture, each a span of time with what happened in it.

A hold takes hours where an analysis takes seconds. So the time between two events is drawn as the
logarithm of its seconds: the order is true, every step can be seen, and the times stand beside.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gatekeeper.history import ForwardHistory, JobHistory, StudyHistory
from storage.records import Delivery, DeliveryState, ForwardState, JobState

WIDTH = 1000.0
"""Of the picture, in its own units."""
LINES = 40
"""Most lines of a picture; of a study that came again and again, the latest."""
_THINNEST = 6.0


@dataclass(frozen=True, slots=True)
class Span:
    """One line: something that began, and ended or goes on.

    Attributes:
        title: what.
        begin: seconds since 1970.
        end: likewise; None while it goes on.
        tone: how it is drawn: ``wait``, ``work``, ``held``, ``done``, ``bad``.
        text: more of it, in a few words.
    """

    title: str
    begin: float
    end: float | None
    tone: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A span with its place in the picture, and how long it took, in seconds."""

    span: Span
    left: float
    width: float
    seconds: float


def timeline(history: StudyHistory, now: float) -> list[Line]:
    """Return a study's way, line by line.

    Args:
        history: of the study.
        now: where what goes on ends for now, seconds since 1970.
    """
    return draw(sorted(_spans(history), key=lambda one: one.begin)[-LINES:], now)


def draw(spans: Sequence[Span], now: float) -> list[Line]:
    """Return spans with their places; what ends before it begins has no length."""
    ends = [max(one.begin, now if one.end is None else one.end) for one in spans]
    cuts = sorted({one.begin for one in spans} | set(ends))
    steps = [math.log1p(later - earlier) + 0.2 for earlier, later in itertools.pairwise(cuts)]
    whole = sum(steps) or 1.0
    at = (WIDTH * part / whole for part in itertools.accumulate(steps, initial=0.0))
    places = dict(zip(cuts, at, strict=False))
    lines: list[Line] = []
    for span, end in zip(spans, ends, strict=True):
        width = max(_THINNEST, places[end] - places[span.begin])
        left = min(places[span.begin], WIDTH - width)
        lines.append(Line(span, round(left, 1), round(width, 1), end - span.begin))
    return lines


def _spans(history: StudyHistory) -> Iterator[Span]:
    study = history.study
    received = f"{study.instances} instances from {study.source_ae}"
    yield Span("Received", study.first_received_at, study.last_received_at, "done", received)
    if study.completed_at is None or study.completed_at < study.last_received_at:
        yield Span("Waiting for more images", study.last_received_at, study.completed_at, "wait")
    for job in history.jobs:
        yield from _of_job(job)
    for forward in history.forwards:
        yield from _of_forward(forward)
    for prior in history.priors:
        if prior.prior_study_uid:
            yield Span("Prior", prior.created_at, prior.created_at, "done", prior.node)


def _of_job(history: JobHistory) -> Iterator[Span]:
    job = history.job
    revision = f"revision {job.revision}"
    if job.claimed_at is None or job.state is JobState.QUEUED:
        yield Span("Waiting for analysis", job.created_at, None, "wait", revision)
    else:
        yield Span("Waiting for analysis", job.created_at, job.claimed_at, "wait", revision)
        tone = {JobState.DONE: "done", JobState.DEAD: "bad"}.get(job.state, "work")
        found = "" if history.outcome is None else f", {history.outcome.verdict}"
        yield Span("Analysis", job.claimed_at, job.finished_at, tone, revision + found)
    for delivery in history.deliveries:
        yield _of_delivery(delivery, "Results")


def _of_forward(history: ForwardHistory) -> Iterator[Span]:
    forward = history.forward
    open_ = forward.state in (ForwardState.WAITING, ForwardState.HELD)
    decided = forward.decided_at or (None if open_ else forward.held_at or forward.created_at)
    if forward.gated:
        until = forward.held_at or decided
        if until is None or until > forward.created_at:
            yield Span(f"Gate to {forward.node}", forward.created_at, until, "wait")
    if forward.held_at is not None:
        end = None if forward.state is ForwardState.HELD else decided
        by = f"{forward.state.value} by {forward.decided_by}" if forward.decided_by else ""
        yield Span(f"Held from {forward.node}", forward.held_at, end, "held", by)
    if history.delivery is not None:
        yield _of_delivery(history.delivery, "Study")


def _of_delivery(delivery: Delivery, what: str) -> Span:
    tones: Mapping[DeliveryState, str] = {
        DeliveryState.DELIVERED: "done",
        DeliveryState.COMMITTED: "done",
        DeliveryState.DEAD: "bad",
        DeliveryState.CLAIMED: "work",
    }
    tone = tones.get(delivery.state, "wait")
    end = delivery.delivered_at
    if end is None and delivery.state is DeliveryState.DEAD:
        end = delivery.not_before
    text = f"{delivery.items_stored} of {delivery.items} stored"
    return Span(f"{what} to {delivery.node}", delivery.created_at, end, tone, text)
