"""The sender's other calls: asking for confirmation, reporting commitment, fetching priors.

Each is claimed from its table by a lease and runs in a thread, one a node at a time, beside the
deliveries and delaying none; priors, which take long, have a thread of their own. A call that fails
comes again after a growing delay; one that comes to its end without an answer is set aside as dead
and logged as an error.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from gatekeeper import confirmation as answers
from gatekeeper.commitment import Report, Request
from gatekeeper.errors import TransportError
from gatekeeper.listen import promise
from gatekeeper.listen.receive import Receiver, receiver_of
from gatekeeper.log import error_name, get_logger
from gatekeeper.send import commitment as push
from gatekeeper.send import query
from gatekeeper.send.priors import Fetcher, fetch, give_back
from gatekeeper.send.retrying import delay_after, growing
from gatekeeper.settings import Settings
from storage import commitments, confirmations, deliveries, nodes, priors
from storage.engine import Database, DatabaseUnavailableError
from storage.records import (
    Commitment,
    CommitmentItem,
    Confirm,
    Confirmation,
    ConfirmationState,
    Node,
    Prior,
)
from storage.spool import Spool

log = get_logger()

Task = Confirmation | Commitment | Prior


@dataclass(frozen=True, slots=True)
class Office:
    """What a call works with."""

    database: Database
    spool: Spool
    settings: Settings


@dataclass(frozen=True, slots=True)
class _Line:
    """What is made one call at a time: those to a node, and those that fetch priors from it."""

    node: str
    priors: bool


class Errands:
    """Makes the calls that are due until told to stop.

    Args:
        office: database, spool and settings.
        name: who claims, unique among running senders.
        failed: told when the process must end; see `failed`.
    """

    def __init__(self, office: Office, name: str, failed: Callable[[], None] | None = None) -> None:
        self._office = office
        self._name = name
        self._tell_failed = failed
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._busy: dict[_Line, threading.Thread] = {}
        self._fetching: dict[_Line, Prior] = {}
        self._next_beat = 0.0
        self._receiver: Receiver | None = None
        self._thread = threading.Thread(target=self._run, name="errands", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Claim nothing more, and let what is under way end, for so long at most."""
        self._stopping.set()
        self._thread.join(seconds)
        for thread in self._busy.values():
            thread.join(seconds)
        if self._receiver is not None:
            self._receiver.close(seconds)

    @property
    def failed(self) -> bool:
        """Whether the process must end, with a failure: what it received may be lost (EIO)."""
        return self._receiver is not None and self._receiver.failed.is_set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._busy = {line: one for line, one in self._busy.items() if one.is_alive()}
            try:
                self._beat()
                started = self._start_one()
            except DatabaseUnavailableError as error:
                log.error("database_unavailable", role="send", error=error_name(error))
                started = False
            if not started:
                self._stopping.wait(self._office.settings.send.poll_seconds)

    def _beat(self) -> None:
        """Hold the claims of priors, whose calls take long; three times a lease."""
        now = time.monotonic()
        if now < self._next_beat:
            return
        lease = self._office.settings.send.lease_seconds
        self._next_beat = now + lease / 3
        held = [task for line, task in self._fetching.items() if line in self._busy]
        if held:
            with self._office.database.begin() as tx:
                for task in held:
                    priors.heartbeat(tx, task, lease)

    def _start_one(self) -> bool:
        """Claim one call and start on it; False when there is none to claim."""
        settings = self._office.settings
        if len(self._busy) >= settings.send.destinations:
            return False
        with self._office.database.read() as tx:
            known = {node.ae_title: node for node in nodes.listing(tx)}
            due = commitments.due(tx) or confirmations.due(tx)
            fetching = priors.due(tx)
        if not (due or fetching):
            return False
        # Disabled is a pause.
        paused = {node.ae_title for node in known.values() if not node.enabled}
        task = self._claim(paused) if due else None
        if task is None and fetching:
            task = self._claim_prior(paused)
        if task is None:
            return False
        thread = threading.Thread(
            target=self._call, args=(task, known.get(task.node)), name="errand", daemon=True
        )
        line = _Line(task.node, isinstance(task, Prior))
        self._busy[line] = thread
        if isinstance(task, Prior):
            self._fetching[line] = task
        thread.start()
        return True

    def _claim(self, paused: set[str]) -> Task | None:
        limits = self._office.settings.commitment
        lease = limits.lease_seconds + limits.wait_seconds
        busy = {line.node for line in self._busy if not line.priors}
        left_alone = sorted(paused | busy)
        with self._office.database.begin() as tx:
            return commitments.claim(tx, self._name, lease, left_alone) or confirmations.claim(
                tx, self._name, lease, left_alone
            )

    def _claim_prior(self, paused: set[str]) -> Prior | None:
        lease = self._office.settings.send.lease_seconds
        busy = {line.node for line in self._busy if line.priors}
        with self._office.database.begin() as tx:
            return priors.claim(tx, self._name, lease, sorted(paused | busy))

    def _call(self, task: Task, node: Node | None) -> None:
        try:
            if isinstance(task, Prior):
                self._fetch(task, node)
            elif isinstance(task, Commitment):
                report(self._office, task, node)
            else:
                confirm(self._office, task, node)
        except DatabaseUnavailableError as error:
            # The lease runs out, and the call is made again.
            log.error("errand_abandoned", node=task.node, error=error_name(error))

    def _fetch(self, task: Prior, node: Node | None) -> None:
        office = self._office
        try:
            fetcher = Fetcher(office.database, office.spool, office.settings, self._receiving())
            fetch(fetcher, task, _reachable(node, task.node))
        except TransportError as error:
            give_back(office.database, office.settings, task, str(error))
        if self.failed and self._tell_failed is not None:
            self._tell_failed()

    def _receiving(self) -> Receiver:
        """Return what keeps the objects that come by C-GET; one for all, made when needed."""
        with self._lock:
            if self._receiver is None:
                office = self._office
                self._receiver = receiver_of(office.settings, office.database, office.spool)
            return self._receiver


