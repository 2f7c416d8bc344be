"""Storage commitment on the listener: nodes ask us, and nodes that we asked report to us.

A request is committed to the database before it is answered with success. Its report is tried on
the same association once that is silent, and otherwise left to the sender, which opens a new one;
whoever tries holds the row by a lease, so that a process that dies delays the report and never
loses it. PS3.4 annex J; PS3.7 sections 10.1.1 and 10.1.4.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper import elements
from gatekeeper.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_ACTION,
    event,
    read_action,
    read_event,
)
from gatekeeper.confirmation import hear
from gatekeeper.elements import NotReadable
from gatekeeper.listen import promise
from gatekeeper.listen.asking import PeerBusy
from gatekeeper.listen.associations import OpenAssociations
from gatekeeper.listen.provider import GuardedAssociation
from gatekeeper.log import error_name, get_logger
from gatekeeper.send import pdu
from gatekeeper.send.command import event_request
from gatekeeper.settings import Settings
from storage import commitments, nodes
from storage.commitments import TransactionInUseError
from storage.engine import Database, DatabaseUnavailableError
from storage.records import Commitment, CommitmentItem, Confirm, Node
from storage.spool import Spool

SUCCESS = 0x0000
# Statuses of N-ACTION and N-EVENT-REPORT (PS3.7 annex C); `answers` says when each is given.
PROCESSING_FAILURE, NO_SUCH_INSTANCE = 0x0110, 0x0112
INVALID_ARGUMENT, NO_SUCH_ACTION, NOT_AUTHORISED = 0x0115, 0x0123, 0x0124
RESOURCE_LIMITATION = 0x0213

_LOOK_SECONDS = 0.05
_LONGEST_SILENCE_WAIT = 20
"""Times the silence that a report waits for; then the association is left alone."""
_TRIES = 3
"""To report between two requests of the peer; then likewise."""
_ANSWER_SECONDS = 30.0
"""Longest wait for the answer to a report where `listen.dimse_timeout` sets none."""

log = get_logger()

Answer = tuple[int, None]


class _Refused(Exception):
    def __init__(self, status: int, rule: str) -> None:
        super().__init__(rule)
        self.status = status
        self.rule = rule


def context() -> PresentationContext:
    """Return the listener's presentation context: SCP of those who ask, SCU of those we asked."""
    made = build_context(PUSH_MODEL, list(elements.ENCODINGS))
    made.scu_role = made.scp_role = True
    return made


def only_reports(node: Node) -> bool:
    """Return whether a node calls us for its reports alone, and sends nothing."""
    return node.confirm is Confirm.COMMITMENT and not (node.may_send or node.brings_priors)


