"""The worker's part in clinical values: which are known of a study, and which its reports bring.

Without `clinical.bundle` nothing of this happens: no header is read and no value kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatekeeper import pseudonym
from gatekeeper.clinical.matching import chosen
from gatekeeper.clinical.reported import of_report
from gatekeeper.clinical.structured import Measured, moment_of
from gatekeeper.errors import ConfigurationError
from gatekeeper.log import error_name, get_logger
from gatekeeper.settings import Settings
from gatekeeper.work.clinical_request import ClinicalRequest
from storage import clinical_values
from storage.engine import Database
from storage.records import ClinicalValue, Instance, Job
from storage.spool import Spool

log = get_logger()

_KEYWORDS = ("PatientID", "IssuerOfPatientID", "StudyDate", "StudyTime", "TimezoneOffsetFromUTC")


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose a study is, and of when.

    Attributes:
        patient: pseudonym; empty where the header names nobody.
        moment: seconds since 1970-01-01 UTC; 0 where the header does not say.
    """

    patient: str
    moment: float


def whose(content: Sequence[Instance], spool: Spool, settings: Settings) -> Whose | None:
    """Return whose a study is by the header of its first instance; None without a bundle.

    Without the site's key nobody is named, so that values of the study alone are used.

    Raises:
        OSError: if the file cannot be read.
    """
    if not settings.clinical.bundle or not content:
        return None
    from gatekeeper.rules.header import UnreadableHeader, read_header, tags_of
    from gatekeeper.work.values import text

    first = min(content, key=lambda one: one.sop_instance_uid)
    limit = settings.rules.header_kib << 10
    try:
        header = read_header(spool.path(first.digest), tags_of(_KEYWORDS), limit)
    except UnreadableHeader:
        return Whose("", 0.0)
    patient, issuer, date, time, zone = (text(header, keyword) for keyword in _KEYWORDS)
    moment = moment_of(f"{date}{time.partition('.')[0]}{zone}") if date else 0.0
    if not patient:
        return Whose("", moment)
    try:
        key = pseudonym.site_key(settings.pseudonyms)
    except ConfigurationError as error:
        log.error("pseudonym_key_unusable", error=error_name(error))
        return Whose("", moment)
    return Whose(pseudonym.patient(key, patient, issuer), moment)


def asked(
    database: Database, job: Job, owner: Whose | None, settings: Settings
) -> ClinicalRequest | None:
    """Return what the child is told; None without a bundle.

    Only what had arrived when the job was made counts, so that every attempt gives one answer.

    Raises:
        DatabaseUnavailableError: if the database is in trouble.
    """
    if owner is None:
        return None
    study, window = job.study_instance_uid, settings.clinical.window_days
    with database.read() as tx:
        known = clinical_values.known_at(tx, study, owner.patient, job.created_at)
    picked = chosen(known, study, owner.moment, window)
    folder = str(Path(settings.clinical.bundle).absolute())
    return ClinicalRequest(folder, tuple(picked.values()), owner.moment, window)


def brought(
    measured: Mapping[str, Sequence[Measured]], job: Job, owner: Whose | None
) -> list[ClinicalValue]:
    """Return what a study's reports bring, to be kept with its outcome."""
    if owner is None:
        return []
    return [
        value
        for report, several in measured.items()
        for value in of_report(several, job.study_instance_uid, owner.patient, report)
    ]
