"""Study index: what people find a study by, from one header of each of its series.

A study is read once it is complete, again when its content changes, and once more when retention
has removed its files: then patients' names, numbers, dates and descriptions are blanked, unless
`index.after_removal` says otherwise. What cannot be read leaves a row that says so, and is not
tried again before the study changes. Pixels are never read.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Sequence

from pydicom.dataset import Dataset

from gatekeeper.acquired import KEYWORDS, Acquired, acquired, line, one_line
from gatekeeper.log import get_logger
from gatekeeper.rules.header import UnreadableHeader, read_header, tags_of
from gatekeeper.rules.read import File, chosen
from gatekeeper.rules.series import is_image
from gatekeeper.settings import IndexSettings
from gatekeeper.work.protocol import device_name
from gatekeeper.work.source import quiet
from gatekeeper.work.values import MALFORMED, text
from storage import instances, studies, study_headers
from storage.engine import Database, plain
from storage.records import Instance, Study, StudyHeader
from storage.spool import Spool

NAME_LENGTH = 200
"""Characters of a patient's name: three component groups of 64 (PS3.5 6.2)."""

_TAGS = tags_of(
    (
        "PatientName",
        "PatientID",
        "AccessionNumber",
        "StudyDate",
        "StudyTime",
        "StudyDescription",
        "BodyPartExamined",
        *KEYWORDS,
    )
)
_BLANKED = (
    "patient_name",
    "patient_id",
    "accession_number",
    "study_date",
    "study_time",
    "study_description",
)
REMOVED = "Its files were removed."
"""Problem of a study of which there is nothing left to read."""

log = get_logger()


def read_due(database: Database, spool: Spool, settings: IndexSettings) -> int:
    """Read the studies that are due, the longest due first; return how many were written.

    Raises:
        DatabaseUnavailableError: in trouble; what is due stays so.
    """
    with database.read() as tx:
        due = study_headers.due(tx, settings.studies_at_once)
    return sum(_read(database, spool, settings, uid, since) for uid, since in due)


def _read(
    database: Database, spool: Spool, settings: IndexSettings, uid: str, since: float
) -> bool:
    with database.read() as tx:
        study = studies.get(tx, uid)
        content = instances.of_study(tx, uid)
        before = study_headers.get(tx, uid)
    if study is None:
        return False
    header = header_of(study, content, before, spool, settings)
    with database.begin() as tx:
        if not study_headers.take(tx, uid, since):
            return False
        study_headers.write(tx, header)
    if header.problem:
        log.info("study_not_read_whole", study=uid, reason=header.problem)
    return True


def header_of(
    study: Study,
    content: Sequence[Instance],
    before: StudyHeader | None,
    spool: Spool,
    settings: IndexSettings,
) -> StudyHeader:
    """Return what a study's headers say, as far as its files are there and can be read.

    Args:
        study: its row.
        content: its instances, our own results left out.
        before: what they said the last time.
        spool: that holds their files.
        settings: limits.
    """
    known = StudyHeader(
        study_instance_uid=study.study_instance_uid,
        content_digest=study.content_digest,
        instances=len(content),
        series_count=len({one.series_instance_uid for one in content}),
        modalities=tuple(sorted({one_line(one.modality) for one in content if one.modality})),
    )
    there = [one for one in content if one.removed_at is None]
    if not there:
        return _removed(known, before, settings)
    groups: dict[str, list[Instance]] = defaultdict(list)
    for one in there:
        groups[one.series_instance_uid].append(one)
    reader = _Reader(spool, settings)
    with quiet():
        return reader.study(known, groups)


def _removed(
    known: StudyHeader, before: StudyHeader | None, settings: IndexSettings
) -> StudyHeader:
    """Return what stays of a study without files: how it was acquired, and of whom if so set."""
    if before is None:
        return dataclasses.replace(known, problem=REMOVED)
    kept = dataclasses.replace(
        before,
        content_digest=known.content_digest,
        instances=known.instances,
        series_count=known.series_count,
        problem=REMOVED,
    )
    if settings.after_removal == "keep":
        return kept
    return dataclasses.replace(kept, **dict.fromkeys(_BLANKED, ""))