class CommitmentService:
    """Answers N-ACTION and N-EVENT-REPORT, and reports on the association of a request.

    Args:
        settings: `commitment` is used.
        database: where requests and answers are kept.
        spool: where the files are.
        associations: those that were accepted.
    """

    def __init__(
        self, settings: Settings, database: Database, spool: Spool, associations: OpenAssociations
    ) -> None:
        self._settings = settings.commitment
        self._database = database
        self._spool = spool
        self._associations = associations
        self._name = f"listen:{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._waiting: dict[Association, deque[Commitment]] = {}
        self._stopping = threading.Event()

    def handlers(self) -> list[Any]:
        """Return the handlers to bind to the server."""
        return [(evt.EVT_N_ACTION, self._action), (evt.EVT_N_EVENT_REPORT, self._event)]

    def stop(self, seconds: float) -> None:
        """Leave the reports that wait to the sender; return once that is written, or later."""
        self._stopping.set()
        deadline = time.monotonic() + seconds
        while self._waiting and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def _action(self, request: evt.Event) -> Answer:
        """Keep a request for commitment; never raises."""
        calling = self._calling(request)
        try:
            commitment = self._keep(request, calling)
        except _Refused as refusal:
            status, rule = refusal.status, refusal.rule
        except NotReadable as error:
            status, rule = INVALID_ARGUMENT, str(error)
        except TransactionInUseError:
            status, rule = INVALID_ARGUMENT, "the Transaction UID was used for other instances"
        except (SQLAlchemyError, OSError) as error:
            status, rule = RESOURCE_LIMITATION, f"database trouble: {error_name(error)}"
        except Exception as error:  # noqa: BLE001 - pynetdicom would log its values
            status, rule = PROCESSING_FAILURE, f"defect: {error_name(error)}"
        else:
            if commitment is not None:
                self._report_here(request.assoc, commitment)
            return SUCCESS, None
        log.warning("commitment_refused", calling_ae=calling, status=f"{status:04X}", rule=rule)
        return status, None

    def _keep(self, request: evt.Event, calling: str) -> Commitment | None:
        message = cast(Any, request.request)
        if message.ActionTypeID != REQUEST_ACTION:
            raise _Refused(NO_SUCH_ACTION, "Action Type ID is not 1")
        if str(message.RequestedSOPInstanceUID) != PUSH_MODEL_INSTANCE:
            raise _Refused(NO_SUCH_INSTANCE, "not the well-known instance of the push model")
        asked = read_action(_data(message.ActionInformation), _syntax(request))
        limit = self._settings.maximum_references
        if len(asked.items) > limit:
            raise _Refused(RESOURCE_LIMITATION, f"over {limit} references in one request")
        with self._database.begin() as tx:
            node = nodes.get(tx, calling)
            if node is None or not node.may_send:
                raise _Refused(NOT_AUTHORISED, "the node may not send, so it may not ask")
            commitment = commitments.request(
                tx,
                calling,
                asked.transaction_uid,
                asked.items,
                self._name,
                self._settings.lease_seconds,
            )
        log.info("commitment_requested", calling_ae=calling, instances=len(asked.items))
        return commitment

    def _event(self, request: evt.Event) -> Answer:
        """Take the report of a node that we asked; never raises."""
        calling = self._calling(request)
        try:
            message = cast(Any, request.request)
            report = read_event(_data(message.EventInformation), _syntax(request))
            if hear(self._database, calling, report, self._settings.resends):
                return SUCCESS, None
            status, rule = INVALID_ARGUMENT, "nothing was asked under this Transaction UID"
        except NotReadable as error:
            status, rule = INVALID_ARGUMENT, str(error)
        except Exception as error:  # noqa: BLE001 - the node is to report again
            status, rule = PROCESSING_FAILURE, error_name(error)
        log.warning("report_refused", calling_ae=calling, status=f"{status:04X}", rule=rule)
        return status, None

    def _calling(self, request: evt.Event) -> str:
        association = self._associations.of(request.assoc)
        return "" if association is None else association.calling_ae

    def _report_here(self, association: Association, commitment: Commitment) -> None:
        """Have a report tried on this association, one at a time, by a thread of its own."""
        with self._lock:
            waiting = self._waiting.get(association)
            if waiting is not None:
                waiting.append(commitment)
                return
            self._waiting[association] = deque([commitment])
        thread = threading.Thread(
            target=self._drain, args=(association,), name="commitment", daemon=True
        )
        thread.start()

    def _drain(self, association: Association) -> None:
        while True:
            with self._lock:
                waiting = self._waiting[association]
                if not waiting:
                    del self._waiting[association]
                    return
                commitment = waiting.popleft()
            try:
                self._try(association, commitment)
            except DatabaseUnavailableError as error:
                # The lease runs out, and the report is owed by the sender.
                log.error("report_abandoned", error=error_name(error))
            except Exception as error:  # noqa: BLE001 - the lease runs out, as above
                log.error("report_abandoned", error=error_name(error))

    def _try(self, association: Association, commitment: Commitment) -> None:
        reason = "left to a new association"
        if self._settings.same_association_seconds and self._silent(association) is not None:
            items = promise.decide(
                self._database,
                self._spool,
                commitment,
                check_digest=self._settings.check_digest,
            )
            if items is None:
                return
            if self._report(association, commitment, items) == SUCCESS:
                with self._database.begin() as tx:
                    commitments.reported(tx, commitment.id, commitment.attempt)
                log.info("commitment_reported", node=commitment.node, instances=len(items))
                return
            reason = "not taken on the association of the request"
        with self._database.begin() as tx:
            commitments.fail(tx, commitment.id, commitment.attempt, reason, 0.0)

    def _report(
        self, association: Association, commitment: Commitment, items: Sequence[CommitmentItem]
    ) -> int | None:
        """Report as soon as the peer is silent; return its status, None without one."""
        for _ in range(_TRIES):
            heard = self._silent(association)
            if heard is None:
                break
            with contextlib.suppress(PeerBusy):
                return _ask(association, commitment.transaction_uid, items, heard)
        return None

    def _silent(self, association: Association) -> int | None:
        """Wait until the peer is silent and return how often it was heard until then.

        A peer in the middle of something may take our request for the answer to its own.

        Returns:
            None when it ended the association, or went on for long.
        """
        quiet = self._settings.same_association_seconds
        since = time.monotonic()
        deadline = since + _LONGEST_SILENCE_WAIT * quiet
        last = self._activity(association)
        while association.is_established and not self._stopping.is_set():
            now = time.monotonic()
            current = self._activity(association)
            if current != last:
                last, since = current, now
            elif now - since >= quiet:
                return current[0]
            if now >= deadline:
                return None
            self._stopping.wait(min(_LOOK_SECONDS, quiet))
        return None

    def _activity(self, association: Association) -> tuple[int, int]:
        """Return what stands still while the peer sends nothing and waits for nothing."""
        known = self._associations.of(association)
        handled = 0 if known is None else known.stored + known.refused
        return cast(GuardedAssociation, association).provider.heard, handled


def _ask(
    association: Association, transaction_uid: str, items: Sequence[CommitmentItem], heard: int
) -> int | None:
    """Report on an open association and return the peer's status, None without one.

    Raises:
        PeerBusy: if it was heard since.
    """
    found = next(
        (one for one in association.accepted_contexts if one.abstract_syntax == PUSH_MODEL), None
    )
    if found is None:
        return None
    kind, data = event(transaction_uid, items, str(found.transfer_syntax[0]))

    def make(message_id: int) -> bytes:
        request = event_request(message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE, kind)
        longest = association.requestor.maximum_length or 0
        return pdu.message(found.context_id or 0, request, data, longest)

    asking = cast(GuardedAssociation, association).provider.asking
    answer = asking.ask(make, heard, association.dimse_timeout or _ANSWER_SECONDS)
    return None if answer is None else answer.status


def _data(stream: Any) -> bytes:
    return b"" if stream is None else stream.getvalue()


def _syntax(request: evt.Event) -> str:
    return str(request.context.transfer_syntax)
