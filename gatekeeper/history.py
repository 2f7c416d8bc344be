"""A study's whole way in one record, put together from the facts: for CLI, pages and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from storage import deliveries, feedback, forwards, jobs, outcomes, priors, studies, study_search
from storage.records import (
    HAS_ALL,
    ConfirmationState,
    Delivery,
    DeliveryState,
    Feedback,
    Forward,
    Job,
    JobState,
    Outcome,
    Prior,
    Result,
    Study,
    StudyHeader,
    StudyState,
)
from storage.study_search import Position, Stage, StudyFilter


@dataclass(frozen=True, slots=True)
class JobHistory:
    """One job with what it found, made and sent."""

    job: Job
    outcome: Outcome | None
    results: tuple[Result, ...]
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class ForwardHistory:
    """One forward with the delivery that brings it."""

    forward: Forward
    delivery: Delivery | None


@dataclass(frozen=True, slots=True)
class StudyHistory:
    """One study with all its jobs, newest first, and what the gate decided, oldest first."""

    study: Study
    jobs: tuple[JobHistory, ...]
    priors: tuple[Prior, ...] = ()
    """What was asked of archives for it, and what they had, the newest first."""
    forwards: tuple[ForwardHistory, ...] = ()
    feedback: tuple[Feedback, ...] = ()


@dataclass(frozen=True, slots=True)
class StudySummary:
    """One line of a listing."""

    study_instance_uid: str
    source_ae: str
    instances: int
    last_received_at: float
    stage: Stage
    verdict: str
    reason: str
    p_value: float | None
    held_from: tuple[str, ...] = ()
    """AE titles of nodes that it is held from."""


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One study of a search."""

    summary: StudySummary
    header: StudyHeader | None
    """Patient, description and device, which are patient data; None before they were read."""


@dataclass(frozen=True, slots=True)
class StudyPage:
    """One page of a search."""

    lines: tuple[StudyLine, ...]
    following: Position | None
    """Where the next page begins; None when there is none."""


def read_history(tx: Connection, study_instance_uid: str) -> StudyHistory | None:
    """Return everything known of a study, or None."""
    study = studies.get(tx, study_instance_uid)
    if study is None:
        return None
    found = sorted(jobs.listing(tx, study=study_instance_uid), key=lambda job: job.id, reverse=True)
    return StudyHistory(
        study,
        tuple(_job_history(tx, job) for job in found),
        tuple(priors.listing(tx, study_instance_uid)),
        tuple(_forward_history(tx, one) for one in forwards.of_study(tx, study_instance_uid)),
        tuple(feedback.of_study(tx, study_instance_uid)),
    )


def read_summaries(tx: Connection, limit: int) -> list[StudySummary]:
    """Return the newest studies, each with its latest verdict and the stage it is in."""
    return [line.summary for line in find_studies(tx, StudyFilter(), limit).lines]


def find_studies(
    tx: Connection, asked: StudyFilter, limit: int = 50, after: Position | None = None
) -> StudyPage:
    """Return one page of the studies that have what is asked for, the newest first.

    Args:
        tx: the open transaction.
        asked: the filter; an empty one asks for nothing.
        limit: studies of the page.
        after: `StudyPage.following` of the page before; None for the first.
    """
    found = study_search.search(tx, asked, limit + 1, after)
    page = found[:limit]
    sent = deliveries.for_jobs(tx, [one.job_id for one in page if one.job_id is not None])
    held = forwards.held_from(tx, [one.study_instance_uid for one in page])
    lines = tuple(
        StudyLine(
            StudySummary(
                study_instance_uid=one.study_instance_uid,
                source_ae=one.source_ae,
                instances=one.instances,
                last_received_at=one.last_received_at,
                stage=_stage(one.state, one.job_state, sent.get(one.job_id or 0, ())),
                verdict=one.verdict,
                reason=one.reason,
                p_value=one.p_value,
                held_from=tuple(held.get(one.study_instance_uid, ())),
            ),
            one.header,
        )
        for one in page
    )
    return StudyPage(lines, page[-1].position if len(found) > limit else None)


def stage(study: Study, newest: JobHistory | None) -> Stage:
    """Return where a study is on its way: from receiving to done, or dead."""
    if newest is None:
        return Stage.RECEIVING
    return _stage(study.state, newest.job.state, newest.deliveries)


def _stage(study: StudyState, job: JobState | None, deliveries: Sequence[Delivery]) -> Stage:
    if study is StudyState.RECEIVING or job is None:
        return Stage.RECEIVING
    if job is JobState.DONE:
        return _sent(deliveries)
    return {
        JobState.QUEUED: Stage.QUEUED,
        JobState.CLAIMED: Stage.ANALYSING,
        JobState.DEAD: Stage.DEAD,
    }[job]


def _sent(deliveries: Sequence[Delivery]) -> Stage:
    states = {delivery.state for delivery in deliveries}
    if DeliveryState.DEAD in states:
        return Stage.DELIVERY_DEAD
    if not states <= set(HAS_ALL):
        return Stage.SENDING
    answers = {delivery.confirmation for delivery in deliveries}
    if ConfirmationState.DEAD in answers:
        return Stage.NOT_CONFIRMED
    return Stage.DONE if answers <= {None, ConfirmationState.COMMITTED} else Stage.CONFIRMING


def _forward_history(tx: Connection, forward: Forward) -> ForwardHistory:
    number = forward.delivery_id
    return ForwardHistory(forward, None if number is None else deliveries.get(tx, number))


def _job_history(tx: Connection, job: Job) -> JobHistory:
    return JobHistory(
        job=job,
        outcome=outcomes.of_job(tx, job.id),
        results=tuple(outcomes.results_of_job(tx, job.id)),
        deliveries=tuple(deliveries.for_job(tx, job.id)),
    )
