"""Values: what drift looks at in a settled job, out of its evidence and its study's header; pure.

One series for each device, protocol and detector: several of one study are of one patient, and
would look like more than they are. A series with a fault is held whatever it scores, and left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatekeeper.acquired import Acquired
from storage.records import StudyHeader

SCORE = "score"
HEADER = (
    "pixel_spacing_row",
    "pixel_spacing_column",
    "slice_thickness",
    "spacing_between_slices",
    "rows",
    "columns",
    "slices",
    "bits_stored",
    "repetition_time",
    "echo_time",
    "inversion_time",
    "flip_angle",
    "echo_train_length",
    "pixel_bandwidth",
    "field_strength",
    "kvp",
)
"""Attributes of a header that are looked at; see `gatekeeper.acquired`."""
ABSENT = -1.0
"""Stands for a value that is not stated, so that one which comes or goes is a change."""


@dataclass(frozen=True, slots=True)
class SeriesValues:
    """One series that was scored.

    Attributes:
        series_instance_uid: its UID.
        device, protocol: as calibrations name them.
        detector: name of the bundle.
        terms: version and calibration of it.
        score: raw.
        p_value: that its verdict rests on.
        numbers: of each of `HEADER`; empty where the header was not read.
    """

    series_instance_uid: str
    device: str
    protocol: str
    detector: str
    terms: str
    score: float
    p_value: float
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def attributes(self) -> dict[str, float]:
        """The score and what the header says, by their names."""
        return {SCORE: self.score, **self.numbers}


def values_of(
    evidence: Mapping[str, Any], header: StudyHeader | None
) -> tuple[tuple[SeriesValues, ...], int]:
    """Return the series of a job that drift looks at, and how many entries are of no known form.

    Args:
        evidence: of the job's outcome.
        header: of its study; None where there is none.
    """
    acquired = {one.series_instance_uid: one for one in acquired_of(header)}
    found: dict[tuple[str, str, str], SeriesValues] = {}
    unknown = 0
    for entry in evidence.get("series", ()):
        try:
            one = _series(entry, acquired)
        except (AttributeError, LookupError, TypeError, ValueError):
            unknown += 1
            continue
        if one is not None:
            found.setdefault((one.device, one.protocol, one.detector), one)
    return tuple(found.values()), unknown


def acquired_of(header: StudyHeader | None) -> tuple[Acquired, ...]:
    """Return how the series of a study were acquired, those with the most images first."""
    found: list[Acquired] = []
    for stored in () if header is None else header.series:
        try:
            found.append(Acquired.of_json(stored))
        except (LookupError, TypeError, ValueError):
            continue  # Of another version: nothing is known of it.
    return tuple(found)


def _series(entry: Mapping[str, Any], acquired: Mapping[str, Acquired]) -> SeriesValues | None:
    origin: Mapping[str, Any] = entry.get("origin", {})
    device, protocol = str(origin.get("device", "")), str(origin.get("protocol", ""))
    if "score" not in entry or entry.get("defects") or not device or not protocol:
        return None
    score, p_value = float(entry["score"]), float(entry["p_value"])
    if not (math.isfinite(score) and math.isfinite(p_value)):
        return None
    uid = str(entry["series_instance_uid"])
    return SeriesValues(
        series_instance_uid=uid,
        device=device,
        protocol=protocol,
        detector=str(entry["profile"]),
        terms=f"{entry['bundle_version']} {str(entry['calibration_digest'])[:16]}",
        score=score,
        p_value=p_value,
        numbers=_numbers(acquired.get(uid)),
    )


def _numbers(one: Acquired | None) -> dict[str, float]:
    if one is None or not (one.numbers or one.device or one.made_by):
        return {}
    stated = {**one.numbers, "slices": float(one.slices)}
    return {name: float(stated.get(name, ABSENT)) for name in HEADER}
