"""Clinical values of a report: its measurements, of the study and of the patient."""

from __future__ import annotations

from collections.abc import Sequence

from gatekeeper.clinical.quantities import named
from gatekeeper.clinical.structured import Measured
from storage.records import ClinicalValue


def of_report(
    measured: Sequence[Measured], study_uid: str, patient: str, reference: str
) -> list[ClinicalValue]:
    """Return a report's measurements as values.

    They are of the study that the report is in, and, where its patient is known, of the patient:
    lung function is seldom filed under the study of the scan.

    Args:
        measured: of `gatekeeper.clinical.structured`.
        study_uid: the report's Study Instance UID.
        patient: pseudonym; empty where the report names nobody.
        reference: the report's SOP Instance UID.
    """
    found: list[ClinicalValue] = []
    for one in measured:
        for study, whose in ((study_uid, ""), ("", patient)):
            # Of a patient only with a time: without, nobody can say of when it is.
            if study or (whose and one.observed_at):
                found.append(
                    ClinicalValue(
                        study, whose, one.observed_at, one.name, one.value,
                        named(one.name).unit, one.given_value, one.given_unit, "sr", reference,
                    )
                )  # fmt: skip
    return found
