"""What was received: instances and studies."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class StudyState(enum.StrEnum):
    """Whether a study is still being received."""

    RECEIVING = "receiving"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Instance:
    """One received SOP Instance, its bytes in the spool under `digest`."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    digest: str
    size: int
    source_ae: str
    own_result: bool = False
    """True when it is one of our own results come back: kept, never analysed."""
    prior: bool = False
    """True when it was fetched as part of a prior study and never sent to us as one to analyse."""
    conflict: bool = False
    """True when the same SOP Instance UID is kept with other content too."""
    received_at: float = 0.0
    removed_at: float | None = None
    """When retention removed its file; None while the file is kept."""


@dataclass(frozen=True, slots=True)
class Study:
    """One study as far as received."""

    study_instance_uid: str
    source_ae: str
    state: StudyState
    revision: int
    """0 until complete for the first time; each completion with new content adds one."""
    content_digest: str
    """Digest of the content at the latest completion, empty before."""
    instances: int
    series: int
    first_received_at: float
    last_received_at: float
    completed_at: float | None = None
