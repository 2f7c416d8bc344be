"""Search of studies: one page at a time, the newest first, whatever is asked for.

Each page is one query that goes through an index in the order of the page, or, where few studies
have what is asked for, through those. Text is looked for anywhere in what `study_headers` keeps,
by a scan of its index: its time grows with the studies kept, 20 to 30 ms for each 100,000.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from storage import study_headers
from storage.engine import plain
from storage.records import (
    HAS_ALL,
    ConfirmationState,
    DeliveryState,
    ForwardState,
    JobState,
    StudyHeader,
    StudyState,
)
from storage.schema import (
    confirmation,
    delivery,
    forward,
    instance,
    job,
    outcome,
    study,
)
from storage.schema import study_header as header

FEW = 2000
"""Up to so many studies that have what is asked for are gone through one by one."""
MAXIMUM_WORDS = 8
"""Words of a search; the rest of them is not looked for."""


class _Has(FunctionElement[bool]):
    """Whether a text has a word within it, the quicker way of each database.

    Of the text, the word, and the word as a pattern of LIKE.
    """

    type = Boolean()
    inherit_cache = True


@compiles(_Has, "sqlite")
def _has_sqlite(element: _Has, compiler: Any, **kw: Any) -> str:
    words, _, pattern = (compiler.process(one, **kw) for one in element.clauses)
    return f"({words} LIKE {pattern} ESCAPE '/')"


@compiles(_Has, "postgresql")
def _has_postgresql(element: _Has, compiler: Any, **kw: Any) -> str:
    words, word, _ = (compiler.process(one, **kw) for one in element.clauses)
    return f"(strpos({words}, {word}) > 0)"


def _has(column: ColumnElement[str], word: str) -> ColumnElement[bool]:
    escaped = re.sub("[/%_]", r"/\g<0>", word)
    return _Has(column, literal(word), literal(f"%{escaped}%"))


class Stage(enum.StrEnum):
    """Where a study is on its way."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    ANALYSING = "analysing"
    DEAD = "dead"
    """Its analysis was given up."""
    DELIVERY_DEAD = "delivery dead"
    SENDING = "sending"
    NOT_CONFIRMED = "not confirmed"
    CONFIRMING = "confirming"
    DONE = "done"


_JOB_STATES = {
    Stage.QUEUED: JobState.QUEUED,
    Stage.ANALYSING: JobState.CLAIMED,
    Stage.DEAD: JobState.DEAD,
}


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """What is asked for; all of it together, and an empty one asks for nothing.

    Attributes:
        text: words, each somewhere in the patient's name or number, the accession number, the
            description or the Study Instance UID, without regard to capitals and accents.
        verdict: of the latest job; of a study that is being analysed again there is none.
        stage: where the study is on its way.
        held: held from a node, or from none; None for either.
        modality: that one of its series has.
        source_ae: calling AE title that it came from.
        device: the scanner as calibrations name it.
        received_from, received_to: seconds since 1970, of the last instance; the second is not in.
        study_date_from, study_date_to: YYYYMMDD, both in.
    """

    text: str = ""
    verdict: str = ""
    stage: Stage | None = None
    held: bool | None = None
    modality: str = ""
    source_ae: str = ""
    device: str = ""
    received_from: float | None = None
    received_to: float | None = None
    study_date_from: str = ""
    study_date_to: str = ""

    @property
    def by_header(self) -> bool:
        """Whether what headers say is asked for; only studies whose headers were read have it."""
        asked = (self.text.strip(), self.modality, self.device)
        return any(asked) or bool(self.study_date_from or self.study_date_to)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ends: the next one begins after it, whatever came meanwhile."""

    received_at: float
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """One study of a page.

    Attributes:
        study_instance_uid, source_ae, last_received_at: of the study.
        state: whether it is complete.
        revision: 0 until complete for the first time.
        instances: received of it.
        position: for the next page.
        header: what its headers say, without its series; None before they were read.
        job_id, job_state: of the latest job; None and empty before there is one.
        verdict, reason, p_value: of that job; empty, and None, before it is done.
    """

    study_instance_uid: str
    source_ae: str
    last_received_at: float
    state: StudyState
    revision: int
    instances: int
    position: Position
    header: StudyHeader | None
    job_id: int | None
    job_state: JobState | None
    verdict: str
    reason: str
    p_value: float | None


def search(
    tx: Connection, asked: StudyFilter, limit: int, after: Position | None = None
) -> list[ListedStudy]:
    """Return at most `limit` studies that have what is asked for, the newest first.

    By the time of the last instance; where headers are asked for, by that time as it was when
    they were read.

    Args:
        tx: the open transaction.
        asked: the filter.
        limit: of the page.
        after: position of the last study of the page before; None for the first page.
    """
    page = _page(tx, asked, limit, after).subquery("page")
    latest = _latest_job(page.c.uid)
    query = (
        select(
            study,
            page.c.at,
            _instances().label("counted"),
            *(column.label(f"header_{column.name}") for column in study_headers.COLUMNS),
            job.c.id.label("job_id"),
            job.c.state.label("job_state"),
            outcome.c.verdict,
            outcome.c.reason,
            outcome.c.p_value,
        )
        .select_from(page)
        .join(study, study.c.study_instance_uid == page.c.uid)
        .outerjoin(header, header.c.study_instance_uid == page.c.uid)
        .outerjoin(job, job.c.id == latest)
        .outerjoin(outcome, outcome.c.job_id == job.c.id)
        .order_by(page.c.at.desc(), page.c.uid)
    )
    return [_listed(row) for row in tx.execute(query).mappings()]


def _page(
    tx: Connection, asked: StudyFilter, limit: int, after: Position | None
) -> Select[Any, Any]:
    """Return the query of a page's UIDs and times."""
    by_header = asked.by_header
    uid = (header if by_header else study).c.study_instance_uid
    at = header.c.received_at if by_header else study.c.last_received_at
    found = select(uid.label("uid"), at.label("at"))
    if by_header:
        found = found.where(*_by_header(asked))
        if asked.source_ae:
            found = found.join(study, study.c.study_instance_uid == uid)
    if asked.source_ae:
        found = found.where(study.c.source_ae == asked.source_ae)
    if asked.received_from is not None:
        found = found.where(at >= asked.received_from)
    if asked.received_to is not None:
        found = found.where(at < asked.received_to)
    if after is not None:
        # The first half is what an index can begin at.
        behind = uid > after.study_instance_uid
        found = found.where(at <= after.received_at, or_(at < after.received_at, behind))
    if asked.held is not None:
        is_held = _held(tx, uid)
        found = found.where(is_held if asked.held else ~is_held)
    if asked.verdict:
        found = found.where(_with_verdict(tx, uid, asked.verdict))
    if asked.stage is not None:
        found = found.where(_at_stage(tx, uid, asked.stage))
    return found.order_by(at.desc(), uid).limit(limit)


