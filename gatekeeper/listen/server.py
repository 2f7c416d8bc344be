"""The listener assembled: pynetdicom's acceptor, our guards, peers, receiver and associations."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom import _config as pynetdicom_config
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.atna.refusals import Refusals
from gatekeeper.errors import ConfigurationError
from gatekeeper.listen.allowed import welcome
from gatekeeper.listen.associations import OpenAssociation, OpenAssociations
from gatekeeper.listen.backpressure import LOCAL_LIMIT_EXCEEDED, QueueMark
from gatekeeper.listen.commitment import CommitmentService
from gatekeeper.listen.contexts import storage_classes, supported_contexts
from gatekeeper.listen.fetched import NOT_AUTHORISED
from gatekeeper.listen.file_meta import IMPLEMENTATION_CLASS_UID
from gatekeeper.listen.guard import Caps, Connections, GuardedHandler, GuardedServer
from gatekeeper.listen.messages import Answer, Budgets, Incoming, Turned
from gatekeeper.listen.peers import Refusal, judge
from gatekeeper.listen.provider import Reception
from gatekeeper.listen.receive import NOT_SUPPORTED, SUCCESS, Arrival, receiver_of
from gatekeeper.listen.resolver import Resolver
from gatekeeper.listen.share import Share, SharedPort
from gatekeeper.log import error_name, get_logger
from gatekeeper.metrics.tally import ACCEPTED, Tally
from gatekeeper.metrics.tally_files import TallyWriter
from gatekeeper.send.command import Request
from gatekeeper.settings import Settings
from gatekeeper.tls import Credentials, presented_on
from storage import nodes
from storage.engine import Database
from storage.spool import Spool

IMPLEMENTATION_VERSION_NAME = "GATEKEEPER"
_ACCEPT_POLL_SECONDS = 0.1
_STOP_POLL_SECONDS = 0.02
ABORT_SECONDS = 2.0

REJECTIONS = {
    Refusal.CALLED_AE: (1, 1, 7),
    Refusal.CALLING_AE: (1, 1, 3),
    # What the peer learns does not tell an unknown AE title from a known one at a wrong address.
    Refusal.ADDRESS: (1, 1, 3),
    Refusal.PLAIN: (1, 1, 3),
    Refusal.CERTIFICATE: (1, 1, 3),
}
"""Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
TEMPORARY_CONGESTION = (2, 3, 1)
_TOO_MANY, _QUEUE_FULL, _TROUBLE = "too many associations", "the queue is full", "trouble"
_OUTCOMES = (ACCEPTED, *(one.value for one in Refusal), _TOO_MANY, _QUEUE_FULL, _TROUBLE)

log = get_logger()


