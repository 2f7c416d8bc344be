"""The recorder: one process that enters what several listeners receive, for SQLite.

SQLite has one writer at a time. Listeners that each commit for themselves take turns, and a
transaction of each holds a row or two; and within a process the committing thread gets the
interpreter only between the threads that receive. One process that does nothing else enters what
all of them hand in together, one transaction at a time.

`Recorder` is a listener's end, `serve` the process. Each thread that waits has a channel, a pair of
sockets of its own; its other end goes to the recorder over the control socket, which all share and
which outlives a recorder that dies. Then the channels break, and what was under way is handed in
again: entering twice is harmless. When the control socket has no other end any more, all listeners
are gone, and the recorder ends once the channels are closed too.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import functools
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any

from storage import entries
from storage.committer import Collecting, Request, commit
from storage.engine import Database, DatabaseUnavailableError, SynchronisationError
from storage.entries import Entered, Entry
from storage.entry_bytes import pack_entries, pack_replies, unpack_entries, unpack_replies

MAXIMUM_MESSAGE = 64 * 1024
"""Bytes."""
_TOGETHER = 32
"""Entries in one message; one has some 600 bytes, and never 1,000."""
_ATTEMPTS = 3
_NEW_CHANNEL = b"c"


class _Trouble(enum.IntEnum):
    """Why an entry was not made."""

    UNAVAILABLE = 1
    LOST = 2
    REFUSED = 3


class RefusedEntryError(Exception):
    """An entry could not be written for a reason of its own, whose class the message names."""


class Pending:
    """Entries that were handed in; see `Future`."""

    def __init__(self, recorder: Recorder, sent: list[tuple[bytes, _Channel]]) -> None:
        self._recorder = recorder
        self._sent = sent

    def result(self, timeout: float) -> list[Entered | Exception]:
        """Return what was found of each entry, once it is durable, or why it was not entered.

        That is DatabaseUnavailableError if the database could not do it, and RefusedEntryError if
        this entry cannot be written. Each attempt waits as many seconds.

        Raises:
            DatabaseUnavailableError: if the recorder could not do it.
            TimeoutError: if there is no answer in time; all may be entered all the same.
        """
        replies = [self._reply(message, channel, timeout) for message, channel in self._sent]
        return [_result(one) for reply in replies for one in unpack_replies(reply)]

    def _reply(self, message: bytes, channel: _Channel, timeout: float) -> bytes:
        for attempt in range(_ATTEMPTS):
            if attempt:
                channel = self._recorder.send(message)
            if reply := self._recorder.receive(channel, timeout):
                return reply
        raise DatabaseUnavailableError("the recorder ends again and again")


class _Channel:
    """A listener's end of a pair of sockets, over which one thread at a time waits."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._seconds: float | None = None

    def send(self, message: bytes) -> None:
        self._connection.send(message)

    def receive(self, seconds: float) -> bytes:
        """Return what comes; nothing if the channel broke.

        Raises:
            BlockingIOError: if nothing comes in time.
        """
        if seconds != self._seconds:
            # One system call to receive, where Python's own time-out makes it two.
            whole, part = divmod(max(round(1_000_000 * seconds), 1), 1_000_000)
            limit = struct.pack("@ll", whole, part)
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._seconds = seconds
        return _received(self._connection)

    def close(self) -> None:
        self._connection.close()


class Recorder:
    """What a listener hands its entries to; used from any thread.

    Args:
        control: the listeners' end, one of a pair of SOCK_SEQPACKET.
        wait_seconds: how long an entry may wait for its turn; then `DatabaseUnavailableError`.
    """

    def __init__(self, control: socket.socket, wait_seconds: float) -> None:
        control.setblocking(False)
        self._control = control
        self._wait_seconds = wait_seconds
        self._free: collections.deque[_Channel] = collections.deque()

    def enter(self, entries: Sequence[Entry]) -> Pending:
        """Hand in entries; their results are there once they are durable.

        Raises:
            DatabaseUnavailableError: if the recorder has not taken up others for a long time.
            ValueError: if one of them cannot be handed in.
        """
        deadline = time.monotonic() + self._wait_seconds
        parts = range(0, len(entries), _TOGETHER)
        messages = [pack_entries(entries[at : at + _TOGETHER], deadline) for at in parts]
        return Pending(self, [(message, self.send(message)) for message in messages])

    def send(self, message: bytes) -> _Channel:
        """Send over a channel that is free, or a new one, and return it."""
        while True:
            try:
                channel = self._free.pop()
            except IndexError:
                break
            try:
                channel.send(message)
            except OSError:
                # Left over from a recorder that has died.
                channel.close()
                continue
            return channel
        channel = self._new_channel()
        # If that breaks at once, too, whoever receives is told.
        with contextlib.suppress(OSError):
            channel.send(message)
        return channel

    def receive(self, channel: _Channel, seconds: float) -> bytes:
        """Return the reply that comes over a channel, and free it; nothing if it broke.

        Raises:
            TimeoutError: if none comes in time.
        """
        try:
            reply = channel.receive(seconds)
        except BlockingIOError:
            # What comes too late must not answer the next.
            channel.close()
            raise TimeoutError from None
        if reply:
            self._free.append(channel)
        else:
            channel.close()
        return reply

    def close(self) -> None:
        """Close the channels and the control socket."""
        while self._free:
            self._free.pop().close()
        self._control.close()

    def _new_channel(self) -> _Channel:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._control, [_NEW_CHANNEL], [theirs.fileno()])
            except OSError:
                ours.close()
                raise DatabaseUnavailableError("the recorder takes up nothing") from None
        return _Channel(ours)