def _by_header(asked: StudyFilter) -> list[ColumnElement[bool]]:
    words = study_headers.folded(asked.text).split()[:MAXIMUM_WORDS]
    conditions = [_has(header.c.search, word) for word in words]
    if asked.modality:
        between = study_headers.MODALITY_SEPARATOR
        wanted = f"{between}{plain(asked.modality)}{between}"
        # Not LIKE, to which a backslash is something else on each of the databases.
        conditions.append(_place_of(wanted))
    if asked.device:
        conditions.append(header.c.device == plain(asked.device))
    if asked.study_date_from:
        conditions.append(header.c.study_date >= plain(asked.study_date_from))
    if asked.study_date_to:
        conditions += [header.c.study_date <= plain(asked.study_date_to), header.c.study_date != ""]
    return conditions


def _place_of(wanted: str) -> ColumnElement[bool]:
    return func.replace(header.c.modalities, wanted, "") != header.c.modalities


def _latest_job(uid: ColumnElement[str]) -> Any:
    """Return the number of a study's latest job."""
    other = job.alias("other")
    latest = select(func.max(other.c.id)).where(other.c.study_instance_uid == uid)
    # The study is two levels outside.
    return latest.correlate_except(other).scalar_subquery()


def _held(tx: Connection, uid: ColumnElement[str]) -> ColumnElement[bool]:
    is_held = forward.c.state == ForwardState.HELD.value
    if _few(tx, select(forward.c.id).where(is_held)):
        return uid.in_(select(forward.c.study_instance_uid).where(is_held))
    return exists(select(literal(1)).where(forward.c.study_instance_uid == uid, is_held))


def _with_verdict(tx: Connection, uid: ColumnElement[str], verdict: str) -> ColumnElement[bool]:
    given = outcome.c.verdict == verdict

    def of_jobs(jobs: Select[Any]) -> Select[Any]:
        return jobs.join(outcome, outcome.c.job_id == job.c.id).where(given)

    return _of_latest(uid, of_jobs, few=_few(tx, select(outcome.c.job_id).where(given)))


