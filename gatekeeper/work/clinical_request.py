"""What the child is told of clinical values, and what it says of a study's reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatekeeper.clinical.quantities import named
from gatekeeper.clinical.structured import Measured
from gatekeeper.errors import ClinicalRefused
from gatekeeper.identifiers import Uid
from storage.records import ClinicalValue

MAXIMUM_MEASURED = 1000
"""Measurements of one study's reports that are kept."""


@dataclass(frozen=True, slots=True)
class ClinicalRequest:
    """What the child is told.

    Attributes:
        bundle: folder of the multimodal bundle.
        values: one a quantity, chosen for the study.
        moment: of the study, seconds since 1970-01-01 UTC; 0 where its header does not say.
        window_days: see `gatekeeper.clinical.matching`.
    """

    bundle: str
    values: tuple[ClinicalValue, ...]
    moment: float
    window_days: float

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ClinicalRequest:
        """Return the request that was written as JSON."""
        plain: dict[str, Any] = dict(content)
        plain["values"] = tuple(ClinicalValue(**one) for one in plain["values"])
        return cls(**plain)


def measured_of(content: Sequence[Mapping[str, Any]]) -> dict[str, list[Measured]]:
    """Return the measurements of a child's answer by their report, each checked again.

    Raises:
        ValueError, TypeError, LookupError, IdentifierError: if they are not of that form.
    """
    if len(content) > MAXIMUM_MEASURED:
        raise ValueError("too many measurements")
    found: dict[str, list[Measured]] = {}
    for one in content:
        given, unit, at = (
            float(one["given_value"]),
            str(one["given_unit"]),
            float(one["observed_at"]),
        )
        try:
            value = named(str(one["name"])).converted(given, unit)
        except ClinicalRefused as error:
            raise ValueError("a measurement that is not taken") from error
        if not 0 <= at < 1e11:
            raise ValueError("a measurement at no time")
        report = str(Uid.parse(one["report"]))
        found.setdefault(report, []).append(Measured(str(one["name"]), value, given, unit, at))
    return found
