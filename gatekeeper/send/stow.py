"""Sending by STOW-RS (PS3.18 section 10.5), and asking by QIDO-RS.

Objects go out as they lie in the spool, many in one request of bounded size, each a part of a
multipart/related body that is read from the files while it is sent. What the node says of each
object is judged by `stow_answer`; what it does not list as stored is sent again.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from gatekeeper.errors import TransportError
from gatekeeper.send.part10 import NotPart10, read_header
from gatekeeper.send.statuses import Disposition
from gatekeeper.send.stow_answer import Judged, judge_answer
from gatekeeper.send.transport import InstanceStatus, SendObject
from gatekeeper.send.web_call import Body, UnreadableBody, call
from gatekeeper.settings import SendSettings, Settings
from gatekeeper.tls import Credentials
from storage.records import Node

_BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class WebEchoAnswer:
    """What a DICOMweb node answered to a query for one study.

    Attributes:
        milliseconds: from connecting to the end of the answer.
        status: HTTP status: 200, or 204 for no match.
    """

    milliseconds: float
    status: int

    @property
    def in_words(self) -> str:
        """What it answered, in a clause."""
        return f"in {self.milliseconds:.0f} ms with HTTP {self.status}"


@dataclass(frozen=True, slots=True)
class _Part:
    """An object that is ready to be sent: its file's size in bytes is known."""

    item: SendObject
    size: int


class StowTransport:
    """Sends objects by STOW-RS.

    Args:
        settings: time-outs and limits.
        credentials: for nodes whose URL is https.
    """

    def __init__(self, settings: SendSettings, credentials: Credentials | None = None) -> None:
        self._settings = settings
        self._credentials = credentials

    def send(self, objects: Sequence[SendObject], node: Node) -> Generator[InstanceStatus]:
        """Send `objects` to `node` and yield the answers of each request as it comes.

        Raises:
            TransportError: if the node cannot be reached, does not answer in time, or asks to be
                called later.
        """
        waiting = deque(objects)
        while waiting:
            batch, refused = self._batch(waiting)
            yield from refused
            # What is to be asked about in halves comes back here, the first half on top.
            parts = [batch] if batch else []
            while parts:
                one = parts.pop()
                try:
                    judged = self._store(one, node)
                except _UnreadableObject as error:
                    yield _unsent(error.item, Disposition.RETRY, str(error))
                    rest = [part for part in one if part.item is not error.item]
                    parts += [rest] if rest else []
                    continue
                if not judged.answers:
                    middle = len(one) // 2
                    parts += [one[middle:], one[:middle]]
                    continue
                yield from judged.answers
                if judged.lasting:
                    last = judged.answers[-1]
                    for left in [part.item for more in reversed(parts) for part in more]:
                        yield _unsent(left, last.disposition, last.reason)
                    for left in waiting:
                        yield _unsent(left, last.disposition, last.reason)
                    return

    def _batch(self, waiting: deque[SendObject]) -> tuple[list[_Part], list[InstanceStatus]]:
        """Take the objects of the next request, and what cannot be sent at all."""
        parts: list[_Part] = []
        refused: list[InstanceStatus] = []
        size = 0
        while waiting and len(parts) < self._settings.stow_objects:
            if parts and size >= self._settings.stow_mib << 20:
                break
            # An answer is about a UID, so no request has one twice.
            if waiting[0].sop_instance_uid in {part.item.sop_instance_uid for part in parts}:
                break
            item = waiting.popleft()
            part = _ready(item)
            if isinstance(part, InstanceStatus):
                refused.append(part)
            else:
                parts.append(part)
                size += part.size
        return parts, refused

    def _store(self, parts: Sequence[_Part], node: Node) -> Judged:
        # 190 bits: no file holds it by accident.
        body = _body(parts, secrets.token_hex(24))
        reply = call(node, "POST", "/studies", self._settings, self._credentials, body)
        items = [part.item for part in parts]
        return judge_answer(items, reply.status, reply.body, reply.retry_after)


def echo(node: Node, settings: Settings) -> WebEchoAnswer:
    """Ask `node` for one study by QIDO-RS (PS3.18 section 10.6), and forget what it says.

    Raises:
        TransportError: if it cannot be reached, or answers with something else than 200 or 204.
    """
    started = time.monotonic()
    credentials = Credentials(settings.tls)
    reply = call(node, "GET", "/studies?limit=1", settings.send, credentials)
    if reply.status not in {200, 204}:
        raise TransportError(f"the node answered the query with HTTP {reply.status}")
    return WebEchoAnswer((time.monotonic() - started) * 1000, reply.status)


class _UnreadableObject(UnreadableBody):
    """A file that could not be read to its end while it was sent."""

    def __init__(self, item: SendObject, reason: str) -> None:
        super().__init__(f"the object could not be read: {reason}")
        self.item = item


def _ready(item: SendObject) -> _Part | InstanceStatus:
    """Return an object as a part to send, or why it cannot be one."""
    try:
        size = item.path.stat().st_size
        with item.path.open("rb", buffering=0) as file:
            header = read_header(file, size)
    except FileNotFoundError:
        return _unsent(item, Disposition.DEAD, "the object's file is gone")
    except OSError as error:
        reason = f"the object could not be read: {type(error).__name__}"
        return _unsent(item, Disposition.RETRY, reason)
    except NotPart10 as error:
        return _unsent(item, Disposition.DEAD, str(error))
    if (header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid) != (
        item.sop_class_uid,
        item.sop_instance_uid,
        item.transfer_syntax_uid,
    ):
        return _unsent(item, Disposition.DEAD, "the file's header and its record disagree")
    return _Part(item, size)


def _body(parts: Sequence[_Part], boundary: str) -> Body:
    """Return the parts as a multipart/related body (RFC 2387), read while it is sent."""
    # Without the transfer syntax, which the file says itself: Orthanc 1.10 leaves out such a part.
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
    end = f"--{boundary}--\r\n".encode("ascii")
    size = sum(len(head) + part.size + 2 for part in parts)

    def blocks() -> Iterator[bytes]:
        for part in parts:
            yield head
            yield from _file(part)
            yield b"\r\n"
        yield end

    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return Body(kind, size + len(end), blocks())


def _file(part: _Part) -> Iterator[bytes]:
    left = part.size
    try:
        with part.item.path.open("rb", buffering=0) as file:
            while left:
                block = file.read(min(left, _BLOCK))
                if not block:
                    raise _UnreadableObject(part.item, "it is shorter than it was")
                left -= len(block)
                yield block
    except OSError as error:
        raise _UnreadableObject(part.item, type(error).__name__) from None


def _unsent(item: SendObject, disposition: Disposition, reason: str) -> InstanceStatus:
    return InstanceStatus(item, None, disposition, reason)
