"""Read: what rules ask about a study, from its rows and from as few headers as that takes.

One header of each series, of the most frequent kind of image in it; of every image only where a
rule asks how they lie. Where no rule asks about headers, no file is opened. A header that cannot
be read gives a series without attributes and a sentence in `StudyFacts.problems`; it stops nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from pydicom.dataset import Dataset

from gatekeeper.rules import series as by_content
from gatekeeper.rules.attributes import values_of
from gatekeeper.rules.facts import SeriesFacts, StudyFacts
from gatekeeper.rules.fields import WEEKDAYS, Field, Scope, UnknownFieldError, field_of
from gatekeeper.rules.header import UnreadableHeader, read_header
from gatekeeper.rules.values import Value
from gatekeeper.settings import RuleSettings
from gatekeeper.work.source import quiet
from storage.records import Instance, Study
from storage.spool import Spool

_Values = dict[str, Sequence[Value]]


@dataclass(frozen=True, slots=True)
class File:
    """One file of a study, as far as it is known before it is opened."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    path: Path


def study_facts(
    study: Study,
    content: Iterable[Instance],
    spool: Spool,
    now: float,
    needed: frozenset[str],
    settings: RuleSettings | None = None,
) -> StudyFacts:
    """Return the facts of a study in the spool.

    Args:
        study: its row.
        content: its instances, our own results left out.
        spool: that holds their files.
        now: seconds since the epoch; rules' times of day are local ones.
        needed: names of the fields that rules ask about; see `gatekeeper.rules.rule.needed`.
        settings: limits; None for the defaults.
    """
    files = [
        File(
            one.series_instance_uid,
            one.sop_instance_uid,
            one.sop_class_uid,
            one.modality,
            spool.path(one.digest),
        )
        for one in content
        if one.removed_at is None
    ]
    return facts_of(study.study_instance_uid, study.source_ae, files, now, needed, settings)


def facts_of(
    study_instance_uid: str,
    source: str,
    files: Sequence[File],
    now: float,
    needed: frozenset[str],
    settings: RuleSettings | None = None,
) -> StudyFacts:
    """Return the facts of the files of one study; see `study_facts`."""
    fields = _known(needed)
    groups: dict[str, list[File]] = defaultdict(list)
    for file in files:
        groups[file.series_instance_uid].append(file)
    reader = _Reader(fields, settings or RuleSettings())
    values: _Values = {
        **_moment(now),
        "source": (source,) if source else (),
        "instances": (Decimal(len(files)),),
        "series": (Decimal(len(groups)),),
        "modalities": tuple(sorted({file.modality for file in files if file.modality})),
    }
    found: list[SeriesFacts] = []
    of_study: dict[str, dict[Value, None]] = defaultdict(dict)
    with quiet():
        for uid in sorted(groups):
            read = reader.series(groups[uid])
            for field in fields:
                if field.tags and field.scope is Scope.STUDY:
                    of_study[field.name].update(dict.fromkeys(read.pop(field.name, ())))
            found.append(SeriesFacts(uid, read))
    values.update({name: tuple(distinct) for name, distinct in of_study.items()})
    return StudyFacts(study_instance_uid, values, tuple(found), reader.sentences())


class _Reader:
    """Reads the series of one study within its limits, and keeps what went wrong."""

    def __init__(self, fields: Sequence[Field], settings: RuleSettings) -> None:
        self._limit = settings.header_kib << 10
        self._settings = settings
        self._attributes = [field for field in fields if field.tags]
        self._ours = frozenset(
            field.name for field in fields if field.scope is Scope.SERIES and not field.tags
        )
        tags = {field.tags[0] for field in self._attributes}
        self._tags = tags.union(*(by_content.tags_for(name) for name in self._ours))
        self._left = settings.maximum_series
        self._headers_left = settings.maximum_headers
        self._problems: Counter[str] = Counter()

    def series(self, files: Sequence[File]) -> _Values:
        """Return the values of one series, those of the study among them."""
        if not self._tags:
            return {}
        if self._left < 1:
            limit = self._settings.maximum_series
            self._problems[f"the study has over {limit} series (rules.maximum_series)"] += 1
            return {}
        self._left -= 1
        images = [file for file in files if by_content.is_image(file.sop_class_uid)]
        header = self._header(chosen(images or files), frozenset(self._tags))
        if header is None:
            return {}
        found: _Values = {field.name: values_of(header, field) for field in self._attributes}
        found.update(by_content.content(header, len(images), self._ours))
        if images and not self._ours.isdisjoint(by_content.GEOMETRIC):
            found.update(self._geometry(images))
        return found

    def sentences(self) -> tuple[str, ...]:
        """Return what could not be read."""
        return tuple(
            f"{count} series without attributes: {problem}"
            if count > 1
            else f"a series without attributes: {problem}"
            for problem, count in sorted(self._problems.items())
        )

    def _geometry(self, images: Sequence[File]) -> _Values:
        self._headers_left -= len(images)
        if self._headers_left < 0:
            limit = self._settings.maximum_headers
            self._problems[
                f"its geometry takes over {limit} headers of the study (rules.maximum_headers)"
            ] += 1
            return {}
        headers = [self._header(image, by_content.GEOMETRY_TAGS) for image in images]
        whole = [header for header in headers if header is not None]
        if len(whole) < len(headers):
            return {}
        try:
            return by_content.geometry(whole)
        except ModuleNotFoundError:
            # A machine that only listens and sends has no array library.
            self._problems["its geometry needs the extra `worker`, where ticks run"] += 1
            return {}

    def _header(self, file: File, tags: frozenset[int]) -> Dataset | None:
        try:
            return read_header(file.path, tags, self._limit)
        except UnreadableHeader as error:
            self._problems[str(error)] += 1
        except OSError as error:
            self._problems[f"a file cannot be read ({type(error).__name__})"] += 1
        return None


def chosen(files: Sequence[File]) -> File:
    """Return the file that speaks for a series: the first of its most frequent SOP class."""
    counts = Counter(file.sop_class_uid for file in files)
    usual = min(counts, key=lambda one: (-counts[one], one))
    of_class = (file for file in files if file.sop_class_uid == usual)
    return min(of_class, key=lambda file: (file.sop_instance_uid, str(file.path)))


def _known(names: frozenset[str]) -> list[Field]:
    found: list[Field] = []
    for name in sorted(names):
        try:
            found.append(field_of(name))
        except UnknownFieldError:
            continue  # No rule that exists asks for it.
    return found


def _moment(now: float) -> _Values:
    local = datetime.fromtimestamp(now, UTC).astimezone()
    return {
        "time": (local.time().replace(microsecond=0),),
        "weekday": (WEEKDAYS[local.weekday()],),
    }
