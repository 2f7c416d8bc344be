"""Facts: what rules are asked about, each as the values of a field by its name.

A field without a value is absent: missing from the header, empty, or no value of its kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from gatekeeper.rules.values import Value

Values = Mapping[str, Sequence[Value]]


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """One series.

    Attributes:
        series_instance_uid: as recorded at receipt.
        values: of each field of a series.
    """

    series_instance_uid: str
    values: Values = field(default_factory=dict[str, Sequence[Value]])


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """One study as received.

    Attributes:
        study_instance_uid: as recorded at receipt.
        values: of each field of the study. An attribute of the study that differs between its
            series has every one of the values.
        series: in the order of their UIDs.
        problems: what could not be read, in words without patient data; those facts are absent.
    """

    study_instance_uid: str
    values: Values = field(default_factory=dict[str, Sequence[Value]])
    series: tuple[SeriesFacts, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found in a study.

    Attributes:
        verdict: a `Verdict`; empty when there is none, as for a study that nothing was analysed of.
        p_value: None when there is none.
        detectors: names of the bundles that judged.
        device_calibrated: whether every series that was judged was so against the calibration of
            its own device and protocol; None when nothing was judged.
    """

    verdict: str
    p_value: float | None = None
    detectors: tuple[str, ...] = ()
    device_calibrated: bool | None = None

    def values(self) -> dict[str, Sequence[Value]]:
        """Return the values of the judged fields."""
        found: dict[str, Sequence[Value]] = {"detector": self.detectors}
        if self.verdict:
            found["verdict"] = (str(self.verdict),)
        if self.p_value is not None and math.isfinite(self.p_value):
            found["p_value"] = (Decimal(repr(float(self.p_value))),)
        if self.device_calibrated is not None:
            found["device_calibrated"] = ("yes" if self.device_calibrated else "no",)
        return found
