"""Files read back: as what was recorded of them; test_wire asks it of every file of pydicom."""

from __future__ import annotations

from pathlib import Path

import pytest
from listen.wire import EXPLICIT, MR, encoded, image, written

from gatekeeper.listen.described import described
from gatekeeper.listen.file_meta import part10_header
from gatekeeper.listen.headers import MAXIMUM_BEGINNING, OWN_MANUFACTURER
from storage.voucher import Voucher

VOUCHER = Voucher("ab" * 32, "SCANNER")


def test_a_large_file_is_read_no_further_than_its_identifiers(tmp_path: Path) -> None:
    """Size, digest and sender are of the file; everything else is in its beginning."""
    data_set = image("1.2.3.4", PixelData=bytes(MAXIMUM_BEGINNING + 100))
    path = written(tmp_path / "file", encoded(data_set), "1.2.3.4")

    found = described(path, VOUCHER)

    assert (found.sop_instance_uid, found.study_instance_uid) == ("1.2.3.4", "1.2.3")
    assert (found.size, found.digest) == (path.stat().st_size, VOUCHER.digest)
    assert (found.source_ae, found.transfer_syntax_uid) == ("SCANNER", EXPLICIT)
    assert not found.own_result


def test_our_own_marks_are_seen(tmp_path: Path) -> None:
    """A result that comes back is none to analyse, whenever it is entered."""
    marked = image("1.2.3.4", Manufacturer=OWN_MANUFACTURER, ManufacturerModelName=OWN_MANUFACTURER)
    path = written(tmp_path / "file", encoded(marked), "1.2.3.4")
    assert described(path, VOUCHER).own_result


@pytest.mark.parametrize(
    "content", [b"", b"content", part10_header(MR, "1.2", EXPLICIT) + b"no data set", bytes(132)]
)
def test_a_file_that_is_none_of_ours_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Recovery leaves it where it is, and tells."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        described(path, VOUCHER)
