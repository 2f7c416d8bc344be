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


class Lesion(Answer):
    """One lesion; slices are counted from 1 in the order of the scan.

    `size_mm` is through the slices, down the rows, along the columns. Null is what outcomes of
    earlier releases did not keep.
    """

    number: int
    origin: str = Field(description="`detector`, `segmentation` or `structure_set`.")
    within: int = Field(description="Number of the region, segment or structure in its origin.")
    probability: float = Field(description="That it is malignant, at the stated prevalence.")
    interval: tuple[float, float] = Field(description="95 %, of the calibration patients alone.")
    inside_calibration: bool
    slice: int = Field(description="That of its largest area.")
    slices: tuple[int, int] | None = Field(description="Its first and its last.")
    images: tuple[int, int] | None = Field(description="The same as viewers number images.")
    size_mm: tuple[float, float, float] | None
    volume_mm3: float
    centre_lps_mm: tuple[float, float, float]


class LesionScores(Answer):
    """How likely each lesion of a series is malignant; it explains and decides nothing."""

    series_instance_uid: str
    bundle: str
    bundle_digest: str
    trial: bool = Field(description="Not released for patients.")
    not_tested_on: list[str]
    prevalence: float = Field(description="Part of malignant patients that it holds for.")
    benign_patients: int
    malignant_patients: int
    brier: float
    expected_calibration_error: float
    lesions: list[Lesion]
    left_out: list[str] = Field(description="What was not scored and why.")


class Contribution(Answer):
    """What the scan (`image`) or one clinical variable adds to a score."""

    name: str
    meaning: str
    share: float
    measured: bool
    source: str = Field(description="`sr`, `csv` or `api`; empty for the scan.")


class ClinicalScore(Answer):
    """What image and clinical values together say of a series; it explains and decides nothing."""

    series_instance_uid: str
    bundle: str
    bundle_digest: str
    simulated: bool = Field(description="Fitted to patients that were made up.")
    score: float
    baseline: float = Field(description="Of a patient of whom nothing is known.")
    percentile: float = Field(description="Percent of the calibration patients below the score.")
    p_value: float = Field(description="Conformal.")
    calibration_size: int
    atypical: bool
    contributions: list[Contribution] = Field(description="With the baseline they sum to `score`.")
    missing: list[str] = Field(description="What was not measured.")


class Explanations(Answer):
    """What is said beside the verdict; empty where a site has no bundle for it."""

    lesions: list[LesionScores]
    lesion_problems: list[str]
    clinical: list[ClinicalScore]
    clinical_problem: str


class Outcome(Answer):
    """What a job found."""

    verdict: str
    reason: str
    score: float | None
    p_value: float | None
    explanations: Explanations
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
