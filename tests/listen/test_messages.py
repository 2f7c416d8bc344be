"""Messages put together, however they were cut, and what breaks off an association."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listen.raw_scanner import COMMAND, ECHOING, LAST, STORING, Value, chunks, p_data, request
from listen.wire import EXPLICIT, IMPLICIT, VERIFICATION

from gatekeeper.listen.messages import LARGEST_COMMAND, Answer, Budgets, Messages
from gatekeeper.listen.pdata import Part, Unwrapping
from gatekeeper.send import command
from gatekeeper.send.command import Request
from gatekeeper.send.pdu import ProtocolError

BUDGETS = Budgets(object=1000, request=300, association=100_000)
ECHO = command.echo_request(1, VERIFICATION)


@dataclass
class Kept:
    """An object as it came in."""

    data: bytes = b""
    state: str = "coming"

    def write(self, data: memoryview) -> None:
        assert len(data)
        self.data += bytes(data)

    def finish(self) -> Answer:
        self.state = "whole"
        return Answer(0x0000)

    def abandon(self) -> None:
        self.state = "abandoned"


@dataclass
class Side:
    """Our side of an association, in memory."""

    objects: list[Kept] = field(default_factory=list[Kept])
    answered: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])
    passed_on: list[tuple[int, bytes, bytes | None]] = field(
        default_factory=list[tuple[int, bytes, bytes | None]]
    )

    def __post_init__(self) -> None:
        contexts = {STORING: EXPLICIT, ECHOING: IMPLICIT}
        self.messages = Messages(contexts, BUDGETS, self._begin, self._answer, self._pass_on)
        self.unwrapping = Unwrapping(LARGEST_COMMAND * 2)

    def _begin(self, _request: Request, transfer_syntax_uid: str) -> Kept:
        assert transfer_syntax_uid == EXPLICIT
        self.objects.append(Kept())
        return self.objects[-1]

    def _answer(self, context: int, asked: Request, answer: Answer) -> None:
        self.answered.append((context, asked.sop_instance_uid, answer.status))

    def _pass_on(self, context: int, asked: bytes, data_set: bytes | None) -> None:
        self.passed_on.append((context, asked, data_set))

    def hear(self, *values: Value, sizes: list[int] | None = None) -> None:
        """Take values, all in one PDU, cut as told."""
        for piece in chunks(p_data(*values), sizes or []):
            for part in self.unwrapping.feed(memoryview(piece)):
                assert isinstance(part, Part)
                self.messages.take(part)


def cut(context: int, kind: int, data: bytes, sizes: list[int]) -> list[Value]:
    """Return the values of a command or data set, cut into fragments, empty ones among them."""
    parts = chunks(data, sizes)
    controls = [kind] * (len(parts) - 1) + [kind | LAST]
    return [(context, control, part) for control, part in zip(controls, parts, strict=True)]


sizes = st.lists(st.integers(0, 40), max_size=6)


@given(st.lists(st.tuples(st.binary(max_size=90), sizes, sizes), max_size=3), sizes, st.data())
def test_any_cut_into_fragments_and_pdus_gives_the_same_objects(
    sent: list[tuple[bytes, list[int], list[int]]], echo_sizes: list[int], draw: st.DataObject
) -> None:
    """Command and data set in one PDU or many, empty fragments, requests of other kinds between."""
    values: list[Value] = []
    for number, (data, command_sizes, data_sizes) in enumerate(sent):
        values += cut(STORING, COMMAND, request(f"1.2.{number}"), command_sizes)
        values += cut(STORING, 0, data, data_sizes)
        values += cut(ECHOING, COMMAND, ECHO, echo_sizes)
    side = Side()
    while values:
        count = draw.draw(st.integers(1, len(values)))
        pieces = draw.draw(st.lists(st.integers(1, 60), max_size=5))
        side.hear(*values[:count], sizes=pieces)
        values = values[count:]

    assert [one.data for one in side.objects] == [data for data, *_ in sent]
    assert side.answered == [(STORING, f"1.2.{number}", 0) for number in range(len(sent))]
    assert side.passed_on == [(ECHOING, ECHO, None)] * len(sent)
    assert not side.messages.inside


def test_a_request_without_a_data_set_is_complete_at_its_command() -> None:
    """A C-STORE without one is answered too, by whoever keeps objects."""
    side = Side()
    bare = bytearray(request("1.2.3"))
    at = bare.index(b"\x00\x00\x00\x08\x02\x00\x00\x00") + 8
    bare[at : at + 2] = b"\x01\x01"
    side.hear((STORING, COMMAND | LAST, bytes(bare)))

    assert [one.state for one in side.objects] == ["whole"]
    assert side.answered == [(STORING, "1.2.3", 0)]


def test_other_requests_are_passed_on_with_their_data_set() -> None:
    """N-ACTION of storage commitment, say: gathered, within its limit."""
    action = bytearray(request("1.2.3"))
    at = action.index(b"\x00\x00\x00\x01\x02\x00\x00\x00") + 8
    action[at : at + 2] = b"\x30\x01"
    side = Side()
    side.hear((STORING, COMMAND | LAST, bytes(action)), (STORING, 0, b"ab"), (STORING, LAST, b"c"))
    assert side.passed_on == [(STORING, bytes(action), b"abc")]
    assert side.objects == []

    side.hear((STORING, COMMAND | LAST, bytes(action)), (STORING, 0, bytes(BUDGETS.request)))
    with pytest.raises(ProtocolError, match="maximum_request_mib"):
        side.hear((STORING, 0, b"x"))


BEGUN = (STORING, COMMAND | LAST, request("1.2.3"))


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ([(STORING, LAST, b"data")], "without a command"),
        ([(STORING, 0, b"")], "without a command"),
        ([(99, COMMAND | LAST, ECHO)], "not accepted"),
        ([(2, COMMAND | LAST, ECHO)], "not accepted"),
        ([BEGUN, (ECHOING, 0, b"data")], "two presentation contexts"),
        ([BEGUN, (ECHOING, COMMAND | LAST, ECHO)], "two presentation contexts"),
        ([BEGUN, (STORING, COMMAND | LAST, request("1.2.4"))], "command and data set mixed"),
        ([(STORING, COMMAND, b"\0\0"), (STORING, LAST, b"data")], "command and data set mixed"),
        ([(STORING, COMMAND | LAST, b"noise")], "cut off"),
        ([(STORING, COMMAND | LAST, b"")], "without Command Field"),
        ([(STORING, COMMAND, bytes(LARGEST_COMMAND)), (STORING, COMMAND, b"x")], "longer than"),
        ([BEGUN, (STORING, 0, bytes(1001))], "maximum_object_mib"),
    ],
)
def test_what_breaks_the_rules_is_a_protocol_error(values: list[Value], rule: str) -> None:
    """And what had come of an object is forgotten."""
    side = Side()
    with pytest.raises(ProtocolError, match=rule):
        for value in values:
            side.hear(value)
    side.messages.abandon()

    assert side.answered == []
    assert {one.state for one in side.objects} <= {"abandoned"}


def test_an_endless_association_has_a_byte_budget() -> None:
    """However small its messages are."""
    side = Side()
    with pytest.raises(ProtocolError, match="maximum_association_mib"):
        for number in range(5000):
            side.hear((STORING, COMMAND | LAST, request(f"1.2.{number}")), (STORING, LAST, b"1234"))
    assert 100 < len(side.answered) < 5000


@given(st.binary(max_size=300))
def test_no_command_crashes_it(data: bytes) -> None:
    """Noise is passed on to who knows it, or a protocol error."""
    try:
        Side().hear((STORING, COMMAND | LAST, data))
    except ProtocolError as error:
        assert str(error)
