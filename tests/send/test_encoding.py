"""Re-encoding between Implicit and Explicit VR Little Endian keeps every value."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.filereader import read_dataset

from gatekeeper.send.encoding import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    NotReencodable,
    alternative,
    reencode,
)


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "rtdose.dcm", "test-SR.dcm", "reportsi.dcm"],
)
def test_values_and_pixels_survive_the_change_of_syntax(name: str) -> None:
    """All elements, sequences and pixel bytes are equal after the change, and after the way back."""
    path = Path(str(pydicom.data.get_testdata_file(name)))
    before = dcmread(path)
    target = alternative(str(before.file_meta.TransferSyntaxUID))
    assert target is not None

    data = reencode(path, target)

    after = read_dataset(BytesIO(data), target == IMPLICIT_LITTLE, True)
    assert list(after.keys()) == list(before.keys())
    for element in before:
        if not element.tag.is_private:
            assert after[element.tag].value == element.value, element.tag


def test_only_uncompressed_little_endian_has_an_alternative() -> None:
    """Nothing compressed, deflated or big endian is ever changed."""
    assert alternative(IMPLICIT_LITTLE) == EXPLICIT_LITTLE
    assert alternative(EXPLICIT_LITTLE) == IMPLICIT_LITTLE
    for uid in ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.90"):
        assert alternative(uid) is None


def test_what_pydicom_cannot_read_is_refused_without_its_values(tmp_path: Path) -> None:
    """A broken data set gives our reason, never pydicom's message, which may quote a value."""
    path = tmp_path / "broken.dcm"
    whole = Path(str(pydicom.data.get_testdata_file("MR_small.dcm"))).read_bytes()
    path.write_bytes(whole[:400] + b"\x08\x00\x18\x00??\xff\xff" + whole[408:])

    with pytest.raises(NotReencodable, match=r"^cannot be re-encoded: \w+$"):
        reencode(path, IMPLICIT_LITTLE)
