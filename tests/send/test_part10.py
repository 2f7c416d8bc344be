"""Reading the header of a DICOM file: offset and identifiers, or a refusal that says why."""

from __future__ import annotations

import contextlib
from io import BytesIO
from pathlib import Path

import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import split_dataset

from gatekeeper.send.part10 import FileHeader, NotPart10, read_header

CT = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
TEST_FILES = sorted(CT.parent.glob("*.dcm"))


def read(data: bytes) -> FileHeader:
    return read_header(BytesIO(data), len(data))


def test_offset_and_identifiers_agree_with_pydicom_for_every_test_file() -> None:
    """All complete Part 10 files that pydicom ships, and every other one is refused."""
    needed = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
    complete = 0
    for path in TEST_FILES:
        data = path.read_bytes()
        meta, offset = split_dataset(path) if data[128:132] == b"DICM" else (Dataset(), 0)
        if any(not meta.get(keyword) for keyword in needed):
            with pytest.raises(NotPart10):
                read(data)
            continue
        header = read(data)
        assert (header.offset, header.size) == (offset, len(data) - offset), path.name
        assert header.sop_class_uid == meta.MediaStorageSOPClassUID
        assert header.sop_instance_uid == meta.MediaStorageSOPInstanceUID
        assert header.transfer_syntax_uid == meta.TransferSyntaxUID
        complete += 1
    assert complete > 50


@pytest.mark.parametrize("size", [0, 100, 132, 140, 300])
def test_a_cut_off_header_is_refused(size: int) -> None:
    """A file that ends within its preamble or meta information."""
    with pytest.raises(NotPart10):
        read(CT.read_bytes()[:size])


def test_a_file_of_meta_information_alone_is_refused() -> None:
    """There is no data set to send."""
    data = CT.read_bytes()

    with pytest.raises(NotPart10, match="no data set"):
        read(data[: read(data).offset])


def test_a_header_that_announces_gigabytes_is_refused_unread() -> None:
    """A length of 4 GiB in group 2 is compared, not followed."""
    data = bytearray(CT.read_bytes())
    data[132:144] = b"\x02\x00\x01\x00OB\x00\x00\xff\xff\xff\xff"

    with pytest.raises(NotPart10, match="cut off"):
        read(bytes(data))


@given(st.binary(max_size=300))
def test_nonsense_after_the_prefix_raises_only_a_refusal(tail: bytes) -> None:
    """No bytes make the reader raise anything else."""
    with contextlib.suppress(NotPart10):
        read(bytes(128) + b"DICM" + tail)
