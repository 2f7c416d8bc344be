"""multipart/related taken apart: the bytes of every part, however the body is cut into pieces."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatekeeper.web.multipart import Parts, boundary_of
from gatekeeper.web.refusal import BadRequest

BOUNDARY = b"b"
NEAR = [
    b"\r",
    b"\n",
    b"-",
    b"--",
    b"b",
    b"\r\n--b",
    b"\r\n--",
    b"\r\n--bx",
    b"--b\r\n",
    b"x",
    b"\0",
]
"""Bytes that a boundary is made of, and near misses; contents with a real one are not tried."""


@dataclass
class Gathered:
    """One part as it came."""

    data: bytearray = field(default_factory=bytearray)
    state: str = "open"

    def write(self, data: memoryview) -> None:
        self.data += data

    def finish(self) -> None:
        self.state = "whole"

    def abandon(self) -> None:
        self.state = "abandoned"


def reader(maximum_parts: int = 100) -> tuple[Parts, list[Gathered]]:
    found: list[Gathered] = []

    def begin() -> Gathered:
        found.append(Gathered())
        return found[-1]

    return Parts(BOUNDARY, begin, maximum_parts), found


def body(contents: list[bytes]) -> bytes:
    parts = [b"--b\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in contents]
    return b"".join(parts) + b"--b--\r\n"


contents = st.lists(
    st.lists(st.sampled_from(NEAR), max_size=12)
    .map(b"".join)
    .filter(
        # RFC 2046 5.1.1: the boundary must not be in a part, at the start of a line.
        lambda data: b"\r\n--b" not in b"\r\n" + data + b"\r\n"
    ),
    min_size=1,
    max_size=3,
)


@given(contents=contents, cuts=st.lists(st.integers(0, 200), max_size=6))
@example(contents=[b"\r\n--", b"\r", b""], cuts=[1, 2, 3])
def test_parts_come_out_as_they_went_in(contents: list[bytes], cuts: list[int]) -> None:
    """Whatever looks like a boundary and is none, and wherever the body is cut."""
    whole = body(contents)
    parts, found = reader()
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    for start, stop in itertools.pairwise(places):
        parts.feed(whole[start:stop])
    parts.finish()

    assert [bytes(one.data) for one in found] == contents
    assert {one.state for one in found} == {"whole"}


@given(contents=contents, end=st.integers(0, 200))
def test_a_body_that_breaks_off_is_never_whole(contents: list[bytes], end: int) -> None:
    """Before its closing boundary a body is not the end, and the part under way is abandoned."""
    whole = body(contents)
    parts, found = reader()
    parts.feed(whole[: min(end, len(whole) - len(b"-\r\n"))])
    with pytest.raises(BadRequest) as refused:
        parts.finish()
    parts.abandon()

    assert refused.value.status == 400
    assert all(one.state != "open" for one in found)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"--other\r\n\r\nx\r\n--other--\r\n", 400),
        (b"no boundary at all", 400),
        (b"--b\r\nContent-Type application/dicom\r\n\r\n", 400),
        (b"--b\r\nX-Long: " + b"x" * 10_000 + b"\r\n\r\n", 400),
        (b"--b\r\n" + b"X-Many: x\r\n" * 100 + b"\r\n", 400),
        (b"--b\r\nContent-Type: text/html\r\n\r\n", 415),
        (b"--b\r\n\r\nx\r\n" * 101, 413),
        (b"--b--\r\n", 400),
        (b"", 400),
    ],
)
def test_a_body_that_breaks_the_rules_is_refused(data: bytes, status: int) -> None:
    """Each with its own status, whatever the parser makes of it."""
    parts, _ = reader()
    with pytest.raises(BadRequest) as refused:
        parts.feed(data)
        parts.finish()
    assert refused.value.status == status


def test_the_boundary_may_be_quoted() -> None:
    """RFC 2045 5.1, and a type without quotes, as some senders have it."""
    kind = 'Multipart/Related; boundary="a b:c"; type=Application/DICOM; start="<x>"'
    assert boundary_of(kind) == b"a b:c"