class _Reply(Collecting):
    """Where the results of one message of so many entries go.

    Attributes:
        lost: whether the disk lost a write.
    """

    def __init__(self, channel: socket.socket, count: int) -> None:
        super().__init__(count, self._send)
        self._channel = channel
        self.lost = False

    def put(self, place: int, result: Any) -> None:
        """See there. Of a lost write nobody waits for the others to hear."""
        self.lost = self.lost or isinstance(result, SynchronisationError)
        super().put(place, result)

    def _send(self, results: Sequence[Entered | Exception]) -> None:
        # Who is gone needs no answer.
        with contextlib.suppress(OSError):
            self._channel.send(pack_replies([_said(one) for one in results]))


def _said(result: Entered | Exception) -> Entered | tuple[int, str]:
    if isinstance(result, Entered):
        return result
    if isinstance(result, SynchronisationError):
        return _Trouble.LOST, str(result)
    if isinstance(result, DatabaseUnavailableError):
        return _Trouble.UNAVAILABLE, str(result)
    return _Trouble.REFUSED, type(result).__name__


def serve(database: Database, control: socket.socket, at_once: int) -> bool:
    """Enter what listeners hand in, until they are gone.

    Args:
        database: where to.
        control: the recorder's end.
        at_once: most entries in one transaction.

    Returns:
        Whether it ended in order; not so when the disk lost a write of the database, after which
        nothing of it may be trusted and the process has to start afresh.
    """
    control.setblocking(False)
    channels: dict[int, socket.socket] = {}
    poller = select.epoll()
    poller.register(control, select.EPOLLIN)
    listeners = True
    try:
        while listeners or channels:
            batch: list[Request] = []
            replies: list[_Reply] = []
            # From one poll to the next, what every channel has is gathered.
            for number, _ in poller.poll():
                if (channel := channels.get(number)) is not None:
                    if message := _received(channel):
                        found, deadline = unpack_entries(message)
                        replies.append(reply := _Reply(channel, len(found)))
                        batch += _requests(found, deadline, reply)
                    else:
                        channels.pop(number).close()
                    continue
                found, ended = _new_channels(control)
                for new in found:
                    channels[new.fileno()] = new
                    poller.register(new, select.EPOLLIN)
                if ended:
                    listeners = False
                    poller.unregister(control)
            for start in range(0, len(batch), at_once):
                commit(database, batch[start : start + at_once])
                if any(reply.lost for reply in replies):
                    return False
        return True
    finally:
        poller.close()
        for channel in channels.values():
            channel.close()


def _new_channels(control: socket.socket) -> tuple[list[socket.socket], bool]:
    """Return the channels that were handed over, and whether nobody is left to do so."""
    channels: list[socket.socket] = []
    while True:
        try:
            data, numbers, *_ = socket.recv_fds(control, len(_NEW_CHANNEL), 1)
        except BlockingIOError:
            return channels, False
        if not data:
            return channels, True
        channels += (socket.socket(fileno=number) for number in numbers)


def _received(channel: socket.socket) -> bytes:
    try:
        return channel.recv(MAXIMUM_MESSAGE)
    except ConnectionError:
        return b""


def _requests(found: Sequence[Entry], deadline: float, reply: _Reply) -> Iterator[Request]:
    for entry, answer in zip(found, reply.answers(), strict=True):
        work = functools.partial(entries.enter, entry=entry)
        yield Request(entry.order, work, deadline, answer)


def _result(found: Entered | tuple[int, str]) -> Entered | Exception:
    if isinstance(found, Entered):
        return found
    trouble, words = found
    match trouble:
        case _Trouble.UNAVAILABLE:
            return DatabaseUnavailableError(words)
        case _Trouble.LOST:
            return SynchronisationError(words)
        case _:
            return RefusedEntryError(words)
