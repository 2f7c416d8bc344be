"""The stream taken apart, wherever it is cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listen.raw_scanner import Value, chunks, p_data

from gatekeeper.listen.pdata import Part, Unwrapping
from gatekeeper.send import pdu
from gatekeeper.send.pdu import ProtocolError

LIMIT = 1000

values = st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=40))
pdus = st.lists(
    st.lists(values, min_size=1, max_size=4)
    | st.sampled_from([pdu.release_request(), pdu.release_reply(), pdu.abort()]),
    max_size=6,
)


def taken_apart(stream: bytes, sizes: list[int]) -> list[Value | bytes]:
    """Return the values, put together again, and the other PDUs of a stream read in pieces."""
    unwrapping, found = Unwrapping(LIMIT), list[Value | bytes]()
    begun = b""
    for piece in chunks(stream, sizes):
        for item in unwrapping.feed(memoryview(piece)):
            if isinstance(item, Part):
                begun += bytes(item.data)
                if item.ends:
                    found.append((item.context, item.control, begun))
                    begun = b""
            else:
                found.append(item)
    assert not unwrapping.inside
    return found


@given(pdus, st.lists(st.integers(1, 30)))
def test_any_cut_of_the_stream_gives_the_same_values(
    sent: list[list[Value] | bytes], sizes: list[int]
) -> None:
    """Several values in a PDU, empty ones, other PDUs between: all as they were sent."""
    stream = b"".join(one if isinstance(one, bytes) else p_data(*one) for one in sent)
    expected: list[Value | bytes] = []
    for one in sent:
        expected += [one] if isinstance(one, bytes) else one

    assert taken_apart(stream, sizes) == expected
    assert taken_apart(stream, [1] * len(stream)) == expected


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(struct.pack(">BxI", 4, LIMIT + 1), id="PDU over the limit"),
        pytest.param(struct.pack(">BxI", 4, 0xFFFFFFFF), id="PDU of 4 GiB"),
        pytest.param(struct.pack(">BxI", 4, 0), id="P-DATA without a value"),
        pytest.param(struct.pack(">BxIIBB", 4, 10, 0xFFFFFFFF, 1, 3), id="value of 4 GiB"),
        pytest.param(struct.pack(">BxIIBB", 4, 10, 7, 1, 3), id="value longer than its PDU"),
        pytest.param(struct.pack(">BxIIBB", 4, 10, 1, 1, 3), id="value without its header"),
        pytest.param(struct.pack(">BxIIBB", 4, 10, 4, 1, 3), id="a rest too short for a value"),
        pytest.param(struct.pack(">BxI", 5, 5), id="release of a wrong length"),
        pytest.param(struct.pack(">BxI", 7, 0xFFFFFFFF), id="abort of 4 GiB"),
        pytest.param(struct.pack(">BxI", 1, 100), id="a second association request"),
        pytest.param(b"GET / HTTP/1.1", id="another protocol"),
    ],
)
def test_a_wrong_length_is_refused_at_its_header(stream: bytes) -> None:
    """Nothing behind the header has to come, and nothing is held."""
    with pytest.raises(ProtocolError):
        list(Unwrapping(LIMIT).feed(memoryview(stream)))
    by_bytes = Unwrapping(LIMIT)
    with pytest.raises(ProtocolError):
        for byte in stream:
            list(by_bytes.feed(memoryview(bytes((byte,)))))


@given(st.binary(max_size=300))
def test_no_bytes_crash_it(stream: bytes) -> None:
    """Noise is values or a protocol error."""
    try:
        list(Unwrapping(LIMIT).feed(memoryview(stream)))
    except ProtocolError as error:
        assert str(error)


def test_progress_is_told_by_the_boundaries_of_pdus() -> None:
    """Bytes within a PDU are none: a peer that drips does not move its deadline."""
    unwrapping = Unwrapping(LIMIT)
    stream = p_data((1, 3, b"abcd"))
    seen: list[int] = []
    for byte in stream:
        list(unwrapping.feed(memoryview(bytes((byte,)))))
        seen.append(unwrapping.boundaries)
    assert seen == [1] * (len(stream) - 1) + [2]
