"""What was found: jobs, outcomes, results, and what reviewers say of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class JobState(enum.StrEnum):
    """A job's life: queued -> claimed -> done | dead; a failed claim goes back to queued."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Job:
    """One analysis of one content of a study by one set of models."""

    id: int
    study_instance_uid: str
    content_digest: str
    model_digest: str
    revision: int
    state: JobState
    attempt: int
    """Number of the latest claim; settling a job takes the number that its claim gave."""
    created_at: float
    not_before: float
    lease_until: float | None = None
    worker: str = ""
    claimed_at: float | None = None
    finished_at: float | None = None
    reason: str = ""
    """Why the latest attempt failed, or why the job is dead."""
    attempts_before: int = 0
    """Attempts made before the latest retry by hand; the rest count against the maximum."""
    priority: int = 0
    """Higher is claimed first; 0 is routine."""
    instructions: dict[str, Any] = field(default_factory=dict[str, Any])
    """JSON: what the rules say of the analysis; see `gatekeeper.rules.plan`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job found, one row a job."""

    job_id: int
    verdict: str
    reason: str
    score: float | None
    p_value: float | None
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])
    """JSON: per-series findings, profile, calibration, regions, what the verdict rests on."""
    stages: dict[str, float] = field(default_factory=dict[str, float])
    """Milliseconds of each stage of the work."""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """One result object of a job, its bytes in the spool under `digest`."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    kind: str
    """``heatmap`` or ``report``."""
    digest: str
    size: int
    language: str = "en"
    """Language of its texts, an RFC 5646 tag."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """A reviewer's word on the verdict of a job."""

    id: int
    at: float
    job_id: int
    reviewer: str
    verdict: str
    agrees: bool
    remark: str


@dataclass(frozen=True, slots=True)
class ClinicalValue:
    """A clinical value as it was given, and in the unit in which it is used.

    `id` and `at`, the moment of its arrival, are the database's; 0 before it is kept.
    """

    study_instance_uid: str
    """Empty where it is of a patient, and of no one study."""
    patient: str
    """Keyed hash of PatientID and its issuer; empty where it is of a study alone."""
    observed_at: float
    """Seconds since 1970-01-01 UTC; 0 where it was not said."""
    name: str
    value: float
    unit: str
    """UCUM; the one unit of its name."""
    given_value: float
    given_unit: str
    source: str
    """``sr``, ``csv`` or ``api``."""
    reference: str
    """Where it can be looked up: SOP Instance UID, digest of the file, name of the caller."""
    id: int = 0
    at: float = 0.0