class Listener:
    """The C-ECHO and C-STORE SCP of one process.

    Args:
        settings: all settings; `listen`, `tls` and `spool` are used. Port 0 takes a free one.
        database: connected and migrated.
        spool: where the bytes are kept.
        share: what other processes that serve the same ports share with it; None for no others.
    """

    def __init__(
        self, settings: Settings, database: Database, spool: Spool, share: Share | None = None
    ) -> None:
        self._share = share
        self._settings = settings.listen
        self._database = database
        self._tally = Tally(_OUTCOMES)
        self._tallying = TallyWriter(
            self._tally, spool.root, "listen", settings.metrics.flush_seconds
        )
        recorder = None if share is None else share.recorder
        self._receiver = receiver_of(settings, database, spool, self._tally, recorder)
        self._queue = QueueMark(settings, database)
        self._associations = OpenAssociations(
            database,
            self._settings.association_lease / 3,
            None if share is None else share.table.associations,
            self._receiver.enter,
        )
        self._tally.open = self._associations.count
        self._commitment = CommitmentService(settings, database, spool, self._associations)
        self._resolver = Resolver(
            self._settings.resolve_seconds, self._settings.resolve_again_seconds
        )
        self._refusals = Refusals(database, settings)
        self._classes: frozenset[str] = frozenset()
        self._credentials = Credentials(settings.tls)
        self._plain: GuardedServer | None = None
        self._secured: GuardedServer | None = None

    @property
    def failed(self) -> threading.Event:
        """Set when the process must end, with a failure, to be started afresh."""
        return self._receiver.failed

    @property
    def port(self) -> int:
        """The TCP port that is open, the plain one when two are.

        Raises:
            RuntimeError: before `start`.
        """
        if not self._servers:
            raise RuntimeError("the listener has not been started")
        return int(self._servers[0].server_address[1])

    @property
    def tls_port(self) -> int:
        """The TCP port for TLS; 0 when none is open."""
        return 0 if self._secured is None else int(self._secured.server_address[1])

    @property
    def _servers(self) -> list[GuardedServer]:
        return [server for server in (self._plain, self._secured) if server is not None]

    @property
    def associations(self) -> list[Association]:
        """The associations being served or negotiated."""
        return [found for server in self._servers for found in server.active_associations]

    def start(self) -> None:
        """Open the ports and serve from threads of our own.

        Raises:
            ConfigurationError: if a file of `tls` cannot be used, or no port is to be opened.
            OSError: if a port cannot be opened.
        """
        if not self._settings.plain and not self._settings.tls_port:
            raise ConfigurationError("listen.plain", "false, and no listen.tls_port: no port")
        if self._settings.tls_port:
            self._credentials.check(server=True)
        # The switches of pynetdicom are global to the process. UIDs are judged in `headers`,
        # with a status; left to pynetdicom, a long one would abort the association.
        pynetdicom_config.LOG_HANDLER_LEVEL = "none"
        pynetdicom_config.VALIDATORS["UI"] = _any_uid
        settings = self._settings
        ae = AE(settings.ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        # We count those that were accepted; pynetdicom would count silent connections too.
        ae.maximum_associations = settings.maximum_connections + 1
        ae.maximum_pdu_size = settings.maximum_pdu
        ae.acse_timeout = settings.association_timeout
        ae.dimse_timeout = settings.dimse_timeout
        ae.network_timeout = settings.network_timeout
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_RELEASED, self._ended),
            (evt.EVT_ABORTED, self._ended),
            *self._commitment.handlers(),
        ]
        contexts = supported_contexts(
            settings.private_sop_classes, accept_deflated=settings.accept_deflated
        )
        self._classes = frozenset(storage_classes(settings.private_sop_classes))
        reception = Reception(
            self._begin,
            self._catch_up,
            Budgets(
                object=settings.maximum_object_mib << 20,
                request=settings.maximum_request_mib << 20,
                association=settings.maximum_association_mib << 20,
            ),
            settings.object_seconds,
        )
        share = self._share
        # Both ports share the caps.
        connections = Connections(
            Caps(settings.maximum_connections, settings.maximum_connections_per_host),
            None if share is None else share.table.connections,
        )

        def opened(port: int, shared: SharedPort | None) -> GuardedServer:
            server = ae.make_server(
                (settings.host, port),
                contexts=contexts,
                evt_handlers=handlers,
                server_class=GuardedServer,
                request_handler=GuardedHandler,
                reception=reception,
                connections=connections,
                shared=shared,
            )
            return cast(GuardedServer, server)

        if settings.plain:
            self._plain = opened(settings.port, share and share.plain)
        if settings.tls_port:
            try:
                self._secured = opened(settings.tls_port, share and share.secured)
            except OSError:
                for server in self._servers:
                    server.server_close()
                raise
            self._secured.secure = self._credentials.accept
            self._secured.refused = lambda address, rule: self._refusals.note("", address, rule)
        self._receiver.prepare()
        self._associations.start()
        self._tallying.start()
        self._refusals.start()
        for server in self._servers:
            threading.Thread(
                target=server.serve_forever,
                args=(_ACCEPT_POLL_SECONDS,),
                name="listener",
                daemon=True,
            ).start()
        if share is not None:
            share.table.say_up(True)

    def stop(self, deadline_seconds: float | None = None) -> None:
        """Close the ports, let open associations finish until the deadline, then abort them.

        Args:
            deadline_seconds: None means the setting ``listen.stop_seconds``.
        """
        if not self._servers:
            return
        if self._share is not None:
            self._share.table.say_up(False)
        for server in self._servers:
            server.stop_accepting()
        seconds = self._settings.stop_seconds if deadline_seconds is None else deadline_seconds
        if not self._wait_for_end(seconds):
            left = self.associations
            log.warning("associations_aborted", count=len(left), limit=seconds)
            for association in left:
                association.abort(block=False)
            self._wait_for_end(ABORT_SECONDS)
        self._receiver.close(ABORT_SECONDS)
        self._queue.close(ABORT_SECONDS)
        self._commitment.stop(ABORT_SECONDS)
        self._associations.stop(ABORT_SECONDS)
        self._tallying.stop(ABORT_SECONDS)
        self._refusals.stop(ABORT_SECONDS)

    def _wait_for_end(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.associations:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_STOP_POLL_SECONDS)
        return True

    def _requested(self, event: evt.Event) -> None:
        """Judge the peer. pynetdicom goes on as if accepted when this raises: it must not."""
        request = event.assoc.requestor.primitive
        if not isinstance(request, A_ASSOCIATE):
            # The connection closed before it asked for anything; without this, negotiation begins.
            event.assoc.is_aborted = True
            event.assoc.kill()
            return
        rejection: tuple[int, int, int] | None = TEMPORARY_CONGESTION
        try:
            rejection = self._judge(event.assoc, request)
        except (SQLAlchemyError, OSError) as error:
            log.error("association_not_judged", error=error_name(error))
            self._tally.association(_TROUBLE)
        except Exception as error:  # noqa: BLE001 - logged, and refused below
            log.error("association_not_judged", error=error_name(error))
            self._tally.association(_TROUBLE)
        if rejection is not None:
            event.assoc.acse.send_reject(*rejection)
            event.assoc.kill()

    def _judge(self, association: Association, request: A_ASSOCIATE) -> tuple[int, int, int] | None:
        calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
        address = _address(association)
        with self._database.read() as tx:
            node = nodes.get(tx, calling)
        refusal = judge(
            called,
            address,
            self._settings.ae_title,
            node,
            self._resolver.addresses,
            presented := presented_on(_connection(association)),
        )
        if refusal is None and self._queue.refuses(request):
            self._tally.association(_QUEUE_FULL)
            return LOCAL_LIMIT_EXCEEDED
        limit = self._settings.maximum_associations
        moved_to = self._settings.ae_title if node and node.brings_priors else ""
        opened = None
        if refusal is None:
            opened = self._associations.admit(association, calling, address, limit, moved_to)
        if opened is not None and node is not None:
            opened.may_send = node.may_send
            acceptor = association.acceptor
            acceptor.supported_contexts = welcome(acceptor.supported_contexts, node, request)
            self._tally.association(ACCEPTED)
            return None
        reason = _TOO_MANY if refusal is None else refusal.value
        self._tally.association(reason)
        log.warning(
            "association_refused",
            calling_ae=calling,
            called_ae=called,
            address=address,
            certificate="" if presented is None else presented.fingerprint,
            reason=reason,
            limit=limit if refusal is None else None,
        )
        if refusal is None:
            return LOCAL_LIMIT_EXCEEDED
        self._refusals.note(calling, address, refusal.value)
        return REJECTIONS[refusal]

    def _echo(self, _event: evt.Event) -> int:
        return SUCCESS

    def _begin(self, thread: Association, request: Request, transfer_syntax_uid: str) -> Incoming:
        """Return what takes the object that a C-STORE request announces."""
        association = self._associations.of(thread)
        if association is None:
            return Turned(Answer(NOT_AUTHORISED, "the association was not accepted"))
        if request.sop_class_uid not in self._classes:
            return Turned(Answer(NOT_SUPPORTED, "the SOP class is not one that is stored here"))
        uids = request.sop_class_uid, request.sop_instance_uid, transfer_syntax_uid
        arrival = Arrival(*uids, move_originator=request.move_originator)
        return self._receiver.begin(arrival, association)

    def _catch_up(self, thread: Association) -> None:
        association = self._associations.of(thread)
        if association is not None:
            self._receiver.catch_up(association)

    def _ended(self, event: evt.Event) -> None:
        association = self._associations.close(event.assoc)
        if association is not None:
            _report(association, "aborted" if event.assoc.is_aborted else "released")


def _any_uid(value: Any) -> tuple[bool, str]:
    return bool(value), "must not be empty"


def _connection(association: Association) -> object:
    found = association.dul.socket
    return None if found is None else found.socket


def _address(association: Association) -> str:
    information = association.requestor.address_info
    return "" if information is None else information.address


def _report(association: OpenAssociation, state: str) -> None:
    log.info(
        "association_ended",
        association=association.id,
        calling_ae=association.calling_ae,
        address=association.address,
        instances=association.stored,
        count=association.refused,
        state=state,
        seconds=round(time.monotonic() - association.opened, 3),
    )
