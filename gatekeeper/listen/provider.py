"""An association that pynetdicom negotiates and we read.

pynetdicom runs the state machine (PS3.8 9.2): request, acceptance, release, abort. While the
association is established (Sta6) its upper layer provider, a thread, reads the connection itself:
it takes the stream apart (`pdata`), hands the data set of each C-STORE on as it comes (`messages`)
and answers from the same thread. Every other PDU and message goes through pynetdicom's own code,
as if that had read it.

Nothing polls. The provider waits for bytes or for its `Wake`; the association's thread waits for a
message, a release or an abort. A peer has `listen.dimse_timeout` for each PDU and between the PDUs
of a message, and `listen.object_seconds` for a whole message; then it is aborted.

What is overridden of pynetdicom is private in part; tests hold it in place.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationServer

from gatekeeper.listen.asking import Asking
from gatekeeper.listen.connection import LARGEST_PDU, BoundedSocket, Telling, Wake, receive
from gatekeeper.listen.messages import Answer, Budgets, Incoming, Messages
from gatekeeper.listen.pdata import Unwrapping
from gatekeeper.log import error_name, get_logger
from gatekeeper.send.command import Request, store_response
from gatekeeper.send.pdu import ProtocolError, abort, command_values

ESTABLISHED, CLOSING = "Sta6", "Sta13"
"""States of PS3.8 9.2 in which the provider reads the stream, and hangs up."""

MAXIMUM_OUTSTANDING = 16
"""Requests other than C-STORE that a peer may send without waiting for their answers."""

_BUFFER = 256 * 1024
_LONGEST_WAIT_SECONDS = 60.0
_NEGOTIATION_WAIT_SECONDS = 1.0
_ENDING_SECONDS = 0.1

log = get_logger()


@dataclass(frozen=True, slots=True)
class Reception:
    """What the provider of an association works with.

    Attributes:
        begin: told the association, a C-STORE request and its transfer syntax UID; returns what
            takes its data set.
        catch_up: told the association before any other request of it is served, or its end.
        budgets: largest sizes.
        message_seconds: longest time for the bytes of one message.
    """

    begin: Callable[[Association, Request, str], Incoming]
    catch_up: Callable[[Association], None]
    budgets: Budgets
    message_seconds: float


class GuardedProvider(DULServiceProvider):
    """The upper layer provider of one accepted association."""

    def __init__(self, association: GuardedAssociation, reception: Reception) -> None:
        super().__init__(association)
        # pynetdicom would let this thread hold up the end of the process.
        self.daemon = True
        self.to_user_queue = Telling(association.work.set)
        self.ended = threading.Event()
        """Set when the thread has done all it will do."""
        self.heard = 0
        """How often bytes of the peer came; it is silent while this stands still."""
        self._reception = reception
        self._wake = Wake()
        self.asking = Asking(self._wake)
        self._unwrapping = Unwrapping(LARGEST_PDU)
        self._messages: Messages | None = None
        self._buffer = memoryview(b"")
        self._longest = 0
        self._storing = False
        self._boundaries = self._begun = 0
        self._pdu_deadline = self._message_deadline = float("inf")

    def send_pdu(self, primitive: Any) -> None:
        """Queue `primitive` for the peer and let the thread see it."""
        super().send_pdu(primitive)
        self._wake.set()

    def kill_dul(self) -> None:
        """End the thread."""
        super().kill_dul()
        self._wake.set()

    def stop_dul(self) -> bool:
        """End the thread if the connection is closed, and return whether it was."""
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        return self.ended.wait(_ENDING_SECONDS)

    def idle_timer_expired(self) -> bool:
        """Return whether the peer has been silent for too long; our own work is not its silence."""
        return not self._storing and super().idle_timer_expired()

    def idle_seconds(self) -> float:
        """Return the time until the peer will have been silent for too long."""
        return self._idle_timer.remaining

    def run_reactor(self) -> None:
        """Serve the connection until it is closed; the body of the thread."""
        self._idle_timer.start()
        cast(GuardedAssociation, self.assoc).let_go()
        try:
            while not self._kill_thread:
                self._step()
        except Exception as error:  # noqa: BLE001 - the peer is told, the log is told, nobody waits
            log.error("association_failed", error=error_name(error), address=self.address)
            self._give_up()
        finally:
            self._abandon()
            self._wake.close()
            self.asking.end()
            self.ended.set()
            cast(GuardedAssociation, self.assoc).work.set()

    def _step(self) -> None:
        """Do one thing: what the local user asks, what the peer sends, or wait for either."""
        if self.event_queue.empty():
            if self.artim_timer.expired:
                self.event_queue.put("Evt18")
            elif not self._process_recv_primitive():
                self._listen()
        try:
            event = self.event_queue.get(block=False)
        except queue.Empty:
            return
        self.state_machine.do_action(event)

    def _listen(self) -> None:
        state = self.state_machine.current_state
        connection = self._socket.connection
        if state == CLOSING:
            self._abandon()
            self._socket.hang_up()
        elif state == ESTABLISHED and connection is not None:
            self._read()
        else:
            patience = min(self.artim_timer.remaining, _NEGOTIATION_WAIT_SECONDS)
            if self._wake.wait(connection, patience):
                self.heard += 1
                self._read_pdu_data()
                self._idle_timer.restart()
        if self._wake.is_set:
            self._wake.clear()

    def _read(self) -> None:
        """Read the stream until there is something else to do."""
        messages = self._messages or self._begin()
        self._socket.stream()
        connection = self._socket.connection
        try:
            while connection is not None and not self._wake.is_set and self.event_queue.empty():
                count = receive(connection, self._buffer)
                if count is None:
                    self._ask(messages)
                    self._wake.wait(connection, self._patience())
                elif count == 0:
                    self.event_queue.put("Evt17")
                else:
                    self.heard += 1
                    self._storing = True
                    self._feed(messages, self._buffer[:count])
                    self._idle_timer.restart()
                    self._storing = False
        except ProtocolError as error:
            log.warning("association_broken_off", reason=str(error), address=self.address)
            self._abandon()
            self.event_queue.put("Evt19")
        except OSError as error:
            log.info("connection_lost", error=error_name(error), address=self.address)
            self.event_queue.put("Evt17")
        finally:
            self._storing = False

    def _ask(self, messages: Messages) -> None:
        """Send a request of ours, if there is one and the peer is in the middle of nothing."""
        answered = self.assoc.dimse.msg_queue.empty() and self.to_provider_queue.empty()
        idle = answered and not messages.inside and not self._unwrapping.inside
        if due := self.asking.due(self.heard if idle else None):
            self._socket.send(due)

    def _begin(self) -> Messages:
        accepted = self.assoc.accepted_contexts
        self._buffer = memoryview(bytearray(_BUFFER))
        self._longest = self.assoc.requestor.maximum_length or 0
        self._messages = Messages(
            {one.context_id or 0: str(one.transfer_syntax[0]) for one in accepted},
            self._reception.budgets,
            lambda request, syntax: self._reception.begin(self.assoc, request, syntax),
            self._answer,
            self._pass_on,
        )
        return self._messages

    def _feed(self, messages: Messages, piece: memoryview) -> None:
        for item in self._unwrapping.feed(piece):
            if isinstance(item, bytes):
                self._replay(item)
                return
            messages.take(item)
        self._note_progress(messages)

    def _replay(self, whole: bytes) -> None:
        """Give a PDU to the state machine as if pynetdicom had read it."""
        self._reception.catch_up(self.assoc)
        try:
            pdu, event = self._decode_pdu(bytearray(whole))
        except Exception as error:  # noqa: BLE001 - whatever a foreign PDU makes it raise
            raise ProtocolError(f"a PDU cannot be decoded: {error_name(error)}") from None
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _note_progress(self, messages: Messages) -> None:
        """Set the deadlines anew where the peer got on.

        Raises:
            ProtocolError: when it did not, and a deadline has passed.
        """
        now = time.monotonic()
        if not messages.inside and not self._unwrapping.inside:
            self._pdu_deadline = self._message_deadline = float("inf")
            return
        if self._unwrapping.boundaries != self._boundaries:
            self._boundaries = self._unwrapping.boundaries
            self._pdu_deadline = now + (self.assoc.dimse_timeout or 0.0)
        if messages.begun != self._begun:
            self._begun = messages.begun
            self._message_deadline = now + self._reception.message_seconds
        self._check_deadlines(now)

    def _check_deadlines(self, now: float) -> None:
        if now > self._pdu_deadline:
            raise ProtocolError("a PDU, or the next of a message, took over listen.dimse_timeout")
        if now > self._message_deadline:
            raise ProtocolError("a message took longer than listen.object_seconds")

    def _patience(self) -> float:
        """Return how long to wait for more bytes."""
        now = time.monotonic()
        self._check_deadlines(now)
        return min(self._pdu_deadline, self._message_deadline, now + _LONGEST_WAIT_SECONDS) - now

    def _answer(self, context: int, request: Request, answer: Answer) -> None:
        response = store_response(request, answer.status, answer.rule)
        self._socket.send(command_values(context, response, self._longest))

    def _pass_on(self, context: int, command: bytes, data_set: bytes | None) -> None:
        """Give a message to pynetdicom as if it had read it; what we asked for is taken here."""
        if self.asking.is_answer(command):
            return
        self._reception.catch_up(self.assoc)
        if self.assoc.dimse.msg_queue.qsize() >= MAXIMUM_OUTSTANDING:
            raise ProtocolError("requests are sent without waiting for answers")
        values = [[context, b"\x03" + command]]
        if data_set is not None:
            values.append([context, b"\x02" + data_set])
        primitive = P_DATA()
        primitive.presentation_data_value_list = cast(Any, values)
        try:
            self.assoc.dimse.receive_primitive(primitive)
        except Exception as error:  # noqa: BLE001 - whatever a foreign command makes it raise
            raise ProtocolError(f"a message cannot be decoded: {error_name(error)}") from None

    def _abandon(self) -> None:
        if self._messages is not None:
            self._messages.abandon()

    def _give_up(self) -> None:
        """End the association past a state machine that can no longer be relied on."""
        self.assoc.is_aborted = True
        self.assoc.is_established = False
        self._socket.send(abort())
        self._socket.close()

    @property
    def _socket(self) -> BoundedSocket:
        return cast(BoundedSocket, self.socket)

    @property
    def address(self) -> str:
        """The peer's literal IP address, for the log."""
        information = self.assoc.requestor.address_info
        return "" if information is None else information.address


