"""The child's part in clinical values: reports into measurements, a volume into an explanation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatekeeper.clinical.finding import ClinicalFinding
from gatekeeper.clinical.matching import chosen
from gatekeeper.clinical.reported import of_report
from gatekeeper.clinical.structured import Measured, measurements
from gatekeeper.work.clinical_request import MAXIMUM_MEASURED, ClinicalRequest
from gatekeeper.work.protocol import Protocol
from gatekeeper.work.series import ReceivedSeries
from gatekeeper.work.source import quiet
from gatekeeper.work.values import MALFORMED, text
from models.errors import NotAssessable
from models.volume import Volume

if TYPE_CHECKING:
    from models.multimodal.bundle import Bundle
    from models.multimodal.embedding import Encoder
    from storage.records import ClinicalValue


class Explainer:
    """A multimodal bundle put to one study.

    Args:
        request: bundle and known values.
        study_uid: the Study Instance UID.
        received: the study's series, whose reports may hold measurements.
        device: torch device of the encoder.

    Raises:
        ModelError: if the bundle cannot be used.
    """

    def __init__(
        self,
        request: ClinicalRequest,
        study_uid: str,
        received: Sequence[ReceivedSeries],
        device: str = "cpu",
    ) -> None:
        from models.multimodal.bundle import read

        self.bundle: Bundle = read(Path(request.bundle))
        self.measured: Mapping[str, Sequence[Measured]] = dict(reports(received))
        own = [
            value
            for report, several in self.measured.items()
            for value in of_report(several, study_uid, "", report)
        ]
        self._values = chosen(
            [*request.values, *own], study_uid, request.moment, request.window_days
        )
        self._device = device

    @cached_property
    def _encoder(self) -> Encoder:
        from models.multimodal.embedding import Encoder

        return Encoder(self.bundle.anatomy, self._device)

    def fits(self, protocol: Protocol) -> bool:
        """Return whether the bundle is for such a series."""
        part = self.bundle.body_part
        return protocol.modality == self.bundle.modality and part in ("", protocol.body_part)

    def explain(self, volume: Volume) -> ClinicalFinding | None:
        """Return the bundle's answer on a volume; None where its anatomy is not found.

        Raises:
            ModelError: if the bundle's encoder is another one.
        """
        embedding = np.zeros(0)
        if len(self.bundle.model.projection.mean):  # none in a bundle of clinical values alone
            try:
                embedding = self._encoder.embed(volume).astype(np.float64)
            except NotAssessable:
                return None
        used = dict(self._used())
        values = {name: value for name, (value, _) in used.items()}
        judged = self.bundle.judge(embedding, values)
        return ClinicalFinding(
            bundle=self.bundle.name,
            bundle_digest=self.bundle.digest,
            simulated=self.bundle.simulated,
            score=judged.score,
            p_value=judged.p_value,
            calibration_size=judged.calibration_size,
            atypical=judged.atypical,
            baseline=judged.baseline,
            contributions=judged.contributions,
            values=values,
            sources={name: source for name, (_, source) in used.items()},
            missing=judged.missing,
        )

    def _used(self) -> Iterator[tuple[str, tuple[float, str]]]:
        """Yield the values that the bundle asks for, in its units.

        A value that the bundle's own range excludes counts as not measured: the cohort has none
        such, and a number beyond it would be an extrapolation.
        """
        for variable in self.bundle.model.variables:
            known: ClinicalValue | None = self._values.get(variable.name)
            if known is None or known.unit != variable.unit:
                continue
            if variable.lowest <= known.value <= variable.highest:
                yield variable.name, (known.value, known.source)

    def answer(self) -> list[dict[str, Any]]:
        """Return the reports' measurements for the worker to keep, as JSON."""
        return [
            {"report": report} | asdict(one)
            for report, several in self.measured.items()
            for one in several
        ]


def reports(received: Sequence[ReceivedSeries]) -> Iterator[tuple[str, tuple[Measured, ...]]]:
    """Yield each report's SOP Instance UID with its known measurements.

    What does not parse, or has a unit that is not taken, is passed over: a report is never the
    reason for a scan to go without its verdict.
    """
    left = MAXIMUM_MEASURED
    for series in received:
        for source in series.sources:
            if text(source.header, "ValueType") != "CONTAINER":
                continue
            try:
                with quiet():
                    found = measurements(source.header).measured[:left]
            except MALFORMED:
                continue
            left -= len(found)
            if found:
                yield source.sop_instance_uid, found
