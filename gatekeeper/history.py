"""A study's whole way in one record, put together from the facts: for CLI, pages and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from storage import deliveries, feedback, forwards, jobs, outcomes, priors, studies
from storage.records import (
    HAS_ALL,
    ConfirmationState,
    Delivery,
    DeliveryState,
    Feedback,
    Forward,
    ForwardState,
    Job,
    JobState,
    Outcome,
    Prior,
    Result,
    Study,
    StudyState,
)


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
    stage: str
    verdict: str
    reason: str
    p_value: float | None
    held_from: tuple[str, ...] = ()
    """AE titles of nodes that it is held from."""


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
    summaries: list[StudySummary] = []
    for study in studies.listing(tx, limit=limit):
        history = read_history(tx, study.study_instance_uid)
        newest = history.jobs[0] if history is not None and history.jobs else None
        outcome = newest.outcome if newest is not None else None
        summaries.append(
            StudySummary(
                study_instance_uid=study.study_instance_uid,
                source_ae=study.source_ae,
                instances=study.instances,
                last_received_at=study.last_received_at,
                stage=stage(study, newest),
                verdict=outcome.verdict if outcome is not None else "",
                reason=outcome.reason if outcome is not None else "",
                p_value=outcome.p_value if outcome is not None else None,
                held_from=_held_from(history),
            )
        )
    return summaries


def stage(study: Study, newest: JobHistory | None) -> str:
    """Return where a study is on its way: from receiving to done, or dead."""
    if study.state is StudyState.RECEIVING or newest is None:
        return "receiving"
    if newest.job.state is JobState.QUEUED:
        return "queued"
    if newest.job.state is JobState.CLAIMED:
        return "analysing"
    if newest.job.state is JobState.DEAD:
        return "dead"
    return _sent(newest.deliveries)


def _sent(deliveries: Sequence[Delivery]) -> str:
    states = {delivery.state for delivery in deliveries}
    if DeliveryState.DEAD in states:
        return "delivery dead"
    if not states <= set(HAS_ALL):
        return "sending"
    answers = {delivery.confirmation for delivery in deliveries}
    if ConfirmationState.DEAD in answers:
        return "not confirmed"
    return "done" if answers <= {None, ConfirmationState.COMMITTED} else "confirming"


def _held_from(history: StudyHistory | None) -> tuple[str, ...]:
    found = () if history is None else history.forwards
    return tuple(one.forward.node for one in found if one.forward.state is ForwardState.HELD)


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
