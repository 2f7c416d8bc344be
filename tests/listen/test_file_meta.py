"""The header of a spooled file."""

from __future__ import annotations

import io

from listen.wire import EXPLICIT, MR, encoded, image
from pydicom import dcmread

from gatekeeper.identifiers import Uid
from gatekeeper.listen.file_meta import IMPLEMENTATION_CLASS_UID, part10_header


def test_a_spooled_file_is_a_part_10_file() -> None:
    """pydicom reads header and data set back, odd and even UID lengths alike."""
    for instance in ("1.2.3", "1.2.33"):
        content = part10_header(MR, instance, EXPLICIT) + encoded(image(instance))

        dataset = dcmread(io.BytesIO(content))

        meta = dataset.file_meta
        assert meta.MediaStorageSOPClassUID == MR
        assert meta.MediaStorageSOPInstanceUID == instance == dataset.SOPInstanceUID
        assert meta.TransferSyntaxUID == EXPLICIT
        assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert meta.FileMetaInformationVersion == b"\x00\x01"
        assert meta.FileMetaInformationGroupLength == len(content) - len(
            encoded(image(instance))
        ) - (128 + 4 + 12)


def test_the_header_of_an_object_never_changes() -> None:
    """A digest taken by one release is the digest taken by the next."""
    from hashlib import sha256

    header = part10_header(MR, "1.2.3", EXPLICIT)

    assert sha256(header).hexdigest() == (
        "235ebb427f9fe9d83160c7fdb3eece26f4406cf81b397503706c5fbd06a5512e"
    )
    assert Uid.parse(IMPLEMENTATION_CLASS_UID) == IMPLEMENTATION_CLASS_UID
