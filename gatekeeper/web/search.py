"""Answering a query: rows of the database first, headers of files only for what they leave.

Bounded in the files it reads and in time; an answer that is not whole says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from gatekeeper.web.holdings import Holdings
from gatekeeper.web.metadata import JsonObject, read_header, values_of
from gatekeeper.web.query import (
    AVAILABILITY,
    CHARACTER_SET,
    INSTANCE_UID,
    MODALITIES,
    MODALITY,
    RETRIEVE_URL,
    SERIES_INSTANCES,
    SERIES_UID,
    SOP_CLASS,
    STUDY_INSTANCES,
    STUDY_SERIES,
    STUDY_UID,
    Level,
    Query,
)
from storage.records import Instance
from storage.spool import Spool

MORE = "There are additional results that can be requested."
INCOMPLETE = "The search ended at a limit: there may be further results."


@dataclass(frozen=True, slots=True)
class Reach:
    """What one query may use.

    Attributes:
        files: whose headers are read.
        header_bytes: of each.
        deadline: by the monotonic clock.
    """

    files: int
    header_bytes: int
    deadline: float


@dataclass(slots=True)
class Answer:
    """What a query found."""

    matches: list[JsonObject] = field(default_factory=list[JsonObject])
    warnings: list[str] = field(default_factory=list[str])


class _OverLimitError(Exception):
    """The query may use no more."""


def search(
    query: Query, holdings: Holdings, spool: Spool, reach: Reach, service_url: str
) -> Answer:
    """Return what matches.

    Args:
        query: what is asked.
        holdings: what is served.
        spool: of the files.
        reach: limits.
        service_url: root of this service, for the URLs in the answer.
    """
    answer = Answer(warnings=list(query.warnings))
    skipped = 0
    try:
        for item in _Searching(query, holdings, spool, reach, service_url).items():
            if not query.matches(item):
                continue
            if skipped < query.offset:
                skipped += 1
            elif len(answer.matches) >= query.limit:
                answer.warnings.append(MORE)
                break
            else:
                answer.matches.append(item)
    except _OverLimitError:
        answer.warnings.append(INCOMPLETE)
    return answer


class _Searching:
    def __init__(
        self, query: Query, holdings: Holdings, spool: Spool, reach: Reach, service_url: str
    ) -> None:
        self._query = query
        self._holdings = holdings
        self._spool = spool
        self._reach = reach
        self._service_url = service_url
        self._files = 0

    def items(self) -> Iterator[JsonObject]:
        """Yield what may match, in full: every study, series or instance that the rows allow."""
        series = self._query.uids(SERIES_UID)
        instances = self._query.uids(INSTANCE_UID)
        for study in self._holdings.studies(self._query.uids(STUDY_UID)):
            uid = study.study_instance_uid
            kept = [one for one in self._holdings.instances(uid) if one.removed_at is None]
            if not kept:
                continue
            if self._query.level is Level.STUDY:
                yield self._described(kept[0], kept, kept)
                continue
            for series_uid, members in groupby(kept, lambda one: one.series_instance_uid):
                of_series = list(members)
                if series is not None and series_uid not in series:
                    continue
                if self._query.level is Level.SERIES:
                    yield self._described(of_series[0], of_series, kept)
                    continue
                for instance_uid, contents in groupby(of_series, lambda one: one.sop_instance_uid):
                    if instances is None or instance_uid in instances:
                        # Two contents of one UID are one instance in an index.
                        yield self._described(next(contents), of_series, kept)

    def _described(
        self, one: Instance, of_series: Sequence[Instance], of_study: Sequence[Instance]
    ) -> JsonObject:
        """Return the attributes of the study, series or instance that `one` stands for."""
        level = self._query.level
        item = self._read(one, level.tags | {CHARACTER_SET})
        place = f"{self._service_url}/studies/{one.study_instance_uid}"
        item |= {
            STUDY_UID: _attribute("UI", one.study_instance_uid),
            MODALITIES: _attribute("CS", *sorted({each.modality for each in of_study} - {""})),
            STUDY_SERIES: _attribute("IS", len({each.series_instance_uid for each in of_study})),
            STUDY_INSTANCES: _attribute("IS", len({each.sop_instance_uid for each in of_study})),
            AVAILABILITY: _attribute("CS", "ONLINE"),
        }
        if level is not Level.STUDY:
            place += f"/series/{one.series_instance_uid}"
            item |= {
                SERIES_UID: _attribute("UI", one.series_instance_uid),
                MODALITY: _attribute("CS", *filter(None, [one.modality])),
                SERIES_INSTANCES: _attribute(
                    "IS", len({each.sop_instance_uid for each in of_series})
                ),
            }
        if level is Level.INSTANCE:
            place += f"/instances/{one.sop_instance_uid}"
            item |= {
                SOP_CLASS: _attribute("UI", one.sop_class_uid),
                INSTANCE_UID: _attribute("UI", one.sop_instance_uid),
            }
        item[RETRIEVE_URL] = _attribute("UR", place)
        return dict(sorted(item.items()))

    def _read(self, one: Instance, tags: frozenset[str]) -> JsonObject:
        self._files += 1
        if self._files > self._reach.files or time.monotonic() > self._reach.deadline:
            raise _OverLimitError
        path = self._spool.path(one.digest)
        try:
            header = read_header(path, one.transfer_syntax_uid, self._reach.header_bytes)
        except OSError:
            # What the rows say is true all the same.
            return {}
        return {} if header is None else values_of(header, tags)


def _attribute(vr: str, *values: str | int) -> JsonObject:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