class GuardedAssociation(Association):
    """One accepted association; its thread is the connection's own.

    Args:
        server: that accepted the connection.
        reception: what its provider works with.
        prepare: makes the connection ready before anything is read; False refuses it.
        ended: told once that the connection has ended.
    """

    def __init__(
        self,
        server: AssociationServer,
        reception: Reception,
        prepare: Callable[[GuardedAssociation], bool],
        ended: Callable[[], None],
    ) -> None:
        self.work = threading.Event()
        """Set when there may be something for the association's thread to do."""
        super().__init__(server.ae, MODE_ACCEPTOR)
        self._server = server
        self._prepare = prepare
        self._tell_ended = ended
        self.provider = GuardedProvider(self, reception)
        self.dul = self.provider
        self.dimse.msg_queue = Telling(self.work.set)
        # These also set the timers of the provider, which is a new one.
        self.acse_timeout = server.ae.acse_timeout
        self.network_timeout = server.ae.network_timeout

    def run_reactor(self) -> None:
        """Serve the connection; the body of the thread."""
        try:
            if self._prepare(self):
                super().run_reactor()
        except OSError as error:
            log.warning("connection_failed", error=error_name(error), address=self.provider.address)
        finally:
            self._close()
            self._tell_ended()

    def let_go(self) -> None:
        """Let the association's thread go on: its provider is up."""
        self._dul_ready.set()

    def kill(self) -> None:
        """End both threads, once the provider has closed the connection."""
        self._reactor_checkpoint.set()
        self._kill = True
        self.is_established = False
        self._is_paused = True
        self.work.set()
        while not self.provider.ended.is_set() and not self.provider.stop_dul():
            self.provider.ended.wait(_ENDING_SECONDS)

    def _run_reactor(self) -> None:
        """Serve messages, release and abort as they come.

        While the thread waits it counts as paused, as pynetdicom has it (`_reactor_checkpoint`).
        """
        while not self._kill:
            self._is_paused = True
            self._reactor_checkpoint.wait()
            self.work.wait(min(max(self.provider.idle_seconds(), 0.01), _LONGEST_WAIT_SECONDS))
            if not self._reactor_checkpoint.is_set():
                continue
            self._is_paused = False
            self.work.clear()
            self._serve_next()

    def _serve_next(self) -> None:
        context_id, message = self.dimse.get_msg(block=False)
        if message:
            self._serve_request(message, cast(int, context_id))
        if not self.dimse.msg_queue.empty():
            self.work.set()
        elif self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released = True
            self.is_established = False
            self._end(evt.EVT_RELEASED)
        elif self.acse.is_aborted():
            self.dul.receive_pdu(wait=False)
            self.is_aborted = True
            self.is_established = False
            self._end(evt.EVT_ABORTED)
        elif self.provider.ended.is_set():
            self.kill()
        elif self.dul.idle_timer_expired():
            self.abort()

    def _end(self, event: evt.NotificationEvent) -> None:
        evt.trigger(self, event, {})
        self.kill()

    def _close(self) -> None:
        connection = self.dul.socket
        if connection is not None:
            connection.close()
