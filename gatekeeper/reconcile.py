"""Reconciliation: what we received, analysed and delivered, against what a node says it has.

The ledger is about our own books; this is about us and the archive. Each study is compared with
each node that something of it was delivered to, by C-FIND at IMAGE level, and each difference is
told with its cause. Nothing is concluded from an answer that is not whole. On request, exactly what
the node does not have is queued again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from gatekeeper.errors import TransportError
from gatekeeper.send import query
from gatekeeper.settings import Settings
from storage import confirmations, deliveries, instances, jobs, nodes, studies
from storage.engine import Database
from storage.records import (
    HAS_ALL,
    ConfirmationState,
    Delivery,
    DeliveryItem,
    DeliveryState,
    Instance,
    Job,
    JobState,
    Node,
    Result,
    Study,
    StudyState,
)
from storage.spool import Spool

ORIGINAL = "original"
_UIDS_NAMED = 3


@dataclass(frozen=True, slots=True)
class Sent:
    """One delivery with its objects and the series that they are in."""

    delivery: Delivery
    items: Sequence[DeliveryItem]
    places: dict[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Facts:
    """Our books about one study and one node."""

    study: Study
    job: Job | None
    """The newest."""
    instances: Sequence[Instance]
    sent: Sequence[Sent]
    """Deliveries to the node, the oldest first."""

    @property
    def delivered(self) -> dict[str, Sent]:
        """The newest delivery of each object that the node has answered as stored."""
        return {
            item.sop_instance_uid: one
            for one in self.sent
            if one.delivery.state in HAS_ALL
            for item in one.items
        }

    @property
    def on_the_way(self) -> set[str]:
        """Objects of deliveries that are not at their end."""
        return {
            item.sop_instance_uid
            for one in self.sent
            if one.delivery.state in (DeliveryState.QUEUED, DeliveryState.CLAIMED)
            for item in one.items
            if not item.stored
        }


@dataclass(frozen=True, slots=True)
class Balance:
    """One study against one node."""

    study: str
    node: str
    received: int
    """Instances received, those among them that retention removed here included."""
    removed: int
    analysed: bool
    delivered: int
    """Objects that the node has answered as stored."""
    held: int | None
    """How many of those it says it has; None when it could not be asked."""
    differences: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """What was delivered and the node does not have."""
    missing_originals: tuple[str, ...] = ()
    resent: int = 0
    """Objects queued again."""

    @property
    def balanced(self) -> bool:
        """Whether there is no difference."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared."""

    node: str | None = None
    study: str | None = None
    limit: int = 1000
    """Newest studies looked at."""
    originals: bool = False
    """Whether the node is to have the received instances as well."""
    resend: bool = False
    known: dict[str, Node] = field(default_factory=dict[str, Node])


def run(database: Database, spool: Spool, settings: Settings, scope: Scope) -> Iterable[Balance]:
    """Yield a balance for each study and each node that is to have something of it.

    Raises:
        DatabaseUnavailableError: if our own books cannot be read.
    """
    with database.read() as tx:
        known = {node.ae_title: node for node in nodes.listing(tx)}
        if scope.study is None:
            chosen = [one.study_instance_uid for one in studies.listing(tx, scope.limit)]
        else:
            chosen = [scope.study]
    for uid in chosen:
        with database.read() as tx:
            found = _facts(tx, uid, replace(scope, known=known))
        for title, facts in found.items():
            held, problem = _ask(known.get(title), title, facts, settings, scope)
            balance = compare(title, facts, held, problem, originals=scope.originals)
            yield _resend(database, spool, facts, balance) if scope.resend else balance


def compare(
    node: str, facts: Facts, held: set[str] | None, problem: str, *, originals: bool
) -> Balance:
    """Return where our books and what the node has differ: pure.

    Args:
        node: AE title.
        facts: our books.
        held: SOP Instance UIDs that the node says it has; None when it could not be asked.
        problem: why it could not.
        originals: whether it is to have the received instances.
    """
    delivered = facts.delivered
    waiting = facts.on_the_way
    differences = [*_analysis(facts), *_deliveries(facts)]
    missing: list[str] = []
    missing_originals: list[str] = []
    if held is None:
        differences.append(f"{node} could not be asked: {problem}")
    else:
        missing = sorted(set(delivered) - held - waiting)
        if missing:
            present = len(set(delivered) & held)
            differences.append(_short_of(f"delivered {len(delivered)}", node, present, missing))
        if originals:
            received = {one.sop_instance_uid for one in facts.instances}
            missing_originals = sorted(received - held - waiting - set(missing))
            if missing_originals:
                present = len(received & held)
                what = f"received {len(received)}"
                differences.append(_short_of(what, node, present, missing_originals))
    return Balance(
        study=facts.study.study_instance_uid,
        node=node,
        received=len(facts.instances),
        removed=sum(one.removed_at is not None for one in facts.instances),
        analysed=facts.job is not None and facts.job.state is JobState.DONE,
        delivered=len(delivered),
        held=None if held is None else len(set(delivered) & held),
        differences=tuple(differences),
        missing=tuple(missing),
        missing_originals=tuple(missing_originals),
    )


