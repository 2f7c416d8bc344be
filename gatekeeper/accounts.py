"""The accounts: what does not add up about one row or one file, and what a person may want to know.

Pure judgement over the facts of `storage.ledger` and `storage.stocktake`. What does not add up is a
difference, with its cause; the rest is a remark. A state that this version does not know is a
difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from storage.jobs import NO_SPACE, SUPERSEDED
from storage.leases import DEAD, QUEUED
from storage.ledger import (
    CommitmentFacts,
    ConfirmationFacts,
    DeliveryFacts,
    JobFacts,
    NotificationFacts,
    StudyFacts,
)
from storage.ledger_priors import PriorFacts
from storage.records import (
    HAS_ALL,
    CommitmentState,
    ConfirmationState,
    DeliveryState,
    JobState,
    NotificationState,
    PriorState,
    StudyState,
)
from storage.stocktake import Kept, Slot, SpoolFile

UNDER_WAY_SECONDS = 60.0
"""Age under which a file without a row belongs to a transfer that is not at its end."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the books: what it is about, and what is wrong or worth knowing."""

    account: str
    """``instance``, ``result``, ``file``, ``slot``, ``study``, ``job``, ``delivery``,
    ``forward``, ``confirmation``, ``commitment``, ``notification`` or ``prior``."""
    key: str
    """UID, digest or number."""
    cause: str
    remark: bool = False
    """True when the books balance in spite of it."""


_UNREASONED = "it is set aside without a reason"
_HELD_OPEN = "its sender is still connected, or `gatekeeper tick` does not run"
_LEASE_OVER = "its lease ended long ago and nobody took it back: `gatekeeper tick` does not run"


def judge_study(study: StudyFacts, overdue_seconds: float) -> Iterator[Entry]:
    """Yield what does not add up about a study."""
    complete = study.state == StudyState.COMPLETE
    late = study.quiet_for > overdue_seconds
    missing = study.revision - study.revisions_with_job
    rules = (
        _known(study.state, StudyState),
        (not study.instances, "it has no instances"),
        (missing > 0, f"{missing} of {study.revision} revisions have no job"),
        (
            complete and study.instances > 0 and not study.jobs_of_content,
            "it is complete and has no job for its content",
        ),
        (
            study.state == StudyState.RECEIVING and late,
            f"nothing came for {study.quiet_for:.0f} s and it is not complete: {_HELD_OPEN}",
        ),
    )
    yield from _broken("study", study.study_instance_uid, rules)


def judge_job(
    job: JobFacts, overdue_seconds: float, idle_seconds: float | None = None
) -> Iterator[Entry]:
    """Yield what does not add up about a job; `idle_seconds` is the time since any was claimed."""
    done, dead = job.state == JobState.DONE, job.state == JobState.DEAD
    due = job.state == JobState.QUEUED and job.due_for > overdue_seconds
    rules = (
        _known(job.state, JobState),
        (done and job.outcomes != 1, "it is done and has no outcome"),
        (
            not done and (job.outcomes or job.results or job.deliveries),
            f"it is {job.state} and has an outcome, results or deliveries",
        ),
        (job.twins > 1, f"{job.twins} jobs are for this revision and these models"),
        *((True, cause) for cause in _wrong_deliveries(job.destinations, job.deliveries)),
        (dead and not job.reason, _UNREASONED),
        (
            job.state == JobState.CLAIMED and _longer(job.lease_over_for, overdue_seconds),
            _LEASE_OVER,
        ),
        (
            due and _longer(idle_seconds, overdue_seconds),
            f"it waits for {job.due_for:.0f} s and no `gatekeeper work` takes jobs",
        ),
    )
    yield from _broken("job", str(job.id), rules)
    if dead and job.reason and not job.reason.startswith(SUPERSEDED):
        yield Entry("job", str(job.id), f"set aside: {job.reason}", remark=True)
    elif job.state == JobState.QUEUED and job.reason.startswith(NO_SPACE):
        yield Entry("job", str(job.id), f"it {job.reason}", remark=True)