def _at_stage(tx: Connection, uid: ColumnElement[str], stage: Stage) -> ColumnElement[bool]:
    """Return the condition of a stage, the same that `gatekeeper.history.stage` tells."""
    incoming = select(study.c.study_instance_uid).where(study.c.state == StudyState.RECEIVING.value)
    if stage is Stage.RECEIVING:
        return uid.in_(incoming)
    conditions = [job.c.state == _JOB_STATES.get(stage, JobState.DONE).value, *_sent(stage)]
    rare = _rare(stage)
    if rare is None:
        few = _few(tx, select(job.c.id).where(conditions[0]))
    else:
        few = _few(tx, rare)
        if few:
            conditions.append(job.c.id.in_(rare))
    latest = _of_latest(uid, lambda jobs: jobs.where(*conditions), few=few)
    return and_(uid.not_in(incoming), latest)


def _rare(stage: Stage) -> Select[Any] | None:
    """Return the jobs with a delivery, or an answer about one, without which a stage is not."""
    of_results = select(delivery.c.job_id).where(delivery.c.job_id.is_not(None))
    answers = of_results.join(confirmation, confirmation.c.id == delivery.c.id)
    if stage is Stage.DELIVERY_DEAD:
        return of_results.where(delivery.c.state == DeliveryState.DEAD.value)
    if stage is Stage.SENDING:
        under_way = [DeliveryState.QUEUED.value, DeliveryState.CLAIMED.value]
        return of_results.where(delivery.c.state.in_(under_way))
    if stage is Stage.NOT_CONFIRMED:
        return answers.where(confirmation.c.state == ConfirmationState.DEAD.value)
    if stage is Stage.CONFIRMING:
        ended = [ConfirmationState.DEAD.value, ConfirmationState.COMMITTED.value]
        return answers.where(confirmation.c.state.not_in(ended))
    return None


def _sent(stage: Stage) -> Sequence[ColumnElement[bool]]:
    """Return what has become of the deliveries of a job that is done, for a stage."""
    of_job = select(literal(1)).where(delivery.c.job_id == job.c.id)
    dead = exists(of_job.where(delivery.c.state == DeliveryState.DEAD.value))
    has_all = delivery.c.state.in_([state.value for state in HAS_ALL])
    under_way = exists(of_job.where(~has_all))
    answers = of_job.join(confirmation, confirmation.c.id == delivery.c.id)
    refused = exists(answers.where(confirmation.c.state == ConfirmationState.DEAD.value))
    open_answer = exists(answers.where(confirmation.c.state != ConfirmationState.COMMITTED.value))
    return {
        Stage.DELIVERY_DEAD: [dead],
        Stage.SENDING: [~dead, under_way],
        Stage.NOT_CONFIRMED: [~under_way, refused],
        Stage.CONFIRMING: [~under_way, ~refused, open_answer],
        Stage.DONE: [~under_way, ~open_answer],
    }.get(stage, [])


def _of_latest(
    uid: ColumnElement[str], of_jobs: Callable[[Select[Any]], Select[Any]], *, few: bool
) -> ColumnElement[bool]:
    """Return the condition that a study's latest job is one of these.

    Args:
        uid: of the study.
        of_jobs: narrows a query of jobs.
        few: whether to go through those jobs, and not through the studies in turn.
    """
    if few:
        jobs = select(job.c.study_instance_uid).where(
            job.c.id == _latest_job(job.c.study_instance_uid)
        )
        return uid.in_(of_jobs(jobs))
    return exists(of_jobs(select(literal(1)).where(job.c.id == _latest_job(uid))))


def _few(tx: Connection, rows: Select[Any]) -> bool:
    some = rows.limit(FEW + 1).subquery()
    return tx.execute(select(func.count()).select_from(some)).scalar_one() <= FEW


def _instances() -> ColumnElement[int]:
    """Return how many instances were received; of a study that was read, as they were counted."""
    counted = (
        select(func.count())
        .select_from(instance)
        .where(
            instance.c.study_instance_uid == study.c.study_instance_uid,
            instance.c.own_result.is_(False),
            instance.c.prior.is_(False),
        )
        .scalar_subquery()
    )
    is_read = and_(
        study.c.state == StudyState.COMPLETE.value,
        header.c.content_digest == study.c.content_digest,
    )
    return case((is_read, header.c.instances), else_=counted)


def _listed(given: RowMapping) -> ListedStudy:
    columns = {column.name: given[f"header_{column.name}"] for column in study_headers.COLUMNS}
    was_read = columns["study_instance_uid"] is not None
    state = given["job_state"]
    return ListedStudy(
        study_instance_uid=given["study_instance_uid"],
        source_ae=given["source_ae"],
        last_received_at=given["last_received_at"],
        state=StudyState(given["state"]),
        revision=given["revision"],
        instances=given["counted"],
        position=Position(given["at"], given["study_instance_uid"]),
        header=study_headers.header_of(columns) if was_read else None,
        job_id=given["job_id"],
        job_state=None if state is None else JobState(state),
        verdict=given["verdict"] or "",
        reason=given["reason"] or "",
        p_value=given["p_value"],
    )
