"""Sending by DIMSE C-STORE, and asking by C-ECHO.

An object is proposed in the transfer syntax that it is stored in, and its stored bytes are sent. A
peer that does not take that gets an Explicit VR Little Endian object in Implicit VR; any other
object is left with its reason. An association that drops is requested again for the
objects without an answer, as long as that gets anywhere.
"""

from __future__ import annotations

import io
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from gatekeeper.errors import GatekeeperError, TransportError
from gatekeeper.send import encoding, pdu
from gatekeeper.send.association import Association
from gatekeeper.send.channel import AssociationLost
from gatekeeper.send.part10 import FileHeader, read_header
from gatekeeper.send.pdu import Context, ProtocolError
from gatekeeper.send.statuses import Disposition, judge
from gatekeeper.send.transport import InstanceStatus, SendObject
from gatekeeper.settings import SendSettings, Settings
from gatekeeper.tls import Credentials
from storage.records import Node

VERIFICATION = "1.2.840.10008.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
_ECHO_CONTEXTS: tuple[Context, ...] = (
    (VERIFICATION, encoding.IMPLICIT_LITTLE),
    (SECONDARY_CAPTURE, encoding.EXPLICIT_LITTLE),
    (SECONDARY_CAPTURE, encoding.IMPLICIT_LITTLE),
    (COMPREHENSIVE_3D_SR, encoding.EXPLICIT_LITTLE),
    (COMPREHENSIVE_3D_SR, encoding.IMPLICIT_LITTLE),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Objects for one association and the contexts that they need, at most 128."""

    contexts: tuple[Context, ...]
    objects: tuple[SendObject, ...]


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """Whether a peer takes a SOP class in a transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class EchoAnswer:
    """What a node answered to C-ECHO.

    Attributes:
        milliseconds: from connecting to the response.
        contexts: what it takes of Verification and of the result objects' SOP classes.
        maximum_length: largest P-DATA-TF length it takes in bytes, 0 without limit.
        implementation: its implementation version name.
        certificate_until: when the certificate it showed expires, seconds since 1970-01-01 UTC;
            None in plain text.
    """

    milliseconds: float
    contexts: tuple[ContextAnswer, ...]
    maximum_length: int
    implementation: str
    certificate_until: float | None = None

    @property
    def in_words(self) -> str:
        """What it said of itself, in a clause."""
        name = self.implementation or "a program without a name"
        words = f"in {self.milliseconds:.0f} ms as {name}"
        if self.certificate_until is None:
            return words
        until = time.strftime("%Y-%m-%d", time.gmtime(self.certificate_until))
        return f"{words}, its certificate until {until}"


class DimseTransport:
    """Sends objects by C-STORE.

    Args:
        calling_ae: our AE title.
        settings: time-outs and limits.
        credentials: for nodes that need TLS.
    """

    def __init__(
        self, calling_ae: str, settings: SendSettings, credentials: Credentials | None = None
    ) -> None:
        self._calling_ae = calling_ae
        self._settings = settings
        self._credentials = credentials

    def send(self, objects: Sequence[SendObject], node: Node) -> Generator[InstanceStatus]:
        """Send `objects` to `node` and yield each one's answer as it comes.

        Order is kept, except that an object during which the association was lost goes last, so
        that it holds up no other.

        Raises:
            TransportError: if the node cannot be reached, rejects the association, or is lost
                ``send.reconnects`` times in a row without one more answer.
        """
        for batch in plan(objects):
            yield from self._send_batch(batch, node)

    def _send_batch(self, batch: Batch, node: Node) -> Generator[InstanceStatus]:
        waiting = deque(batch.objects)
        losses: Counter[SendObject] = Counter()
        fruitless = 0
        while waiting:
            with Association.request(
                node,
                self._calling_ae,
                batch.contexts,
                self._settings,
                credentials=self._credentials,
            ) as association:
                while waiting:
                    try:
                        answer = self._send_one(association, waiting[0])
                    except (AssociationLost, ProtocolError) as loss:
                        association.abort()
                        fruitless += 1
                        suspect = waiting.popleft()
                        losses[suspect] += 1
                        if fruitless > self._settings.reconnects:
                            raise
                        if losses[suspect] > self._settings.reconnects:
                            yield _unanswered(suspect, Disposition.RETRY, str(loss))
                        else:
                            waiting.append(suspect)
                        break
                    except OSError as error:
                        # The message is half sent: the association cannot go on.
                        association.abort()
                        reason = f"the object could not be read: {type(error).__name__}"
                        yield _unanswered(waiting.popleft(), Disposition.RETRY, reason)
                        break
                    waiting.popleft()
                    fruitless = 0
                    yield answer

    def _send_one(self, association: Association, item: SendObject) -> InstanceStatus:
        context = choose(item, association.accepted)
        if context is None:
            return _unanswered(item, Disposition.RETRY_BRIEFLY, _no_context(item))
        try:
            with item.path.open("rb", buffering=0) as file:
                header = read_header(file, item.path.stat().st_size)
                _check(header, item)
                if context[1] == item.transfer_syntax_uid:
                    file.seek(header.offset)
                    status = association.store(context, item.sop_instance_uid, file, header.size)
                else:
                    file.seek(header.offset)
                    data = self._reencoded(file, header.size)
                    status = association.store(
                        context, item.sop_instance_uid, io.BytesIO(data), len(data)
                    )
        except FileNotFoundError:
            return _unanswered(item, Disposition.DEAD, "the object's file is gone")
        except TransportError:
            raise
        except GatekeeperError as error:
            return _unanswered(item, Disposition.DEAD, str(error))
        disposition, reason = judge(status)
        return InstanceStatus(item, status, disposition, reason)

    def _reencoded(self, file: BinaryIO, size: int) -> bytes:
        if size > self._settings.reencode_mib * 1024 * 1024:
            raise encoding.NotReencodable(
                f"its transfer syntax is not accepted, and it is over "
                f"{self._settings.reencode_mib} MiB, the limit for re-encoding"
            )
        try:
            return encoding.to_implicit(file.read())
        except encoding.NotReencodable as error:
            raise encoding.NotReencodable(
                f"its transfer syntax is not accepted, and it cannot be re-encoded: {error}"
            ) from None


def echo(node: Node, settings: Settings) -> EchoAnswer:
    """Call `node` with C-ECHO, proposing the SOP classes of the results as well.

    Raises:
        TransportError: if it cannot be reached, rejects the association or Verification, or
            answers with a status other than success.
    """
    started = time.monotonic()
    with Association.request(
        node,
        settings.listen.ae_title,
        _ECHO_CONTEXTS,
        settings.send,
        credentials=Credentials(settings.tls),
    ) as association:
        if _ECHO_CONTEXTS[0] not in association.accepted:
            raise TransportError("the peer takes the association but not Verification (C-ECHO)")
        status = association.echo(_ECHO_CONTEXTS[0])
        milliseconds = (time.monotonic() - started) * 1000
        if status != 0:
            answered = "without a status" if status is None else f"with status {status:04X}"
            raise TransportError(f"the peer answered C-ECHO {answered}")
        contexts = tuple(
            ContextAnswer(*context, context in association.accepted) for context in _ECHO_CONTEXTS
        )
        return EchoAnswer(
            milliseconds,
            contexts,
            association.maximum_length,
            association.implementation,
            association.certificate_until,
        )


def plan(objects: Sequence[SendObject]) -> Iterator[Batch]:
    """Yield batches of `objects` whose contexts fit an association, in order of first need."""
    rest = list(objects)
    while rest:
        contexts: dict[Context, None] = {}
        taken: list[SendObject] = []
        left: list[SendObject] = []
        for item in rest:
            needed = dict.fromkeys(_wanted(item))
            if len(contexts | needed) <= pdu.MAXIMUM_CONTEXTS:
                contexts |= needed
                taken.append(item)
            else:
                left.append(item)
        yield Batch(tuple(contexts), tuple(taken))
        rest = left


def choose(item: SendObject, accepted: Mapping[Context, int]) -> Context | None:
    """Return the accepted context to send `item` in, its own transfer syntax first."""
    return next((context for context in _wanted(item) if context in accepted), None)


def _wanted(item: SendObject) -> tuple[Context, ...]:
    own = (item.sop_class_uid, item.transfer_syntax_uid)
    other = encoding.alternative(item.transfer_syntax_uid)
    return (own,) if other is None else (own, (item.sop_class_uid, other))


def _check(header: FileHeader, item: SendObject) -> None:
    """Refuse a file that is not the object it was recorded as, or is no whole data set."""
    if (header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid) != (
        item.sop_class_uid,
        item.sop_instance_uid,
        item.transfer_syntax_uid,
    ):
        raise GatekeeperError("the file's header and its record disagree")
    # Peers abort at a fragment of odd length. Padding is part of deflated streams (PS3.5 A.5) and
    # of nothing else.
    if header.size % 2 and item.transfer_syntax_uid not in encoding.DEFLATED:
        raise GatekeeperError("a data set of odd length, against PS3.5 7.1; is it cut off?")


def _no_context(item: SendObject) -> str:
    return (
        f"no accepted presentation context: SOP class {item.sop_class_uid}, "
        f"transfer syntax {item.transfer_syntax_uid}"
    )


def _unanswered(item: SendObject, disposition: Disposition, reason: str) -> InstanceStatus:
    return InstanceStatus(item, None, disposition, reason)