def judge_unsent(job_id: int, language: str, count: int) -> Entry:
    """Return what is to be said of results in a language that no delivery of their job has."""
    cause = f"{count} results in '{language}' are sent to nobody: no node takes that language"
    return Entry("job", str(job_id), cause, remark=True)


def judge_delivery(
    delivery: DeliveryFacts, overdue_seconds: float, idle_seconds: float | None = None
) -> Iterator[Entry]:
    """Yield what does not add up about a delivery; `idle_seconds` as for a job."""
    dead = delivery.state == DeliveryState.DEAD
    delivered = delivery.state in HAS_ALL
    waits = not dead and not delivered
    left = delivery.items - delivery.stored - delivery.left_out
    due = delivery.state == DeliveryState.QUEUED and delivery.due_for > overdue_seconds
    rules = (
        _known(delivery.state, DeliveryState),
        (
            delivery.job_id is not None and delivery.job_state != JobState.DONE,
            f"its job {delivery.job_id} is {delivery.job_state or 'not there'}",
        ),
        (not delivery.items, "it has no objects"),
        (delivery.foreign, f"{delivery.foreign} of its objects are no results of its job"),
        (
            delivered and left,
            f"it is {delivery.state} and {left} of {delivery.items} objects are not stored",
        ),
        (dead and not delivery.reason, _UNREASONED),
        (
            delivery.state == DeliveryState.COMMITTED
            and delivery.confirmation != ConfirmationState.COMMITTED,
            "it is committed and its node's word for that is not on record",
        ),
        (
            waits and not delivery.node_known,
            f"node {delivery.node} is not known; it waits until the node is added again",
        ),
        (
            delivery.state == DeliveryState.CLAIMED
            and _longer(delivery.lease_over_for, overdue_seconds),
            _LEASE_OVER,
        ),
        (
            due
            and delivery.node_ready
            and not delivery.node_busy
            and _longer(idle_seconds, overdue_seconds),
            f"it waits for {delivery.due_for:.0f} s and no `gatekeeper send` takes it",
        ),
    )
    yield from _broken("delivery", str(delivery.id), rules)
    if dead and delivery.reason:
        yield Entry("delivery", str(delivery.id), f"set aside: {delivery.reason}", remark=True)
    elif waits and delivery.node_known and not delivery.node_ready:
        cause = f"it waits until node {delivery.node} is enabled and has a port"
        yield Entry("delivery", str(delivery.id), cause, remark=True)


def judge_confirmation(
    asked: ConfirmationFacts, overdue_seconds: float, idle_seconds: float | None = None
) -> Iterator[Entry]:
    """Yield what does not add up about a confirmation; `idle_seconds` as for a job."""
    dead = asked.state == ConfirmationState.DEAD
    resending = asked.state == ConfirmationState.RESENDING
    has_all = asked.delivery_state in HAS_ALL
    rules = (
        _known(asked.state, ConfirmationState),
        (
            asked.state == ConfirmationState.COMMITTED
            and asked.delivery_state != DeliveryState.COMMITTED,
            f"the node confirmed and the delivery is {asked.delivery_state}",
        ),
        (
            resending and has_all,
            "what was missing is sent again and nobody asks the node whether it keeps it now",
        ),
        (dead and not asked.reason, _UNREASONED),
        *_ownerless(asked, asked.node_enabled, overdue_seconds, idle_seconds),
    )
    yield from _broken("confirmation", str(asked.id), rules)
    yield from _remarks("confirmation", asked, "not confirmed", "it")


