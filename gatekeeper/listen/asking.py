"""Requests of ours on an association that the peer opened, between and across its own.

Each side may have one request outstanding (PS3.7 D.3.3.3: without negotiation one invoked and one
performed), so the peer's next may cross ours at any time. Ours is therefore sent whole, by the
thread that reads the connection, and only while nothing of the peer's is under way or was heard
since whoever asks last looked. What comes before the answer is served as ever, and the answer is
known by the Message ID that it responds to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from gatekeeper.listen.connection import Wake
from gatekeeper.send.command import Command, read_command

_LARGEST_MESSAGE_ID = 0xFFFF
_RESPONSE = 0x8000
"""Bit of the Command Field that makes a response (PS3.7 E.1)."""


class PeerBusy(Exception):
    """The peer began something, so nothing was sent; it may be asked once it is silent again."""


@dataclass(slots=True)
class _Question:
    message_id: int
    message: bytes
    heard: int
    sent: bool = False
    busy: bool = False
    answer: Command | None = None
    settled: threading.Event = field(default_factory=threading.Event)


class Asking:
    """What we ask on one association, one request at a time.

    Args:
        wake: of the thread that reads the connection.
    """

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._question: _Question | None = None
        self._last_id = 0
        self._ended = False

    def ask(self, make: Callable[[int], bytes], heard: int, seconds: float) -> Command | None:
        """Send a request and return the answer's command set; None if none came.

        Args:
            make: returns the PDUs of the request, given its Message ID.
            heard: how often the peer had been heard when it was found silent.
            seconds: longest wait for the answer.

        Raises:
            PeerBusy: if it was heard since, or is in the middle of something.
        """
        with self._lock:
            if self._ended or self._question is not None or self._last_id == _LARGEST_MESSAGE_ID:
                return None
            self._last_id += 1
            question = _Question(self._last_id, make(self._last_id), heard)
            self._question = question
        self._wake.set()
        question.settled.wait(seconds)
        with self._lock:
            self._question = None
        if question.busy:
            raise PeerBusy
        return question.answer

    def due(self, heard: int | None) -> bytes:
        """Return what the reading thread has to send now, empty for nothing.

        Args:
            heard: how often the peer was heard, None while something of it is under way.
        """
        with self._lock:
            question = self._question
            if question is None or question.sent or question.busy:
                return b""
            if heard != question.heard:
                question.busy = True
                question.settled.set()
                return b""
            question.sent = True
            return question.message

    def is_answer(self, command: bytes) -> bool:
        """Take a command set if it answers a request of ours, however late, and return whether.

        Raises:
            ProtocolError: if it cannot be read.
        """
        found = read_command(command)
        if not found.command & _RESPONSE or not 0 < (found.responded_to or 0) <= self._last_id:
            return False
        with self._lock:
            question = self._question
            if question is not None and question.message_id == found.responded_to:
                question.answer = found
                question.settled.set()
        return True

    def end(self) -> None:
        """No answer will come any more."""
        with self._lock:
            self._ended = True
            if self._question is not None:
                self._question.settled.set()
