"""Re-encoding from Explicit to Implicit VR Little Endian keeps every value as it is."""

from __future__ import annotations

import contextlib
from io import BytesIO
from pathlib import Path
from typing import cast

import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence

from gatekeeper.send.encoding import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    NotReencodable,
    alternative,
    to_implicit,
)
from gatekeeper.send.files import read_objects

CT = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
EXPLICIT_FILES = [
    item.path
    for item in read_objects([CT.parent])[0]
    if item.transfer_syntax_uid == EXPLICIT_LITTLE and "truncated" not in item.path.name
]


def data_set(path: Path) -> bytes:
    """Return the bytes of a file after its meta information."""
    data = path.read_bytes()
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    return data[start:]


def raw(dataset: Dataset) -> list[tuple[int, object]]:
    """Return tags and value bytes of a data set, sequences as lists of the same."""
    found: list[tuple[int, object]] = []
    # All first: to look at one as an element makes others into elements.
    tags = list(dataset.keys())
    elements = {tag: dataset.get_item(tag) for tag in tags}
    for tag, element in elements.items():
        value = element.value
        if dataset[tag].VR == "SQ":
            found.append((int(tag), [raw(item) for item in cast(Sequence, dataset[tag].value)]))
        elif tag.element != 0:
            assert isinstance(element, RawDataElement) or not value
            found.append((int(tag), value or b""))
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", EXPLICIT_FILES, ids=lambda path: cast(Path, path).name)
def test_every_value_keeps_its_bytes(path: Path) -> None:
    """pydicom reads the same tags and the same value bytes from both, at every depth."""
    before = data_set(path)

    after = to_implicit(before)

    explicit = read_dataset(BytesIO(before), False, True)
    implicit = read_dataset(BytesIO(after), True, True)
    assert raw(implicit) == raw(explicit)


def test_there_are_files_with_sequences_to_test_with() -> None:
    """The test above meant something."""
    assert len(EXPLICIT_FILES) > 10
    assert any(
        element.VR == "SQ" for path in EXPLICIT_FILES for element in dcmread(path, force=True)
    )


def test_bytes_of_an_unknown_character_set_are_not_touched() -> None:
    """A name that its character set cannot decode goes through as it is."""
    name = b"\x10\x00\x10\x00PN\x06\x00\xff\xfe^\x81\x80 "

    assert to_implicit(name) == b"\x10\x00\x10\x00\x06\x00\x00\x00\xff\xfe^\x81\x80 "


def test_a_sequence_of_unknown_vr_is_copied_whole() -> None:
    """UN of undefined length is Implicit VR already, nested sequences and all (PS3.5 6.2.2)."""
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    item_end, sequence_end = b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
    inner = b"\x09\x00\x02\x10\xff\xff\xff\xff" + item + item_end + sequence_end
    value = b"\x09\x00\x01\x10\x02\x00\x00\x00ab"
    content = item + value + inner + item_end + sequence_end
    tail = b"\x10\x00\x20\x00LO\x02\x00X1"

    found = to_implicit(b"\x09\x00\x00\x10UN\x00\x00\xff\xff\xff\xff" + content + tail)

    assert found == (
        b"\x09\x00\x00\x10\xff\xff\xff\xff" + content + b"\x10\x00\x20\x00\x02\x00\x00\x00X1"
    )


def test_group_lengths_are_left_out() -> None:
    """They are retired, and count bytes that have changed."""
    length = b"\x08\x00\x00\x00UL\x04\x00\x10\x00\x00\x00"
    modality = b"\x08\x00\x60\x00CS\x02\x00MR"

    assert to_implicit(length + modality) == b"\x08\x00\x60\x00\x02\x00\x00\x00MR"


def test_only_explicit_vr_little_endian_has_an_alternative() -> None:
    """Nothing compressed, deflated or big endian is ever changed."""
    assert alternative(EXPLICIT_LITTLE) == IMPLICIT_LITTLE
    for uid in (
        IMPLICIT_LITTLE,
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.4.90",
    ):
        assert alternative(uid) is None


OPEN_SEQUENCE = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x08\x00\x05\x00??\x00\x00", "known value representation"),
        (b"\x08\x00\x60\x00CS\xff\x00MR", "beyond"),
        (b"\x08\x00\x60", "beyond"),
        (b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff" + bytes(8), "encapsulated"),
        (b"\x08\x00\x15\x11SQ\x00\x00\x08\x00\x00\x00Secret^N", "other than items"),
        (b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff", "end"),
        (
            b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 99,
            "deep",
        ),
        (b"\x09\x00\x00\x10UN\x00\x00" + b"\xff\xff\xff\xff\x09\x00\x01\x10" * 99, "deep"),
    ],
)
def test_what_is_not_explicit_vr_is_refused_without_its_values(data: bytes, problem: str) -> None:
    """The reason names the rule; no value is in it."""
    with pytest.raises(NotReencodable, match=problem) as caught:
        to_implicit(data)
    assert "Secret" not in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 2**16))
def test_damage_raises_only_a_refusal(noise: bytes, place: int) -> None:
    """Any bytes written over a real data set: converted or refused, never another error."""
    data = bytearray(data_set(EXPLICIT_FILES[0]))
    place %= len(data)
    data[place : place + len(noise)] = noise
    with contextlib.suppress(NotReencodable):
        to_implicit(bytes(data))