def judge_commitment(
    owed: CommitmentFacts, overdue_seconds: float, idle_seconds: float | None = None
) -> Iterator[Entry]:
    """Yield what does not add up about a request to us; `idle_seconds` as for a job."""
    dead = owed.state == CommitmentState.DEAD
    rules = (
        _known(owed.state, CommitmentState),
        (not owed.items, "it names no instances"),
        (
            owed.state == CommitmentState.REPORTED and not owed.decided,
            "it is reported and was never decided",
        ),
        (owed.unkept, f"{owed.unkept} instances that we committed to are not kept"),
        (dead and not owed.reason, _UNREASONED),
        *_ownerless(owed, owed.node_enabled, overdue_seconds, idle_seconds),
    )
    yield from _broken("commitment", str(owed.id), rules)
    yield from _remarks("commitment", owed, "not reported", "its report")


def judge_notification(told: NotificationFacts, overdue_seconds: float) -> Iterator[Entry]:
    """Yield what does not add up about a notification.

    One that waits for long is none of it: a channel takes only so many messages an hour.
    """
    dead = told.state == NotificationState.DEAD
    claimed = told.state == NotificationState.CLAIMED
    rules = (
        _known(told.state, NotificationState),
        (dead and not told.reason, _UNREASONED),
        (claimed and _longer(told.lease_over_for, overdue_seconds), _LEASE_OVER),
    )
    yield from _broken("notification", str(told.id), rules)
    if dead and told.reason:
        cause = f"channel {told.channel} was not told: {told.reason}"
        yield Entry("notification", str(told.id), cause, remark=True)


def judge_prior(
    prior: PriorFacts, overdue_seconds: float, idle_seconds: float | None = None
) -> Iterator[Entry]:
    """Yield what does not add up about a request for priors or a prior."""
    dead = prior.state == PriorState.DEAD
    rules = (
        _known(prior.state, PriorState),
        (
            prior.state == PriorState.FOUND and not prior.found,
            "it found prior studies and none of them has a row",
        ),
        (
            prior.state == PriorState.RECEIVED and not prior.instances,
            "it is received and no instance of it has a row",
        ),
        (dead and not prior.reason, _UNREASONED),
        *_ownerless(prior, prior.node_enabled, overdue_seconds, idle_seconds),
    )
    yield from _broken("prior", str(prior.id), rules)
    yield from _remarks("prior", prior, "not fetched", "it")


def judge_file(
    kept: Kept, file: SpoolFile | None, slots: Sequence[Slot], overdue_seconds: float, at: float
) -> Iterator[Entry]:
    """Yield what does not add up about a row that needs a file, or did before retention.

    Args:
        kept: the row.
        file: of its digest, under its own name.
        slots: where it may lie until that name is durable.
        overdue_seconds: longest time that a living listener may take for that.
        at: the time of the look.
    """
    if kept.removed_for is None and kept.pending:
        yield Entry(kept.owner, kept.sop_instance_uid, "it counts as kept and is to be unlinked")
    late = kept.pending and (kept.removed_for or 0.0) > overdue_seconds
    if file is not None and late:
        cause = "removed by retention; its file is to be unlinked by the next `gatekeeper tick`"
        yield Entry("file", kept.digest, cause, remark=True)
    for slot in slots:
        yield from _judge_slot(slot, overdue_seconds, at)
    if kept.removed_for is not None:
        return
    if file is not None and kept.size is not None and kept.size != file.size:
        cause = f"its file {kept.digest} has {file.size} bytes where {kept.size} were acknowledged"
        yield Entry(kept.owner, kept.sop_instance_uid, cause)
    if file is not None or any(slot.size == kept.size for slot in slots):
        return
    # Not whole, and so never acknowledged: it is about to be withdrawn, or recovery does it.
    young = (kept.received_for or 0.0) <= overdue_seconds
    if not any(slot.living is False or (slot.living and young) for slot in slots):
        yield Entry(kept.owner, kept.sop_instance_uid, f"its file {kept.digest} is missing")


def _judge_slot(slot: Slot, overdue_seconds: float, at: float) -> Iterator[Entry]:
    if slot.living is None:
        cause = "waits for recovery, and its listener's folder is not in this spool"
    elif not slot.living:
        cause = "waits for recovery: the listener that received it has ended"
    elif slot.size is not None and at - slot.changed_at > overdue_seconds:
        cause = "waits for its folder to be synchronised; see the log of its listener"
    else:
        return
    yield Entry("slot", slot.name, cause, remark=True)


