"""What was received: instances and studies."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """What a study's headers say that people find it by; patient data. Empty where not stated."""

    study_instance_uid: str
    content_digest: str
    """Of the study's content that was read."""
    instances: int
    series_count: int
    problem: str = ""
    """What could not be read, in one sentence without patient data."""
    patient_name: str = ""
    """As PS3.5 6.2 writes it, the components by carets."""
    patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    """YYYYMMDD."""
    study_time: str = ""
    """HHMMSS, or less of it."""
    study_description: str = ""
    modalities: tuple[str, ...] = ()
    """Of all series, sorted."""
    body_part: str = ""
    manufacturer: str = ""
    model_name: str = ""
    station_name: str = ""
    device_serial_number: str = ""
    software_versions: str = ""
    protocol_name: str = ""
    """Of the series with the most images, as are the device's attributes."""
    series_description: str = ""
    device: str = ""
    """The scanner as calibrations name it."""
    series: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    """JSON: how each series was acquired; see `gatekeeper.study_index.acquired`."""
    received_at: float = 0.0
    read_at: float = 0.0