def report(office: Office, task: Commitment, node: Node | None) -> None:
    """Make one attempt to report on a commitment, and end its claim.

    Raises:
        DatabaseUnavailableError: if the end could not be written; the report comes again.
    """
    settings = office.settings
    limits = settings.commitment
    items = promise.decide(office.database, office.spool, task, check_digest=limits.check_digest)
    if items is None:
        return
    known = log.bind(node=task.node, attempt=task.attempt)
    try:
        push.report(_reachable(node, task.node), task.transaction_uid, items, settings)
    except TransportError as error:
        made = task.attempt - task.attempts_before
        delay = delay_after(made, limits.maximum_attempts, limits)
        with office.database.begin() as tx:
            commitments.fail(tx, task.id, task.attempt, str(error), delay)
        if delay is None:
            known.error("report_dead", reason=str(error))
        else:
            known.warning("report_failed", reason=str(error), seconds=round(delay, 1))
        return
    with office.database.begin() as tx:
        commitments.reported(tx, task.id, task.attempt)
    known.info("commitment_reported", instances=len(items))


def confirm(office: Office, task: Confirmation, node: Node | None) -> None:
    """Make one attempt to have a delivery confirmed, and end its claim.

    Raises:
        DatabaseUnavailableError: if the end could not be written; the node is asked again.
    """
    if node is not None and node.confirm is Confirm.NONE:
        with office.database.begin() as tx:
            confirmations.waive(tx, task)
        log.warning("confirmation_waived", delivery=task.id, node=task.node)
        return
    try:
        if _reachable(node, task.node).confirm is Confirm.FIND:
            _look(office, task, _reachable(node, task.node))
        else:
            _ask(office, task, _reachable(node, task.node))
    except TransportError as error:
        send = office.settings.send
        made = task.attempt - task.attempts_before
        _fail(office, task, str(error), delay_after(made, send.maximum_attempts, send))