def judge_vouched(slot: Slot, overdue_seconds: float, at: float) -> Iterator[Entry]:
    """Yield what is to be said of a file that may have been acknowledged and has no row yet.

    Args:
        slot: where it lies.
        overdue_seconds: longest time that its row may take.
        at: the time of the look.
    """
    if slot.size is None:
        return
    if at - slot.changed_at > overdue_seconds:
        late = "its listener" if slot.living else "recovery"
        cause = f"its instance, perhaps acknowledged, has no row for long; {late} is to write it"
        yield Entry("slot", slot.name, cause)
    elif not slot.living:
        cause = "waits for recovery: the listener that received it has ended"
        yield Entry("slot", slot.name, cause, remark=True)


def judge_unkept(file: SpoolFile, at: float, rows: Collection[Kept] = ()) -> Iterator[Entry]:
    """Yield what is to be said of a file that no row needs.

    Args:
        file: under its own name.
        at: the time of the look.
        rows: of instances that retention removed and that had this file.
    """
    if not file.digest:
        yield Entry("file", file.path.name, "it is in the spool and its name is no digest")
    elif any(row.pending for row in rows) or at - file.changed_at <= UNDER_WAY_SECONDS:
        return
    elif rows:
        cause = "orphan: retention removed its instance, and nobody is left to unlink it"
        yield Entry("file", file.digest, cause, remark=True)
    else:
        cause = "adoptable: nobody was told that it is kept; whoever made it sends it again"
        yield Entry("file", file.digest, cause, remark=True)


def _remarks(
    account: str, exchange: ConfirmationFacts | CommitmentFacts | PriorFacts, failed: str, what: str
) -> Iterator[Entry]:
    """Yield that an exchange with a node was given up, or that it waits for the node."""
    if exchange.state == DEAD and exchange.reason:
        yield Entry(account, str(exchange.id), f"{failed}: {exchange.reason}", remark=True)
    elif exchange.state == QUEUED and not exchange.node_enabled:
        cause = f"{what} waits until node {exchange.node} is enabled"
        yield Entry(account, str(exchange.id), cause, remark=True)


def _ownerless(
    waiting: ConfirmationFacts | CommitmentFacts | PriorFacts,
    enabled: bool,
    overdue_seconds: float,
    idle_seconds: float | None,
) -> Iterator[tuple[object, str]]:
    """Yield the rules of what `gatekeeper send` asks and reports."""
    due = waiting.state == CommitmentState.QUEUED and waiting.due_for > overdue_seconds
    yield (
        waiting.state == CommitmentState.CLAIMED
        and _longer(waiting.lease_over_for, overdue_seconds),
        _LEASE_OVER,
    )
    yield (
        due and enabled and _longer(idle_seconds, overdue_seconds),
        f"it waits for {waiting.due_for:.0f} s and no `gatekeeper send` takes it",
    )


def _known(state: str, states: type[StrEnum]) -> tuple[object, str]:
    return state not in set(states), f"its state '{state}' is none that this version knows"


def _wrong_deliveries(named: tuple[str, ...] | None, made: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the deliveries made, for the nodes named, or None if unknown."""
    counted = Counter(made)
    for node in sorted(set(made if named is None else named)):
        if counted[node] != 1:
            yield f"{counted[node] or 'no'} deliveries to {node}, where one was made"
    for node in sorted(set(made) - set(made if named is None else named)):
        yield f"a delivery to {node}, which the outcome does not name"


def _broken(account: str, key: str, rules: Iterable[tuple[object, str]]) -> Iterator[Entry]:
    return (Entry(account, key, cause) for wrong, cause in rules if wrong)


def _longer(seconds: float | None, limit: float) -> bool:
    return seconds is None or seconds > limit