def _short_of(what: str, node: str, present: int, missing: Sequence[str]) -> str:
    named = ", ".join(missing[:_UIDS_NAMED])
    more = f" and {len(missing) - _UIDS_NAMED} more" if len(missing) > _UIDS_NAMED else ""
    return f"{what}, {node} has {present}: {named}{more} missing"


def _analysis(facts: Facts) -> list[str]:
    if facts.study.state is StudyState.RECEIVING:
        return []
    count = f"received {len(facts.instances)}"
    if facts.job is None:
        return [f"{count}, not analysed: no job"] if facts.instances else []
    if facts.job.state is JobState.DONE:
        return []
    why = f": {facts.job.reason}" if facts.job.reason else ""
    return [f"{count}, not analysed: job {facts.job.id} is {facts.job.state}{why}"]


def _deliveries(facts: Facts) -> list[str]:
    unconfirmed = [
        f"delivery {one.delivery.id} is delivered, and its confirmation did not come"
        for one in facts.sent
        if one.delivery.confirmation is ConfirmationState.DEAD
    ]
    return unconfirmed + [
        f"delivery {one.delivery.id} is {one.delivery.state}: {one.delivery.items_stored} of "
        f"{one.delivery.items} stored{f': {reason}' if (reason := one.delivery.reason) else ''}"
        for one in facts.sent
        if one.delivery.state not in HAS_ALL
    ]


def _facts(tx: Connection, study_uid: str, scope: Scope) -> dict[str, Facts]:
    """Return our books about a study, for each node that is to have something of it."""
    study = studies.get(tx, study_uid)
    if study is None:
        return {}
    newest = max(jobs.listing(tx, study=study_uid), key=lambda job: job.id, default=None)
    received = instances.of_study(tx, study_uid)
    sent: dict[str, list[Sent]] = {}
    for delivery in deliveries.for_study(tx, study_uid):
        items = deliveries.items_of(tx, delivery.id)
        places = deliveries.places(tx, delivery.id)
        sent.setdefault(delivery.node, []).append(Sent(delivery, items, places))
    for node in scope.known.values():
        if node.receives_results and node.enabled:
            sent.setdefault(node.ae_title, [])
    return {
        node: Facts(study, newest, received, found)
        for node, found in sorted(sent.items())
        if scope.node in (None, node)
    }


def _ask(
    node: Node | None, title: str, facts: Facts, settings: Settings, scope: Scope
) -> tuple[set[str] | None, str]:
    """Return what the node has of what it is to have, or None and why it could not be asked."""
    if node is None or not node.port:
        return None, f"node {title} is not known or has no port"
    if node.url:
        return None, f"node {title} is reached by DICOMweb and answers no C-FIND"
    series = {place for one in facts.sent for place in one.places.values()}
    if scope.originals:
        series |= {(one.study_instance_uid, one.series_instance_uid) for one in facts.instances}
    if not series:
        return set(), ""
    try:
        found = query.instances_of(node, sorted(series), settings)
    except TransportError as error:
        return None, str(error)
    return found, ""


def _resend(database: Database, spool: Spool, facts: Facts, balance: Balance) -> Balance:
    """Queue again exactly what is missing, and say so; what has no file here cannot be."""
    delivered = facts.delivered
    by_delivery: dict[int, set[str]] = {}
    gone: list[str] = []
    for uid in balance.missing:
        one = delivered[uid]
        item = next(item for item in one.items if item.sop_instance_uid == uid)
        if spool.exists(item.digest):
            by_delivery.setdefault(one.delivery.id, set()).add(uid)
        else:
            gone.append(uid)
    originals = [
        one
        for one in facts.instances
        if one.sop_instance_uid in balance.missing_originals and spool.exists(one.digest)
    ]
    here = {one.sop_instance_uid for one in originals}
    gone += [uid for uid in balance.missing_originals if uid not in here]
    resent = 0
    with database.begin() as tx:
        for delivery_id, uids in by_delivery.items():
            if deliveries.resend(tx, delivery_id, uids):
                confirmations.reopen(tx, delivery_id)
                resent += len(uids)
        for one in facts.sent:
            if one.delivery.state is DeliveryState.DEAD and deliveries.retry(tx, one.delivery.id):
                resent += one.delivery.items - one.delivery.items_stored
            if one.delivery.confirmation is ConfirmationState.DEAD:
                # Nothing to send: the node is asked afresh.
                confirmations.retry(tx, one.delivery.id)
        # The same UID twice would be two contents; an archive takes one, so both are left alone.
        single = [one for one in originals if not one.conflict]
        if single:
            deliveries.create(tx, balance.node, [_as_result(one) for one in single])
            resent += len(single)
    differences = balance.differences
    if gone:
        differences += (f"cannot be sent again, no file here any more: {', '.join(gone)}",)
    return replace(balance, resent=resent, differences=differences)


def _as_result(instance: Instance) -> Result:
    return Result(
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        series_instance_uid=instance.series_instance_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
        kind=ORIGINAL,
        digest=instance.digest,
        size=instance.size,
    )
