"""DIMSE messages put together from fragments: a C-STORE as it comes, any other message whole.

The data set of a C-STORE is handed on part by part and never held. Any other message (C-ECHO,
N-ACTION) is gathered, within a limit, and passed on. What PS3.7 6.3 and PS3.8 annex E do not allow
raises `ProtocolError`: fragments of two messages or two contexts mixed, a data set before its
command, an unknown context, a command that cannot be read. So does a message over its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gatekeeper.listen.pdata import Part
from gatekeeper.send.command import STORE_RQ, Request, read_request
from gatekeeper.send.pdu import COMMAND, LAST, ProtocolError

LARGEST_COMMAND = 64 * 1024
"""Bytes of a command set; a C-STORE request has fewer than 300."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status to answer, and for a refusal the rule that was broken."""

    status: int
    rule: str = ""


class Incoming(Protocol):
    """One object on its way in. Nothing here raises."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the data set; they are valid until this returns."""
        ...

    def finish(self) -> Answer:
        """Keep the object, whose bytes are all here, and return what to answer."""
        ...

    def abandon(self) -> None:
        """Forget the object: the rest will not come."""
        ...


class Turned:
    """An object that is refused before it came; see `Incoming`."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def write(self, data: memoryview) -> None:
        """Let the bytes go."""

    def finish(self) -> Answer:
        """Return the refusal."""
        return self._answer

    def abandon(self) -> None:
        """Do nothing: nothing was kept."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Largest sizes, in bytes.

    Attributes:
        object: data set of one C-STORE.
        request: data set of any other message.
        association: everything that one association sends.
    """

    object: int
    request: int
    association: int


class Messages:
    """The messages of one association, one after another.

    Args:
        contexts: transfer syntax UID of each accepted presentation context.
        budgets: what is too much.
        begin: told a C-STORE request and its transfer syntax; returns what takes its data set.
        answer: told context, request and answer of a C-STORE that is complete.
        pass_on: told context, command set and data set (None without one) of any other message.

    Attributes:
        begun: messages begun so far.
    """

    def __init__(
        self,
        contexts: Mapping[int, str],
        budgets: Budgets,
        begin: Callable[[Request, str], Incoming],
        answer: Callable[[int, Request, Answer], None],
        pass_on: Callable[[int, bytes, bytes | None], None],
    ) -> None:
        self._contexts = contexts
        self._budgets = budgets
        self._begin = begin
        self._answer = answer
        self._pass_on = pass_on
        self._context: int | None = None
        self._command = bytearray()
        self._request: Request | None = None
        self._incoming: Incoming | None = None
        self._data_set = bytearray()
        self._size = self._total = 0
        self.begun = 0

    @property
    def inside(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._context is not None

    def take(self, part: Part) -> None:
        """Go on with the next part.

        Raises:
            ProtocolError: when it may not come here, or is too much.
        """
        self._total += len(part.data)
        if self._total > self._budgets.association:
            raise ProtocolError("an association sent more than listen.maximum_association_mib")
        is_command = bool(part.control & COMMAND)
        if self._context is None:
            if not is_command:
                raise ProtocolError("a data set without a command")
            if part.context not in self._contexts:
                raise ProtocolError("a presentation context that was not accepted")
            self._context = part.context
            self.begun += 1
        elif part.context != self._context:
            raise ProtocolError("fragments of two presentation contexts mixed")
        if is_command != (self._request is None):
            raise ProtocolError("command and data set mixed")
        last = part.ends and bool(part.control & LAST)
        if is_command:
            self._take_command(part.data, self._context, last)
        else:
            self._take_data(part.data, self._context, last)

    def abandon(self) -> None:
        """Forget what has come of a message that will not be completed."""
        incoming = self._incoming
        self._reset()
        if incoming is not None:
            incoming.abandon()

    def _take_command(self, data: memoryview, context: int, last: bool) -> None:
        if len(self._command) + len(data) > LARGEST_COMMAND:
            raise ProtocolError("a command set is longer than the limit")
        self._command += data
        if not last:
            return
        self._request = request = read_request(bytes(self._command))
        if request.command == STORE_RQ:
            if request.message_id is None:
                raise ProtocolError("a C-STORE request without Message ID")
            self._incoming = self._begin(request, self._contexts[context])
        if not request.has_data_set:
            self._complete(context, request, with_data_set=False)

    def _take_data(self, data: memoryview, context: int, last: bool) -> None:
        self._size += len(data)
        if self._incoming is not None:
            if self._size > self._budgets.object:
                raise ProtocolError("an object is larger than listen.maximum_object_mib")
            if data:
                self._incoming.write(data)
        else:
            if self._size > self._budgets.request:
                raise ProtocolError("a request is larger than listen.maximum_request_mib")
            self._data_set += data
        if last and self._request is not None:
            self._complete(context, self._request, with_data_set=True)

    def _complete(self, context: int, request: Request, *, with_data_set: bool) -> None:
        if (incoming := self._incoming) is not None:
            answer = incoming.finish()
            self._reset()
            self._answer(context, request, answer)
            return
        command, data_set = bytes(self._command), bytes(self._data_set)
        self._reset()
        self._pass_on(context, command, data_set if with_data_set else None)

    def _reset(self) -> None:
        self._context = self._request = self._incoming = None
        self._command.clear()
        self._data_set = bytearray()
        self._size = 0