def _ask(office: Office, task: Confirmation, node: Node) -> None:
    """Ask by storage commitment; the answer may come here, later, or to the listener."""
    limits = office.settings.commitment
    # A new Transaction UID each time (PS3.5 B.2), so that answers can be told apart.
    transaction = f"2.25.{uuid.uuid4().int}"
    with office.database.begin() as tx:
        enough = confirmations.questions(tx, task) >= limits.questions
        expected = confirmations.expected(tx, task)
        if not enough and not confirmations.ask(tx, task, transaction):
            return
    if enough:
        _fail(office, task, f"no report after {limits.questions} questions", None)
        return
    items = tuple(CommitmentItem(one.sop_class_uid, one.sop_instance_uid) for one in expected)

    def hear(heard: Report) -> bool:
        return answers.hear(office.database, task.node, heard, limits.resends)

    def settled() -> bool:
        return not _is_held(office, task)

    try:
        push.ask(
            node,
            Request(transaction, items),
            office.settings,
            wait_seconds=limits.wait_seconds,
            hear=hear,
            settled=settled,
        )
    except TransportError:
        if not settled():
            with office.database.begin() as tx:
                confirmations.unask(tx, transaction)
        raise
    if not settled():
        _fail(office, task, "asked; its report has not come yet", limits.ask_again_seconds)


def _look(office: Office, task: Confirmation, node: Node) -> None:
    """Ask by C-FIND which objects the node has; some archives file them a while after storing."""
    settings = office.settings
    limits = settings.commitment
    with office.database.read() as tx:
        expected = [one.sop_instance_uid for one in confirmations.expected(tx, task)]
        places = deliveries.places(tx, task.id)
    series = sorted({places[uid] for uid in expected if uid in places})
    found = query.instances_of(node, series, settings)
    missing = {
        uid: "not found by C-FIND" if uid in places else "its series is not on record here"
        for uid in expected
        if uid not in found
    }
    with office.database.begin() as tx:
        if not confirmations.ask(tx, task, f"2.25.{uuid.uuid4().int}"):
            return
        looks = confirmations.questions(tx, task)
        settled = None
        if not missing or looks >= limits.questions:
            settled = answers.settle(tx, task, missing, limits.resends)
    if settled is not None:
        answers.tell(task, settled, len(expected))
        return
    delay = growing(looks, settings.send.retry_seconds, limits.ask_again_seconds)
    _fail(office, task, f"{len(missing)} of {len(expected)} not found by C-FIND yet", delay)


def _reachable(node: Node | None, ae_title: str) -> Node:
    """Return a node that can be called.

    Raises:
        TransportError: if it is not known, has no port, or speaks DICOMweb.
    """
    if node is None:
        raise TransportError(f"node {ae_title} is not known")
    if node.url:
        raise TransportError(f"node {ae_title} is reached by DICOMweb, which confirms nothing")
    if not node.port:
        raise TransportError(f"node {ae_title} has no port: `gatekeeper node add` with HOST:PORT")
    return node


def _is_held(office: Office, task: Confirmation) -> bool:
    with office.database.read() as tx:
        found = confirmations.get(tx, task.id)
    return (
        found is not None
        and found.state is ConfirmationState.CLAIMED
        and found.attempt == task.attempt
    )


def _fail(office: Office, task: Confirmation, reason: str, delay: float | None) -> None:
    with office.database.begin() as tx:
        held = confirmations.fail(tx, task, reason, delay)
    known = log.bind(delivery=task.id, node=task.node, reason=reason)
    if held and delay is None:
        known.error("delivery_not_confirmed")
    elif held:
        known.warning("confirmation_waits", seconds=round(delay or 0.0, 1))