class _Reader:
    """Reads the headers of one study within its limits, and keeps what went wrong."""

    def __init__(self, spool: Spool, settings: IndexSettings) -> None:
        self._spool = spool
        self._settings = settings
        self._problems: dict[str, None] = {}

    def study(self, known: StudyHeader, groups: dict[str, list[Instance]]) -> StudyHeader:
        """Return the study's header; the series with the most images speaks for the device."""
        order = sorted(groups, key=lambda uid: (-_images(groups[uid]), uid))
        most = self._settings.maximum_series
        if len(order) > most:
            self._problems[
                f"it has {len(order)} series, of which {most} are read (index.maximum_series)"
            ] = None
        speaks: Dataset | None = None
        series: list[Acquired] = []
        for uid in order[:most]:
            header, one = self._series(groups[uid])
            series.append(one)
            if speaks is None:
                speaks = header
        problem = "; ".join(self._problems)
        if speaks is None:
            return dataclasses.replace(known, problem=problem)
        return dataclasses.replace(
            known,
            problem=problem,
            patient_name=_name(speaks),
            patient_id=line(speaks, "PatientID"),
            accession_number=line(speaks, "AccessionNumber"),
            study_date=_date(speaks),
            study_time=_time(speaks),
            study_description=line(speaks, "StudyDescription"),
            body_part=line(speaks, "BodyPartExamined"),
            manufacturer=line(speaks, "Manufacturer"),
            model_name=line(speaks, "ManufacturerModelName"),
            station_name=line(speaks, "StationName"),
            device_serial_number=line(speaks, "DeviceSerialNumber"),
            software_versions=line(speaks, "SoftwareVersions"),
            protocol_name=line(speaks, "ProtocolName"),
            series_description=line(speaks, "SeriesDescription"),
            device=device_name(speaks),
            series=tuple(one.as_json() for one in series),
        )

    def _series(self, content: Sequence[Instance]) -> tuple[Dataset | None, Acquired]:
        """Return the header that speaks for a series, and how the series was acquired."""
        images = [one for one in content if is_image(one.sop_class_uid)] or list(content)
        by_file = {self._file(one): one for one in images}
        file = chosen(list(by_file))
        instance = by_file[file]
        header = self._header(file)
        if header is None:
            return None, Acquired(instance.series_instance_uid, one_line(instance.modality))
        return header, acquired(
            header,
            instance.series_instance_uid,
            one_line(instance.modality),
            len(images),
            instance.received_at,
        )

    def _file(self, one: Instance) -> File:
        return File(
            one.series_instance_uid,
            one.sop_instance_uid,
            one.sop_class_uid,
            one.modality,
            self._spool.path(one.digest),
        )

    def _header(self, file: File) -> Dataset | None:
        try:
            return read_header(file.path, _TAGS, self._settings.header_kib << 10)
        except UnreadableHeader as error:
            self._problems[f"a header is not read: {error}"] = None
        except OSError as error:
            self._problems[f"a file cannot be read ({type(error).__name__})"] = None
        return None


def _images(content: Sequence[Instance]) -> int:
    return sum(is_image(one.sop_class_uid) for one in content)


def _name(header: Dataset) -> str:
    """Return PatientName, every group of it; the text of a name is no sequence of characters."""
    try:
        return one_line(plain(str(header.get("PatientName") or "")), NAME_LENGTH)
    except (*MALFORMED, OSError):
        return ""


def _date(header: Dataset) -> str:
    """Return StudyDate as YYYYMMDD, that of ACR-NEMA (YYYY.MM.DD) too; empty where it is none."""
    stated = text(header, "StudyDate").replace(".", "")
    return stated if re.fullmatch(r"[12]\d{3}[01]\d[0-3]\d", stated) else ""


def _time(header: Dataset) -> str:
    """Return StudyTime as HHMMSS or less of it; empty where it is none."""
    stated = text(header, "StudyTime").replace(":", "")[:6]
    return stated if re.fullmatch(r"([0-2]\d)([0-5]\d)?([0-6]\d)?", stated) else ""
