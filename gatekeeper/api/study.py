"""What is answered of a study, field by field; times are in seconds since 1970."""

from __future__ import annotations

from pydantic import Field

from gatekeeper.api.fields import Answer, Json
from storage.records import (
    ConfirmationState,
    DeliveryState,
    ForwardState,
    JobState,
    PriorState,
    StudyState,
)
from storage.study_search import Stage


class Header(Answer):
    """What a study's headers say that people find it by; patient data. Empty where not stated."""

    patient_name: str
    patient_id: str
    accession_number: str
    study_date: str
    study_time: str
    study_description: str
    modalities: list[str]
    body_part: str
    manufacturer: str
    model_name: str
    station_name: str
    software_versions: str
    protocol_name: str
    device: str


class Listed(Answer):
    """One study of a list; times are in seconds since 1970."""

    study_instance_uid: str
    source_ae: str
    instances: int
    last_received_at: float
    stage: Stage
    verdict: str
    reason: str
    p_value: float | None
    held_from: list[str]
    header: Header | None


class Received(Answer):
    """What was received of a study."""

    study_instance_uid: str
    source_ae: str
    state: StudyState
    revision: int
    content_digest: str
    instances: int
    series: int
    first_received_at: float
    last_received_at: float
    completed_at: float | None


class Outcome(Answer):
    """What a job found."""

    verdict: str
    reason: str
    score: float | None
    p_value: float | None
    evidence: Json
    stages: dict[str, float]
    created_at: float


class Result(Answer):
    """One result object."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    kind: str
    size: int
    language: str


class Delivery(Answer):
    """One set of objects on its way to a node."""

    id: int
    node: str
    state: DeliveryState
    attempt: int
    created_at: float
    delivered_at: float | None
    reason: str
    items: int
    items_stored: int
    items_left_out: int
    confirmation: ConfirmationState | None


class Judged(Answer):
    """One job with what it found, made and sent."""

    id: int
    revision: int
    state: JobState
    attempt: int
    priority: int
    created_at: float
    claimed_at: float | None
    finished_at: float | None
    reason: str
    outcome: Outcome | None
    results: list[Result]
    deliveries: list[Delivery]


class Forward(Answer):
    """One content of a study on its way to a node."""

    id: int
    node: str
    revision: int
    gated: bool
    state: ForwardState
    verdict: str
    reason: str
    created_at: float
    held_at: float | None
    hold_until: float | None
    decided_at: float | None
    decided_by: str


class Prior(Answer):
    """A request for prior studies, or one that was found."""

    id: int
    node: str
    rule: str
    modality: str
    prior_study_uid: str
    state: PriorState
    reason: str
    created_at: float


class Opinion(Answer):
    """What a reviewer says of a verdict."""

    id: int
    at: float
    job_id: int
    reviewer: str
    verdict: str
    agrees: bool
    remark: str


class Study(Answer):
    """One study with all that is known of it: jobs newest first, forwards oldest first."""

    study: Received
    stage: Stage
    header: Header | None
    jobs: list[Judged]
    forwards: list[Forward]
    priors: list[Prior]
    feedback: list[Opinion]


class Signed(Answer):
    """One signed record, as an envelope of DSSE."""

    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: list[Json]


class Verified(Answer):
    """One thing that was verified."""

    what: str
    ok: bool
    text: str
