"""Originals: the public files of `pydicom` and `pydicom-data` as data sets to send.

Every text of every original is overwritten with a canary of the same length, so that a canary in a
log is patient data in a log.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import data_store
import pydicom
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID
from pynetdicom.dsutils import split_dataset

from gatekeeper.work.source import quiet

FOLDERS = (
    Path(pydicom.__file__).parent / "data" / "test_files",
    Path(data_store.__file__).parent / "data",
)
LARGEST_FILE = 300_000
"""Bytes of the largest original; the few larger ones are more of the same pixels."""
CANARY = b"CANARY^PATIENT "

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
MR = "1.2.840.10008.5.1.4.1.1.4"
_ROWS, _COLUMNS = 0x00280010, 0x00280011

TEXT_VRS = frozenset({"PN", "LO", "LT", "SH", "ST", "UT", "UC"})
LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})


@dataclass(frozen=True, slots=True)
class Element:
    """A top-level element: its header begins at `start`, its value lies at `value`."""

    tag: int
    vr: str
    start: int
    value: int
    length: int


@dataclass(frozen=True, slots=True)
class Original:
    """An encoded data set and what its C-STORE command says of it."""

    name: str
    data: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    elements: tuple[Element, ...] = ()

    @property
    def implicit(self) -> bool:
        return self.transfer_syntax_uid == IMPLICIT

    @property
    def order(self) -> str:
        return ">" if self.transfer_syntax_uid == BIG_ENDIAN else "<"


@functools.cache
def corpus() -> tuple[Original, ...]:
    """Return the originals, in the order of their names."""
    paths = sorted(
        path
        for folder in FOLDERS
        for path in folder.rglob("*")
        if path.is_file() and path.stat().st_size <= LARGEST_FILE
    )
    return tuple(found for path in paths if (found := _original(path)) is not None)


@functools.cache
def scans() -> tuple[Original, ...]:
    """Return the grey images of the corpus, each made a slice of a brain scan, to be decoded."""
    with quiet():
        found = [_scan(one) for one in corpus() if one.transfer_syntax_uid != DEFLATED]
    return tuple(one for one in found if one is not None)


def slices(scan: Original) -> list[Original]:
    """Return three slices of which `scan`, mutated or not, is the middle one.

    The others declare the size that it declares, so that it is decoded with them.
    """
    whole = next(one for one in scans() if one.name == scan.name)
    with quiet():
        others = [_moved(whole, 0), _moved(whole, 2)]
        try:
            size = _size(scan)
        except Exception:  # noqa: BLE001 - a mutant that declares nothing
            size = None
    if size is not None and size != _size(whole) and size[0] == size[1]:
        others = [declares(one, size[0]) for one in others]
    return [others[0], scan, others[1]]


def declares(original: Original, size: int) -> Original:
    """Return the original with so many rows and columns declared, and its pixels as they were."""
    data = bytearray(original.data)
    for one in original.elements:
        if one.tag in {_ROWS, _COLUMNS} and one.length == 2:
            data[one.value : one.value + 2] = struct.pack(f"{original.order}H", size)
    return replace(original, data=bytes(data), elements=())


def _size(original: Original) -> tuple[int, int]:
    """Return rows and columns as declared."""
    values = {
        one.tag: struct.unpack_from(f"{original.order}H", original.data, one.value)[0]
        for one in elements_of(original)
        if one.tag in {_ROWS, _COLUMNS}
    }
    return values[_ROWS], values[_COLUMNS]


def _original(path: Path) -> Original | None:
    try:
        with quiet():
            content = path.read_bytes()
            header = dcmread(io.BytesIO(content), stop_before_pixels=True, force=True)
            syntax = str(header.file_meta.get("TransferSyntaxUID", IMPLICIT))
            known = str(header.SOPClassUID), str(header.SOPInstanceUID)
            offset = split_dataset(path)[1] if content[128:132] == b"DICM" else 0
            return located(Original(path.name, content[offset:], *known, syntax))
    except Exception:  # noqa: BLE001 - files without what a C-STORE command needs
        return None


def located(original: Original) -> Original:
    """Return the original with its elements found and its texts overwritten by the canary."""
    if original.transfer_syntax_uid == DEFLATED:
        plain = located(
            replace(
                original,
                data=zlib.decompress(original.data, -zlib.MAX_WBITS),
                transfer_syntax_uid=EXPLICIT,
            )
        )
        return replace(original, data=deflated(plain.data))
    elements = elements_of(original)
    data = bytearray(original.data)
    for one in elements:
        if one.vr in TEXT_VRS and one.length < 1 << 16:
            text = CANARY * (one.length // len(CANARY) + 1)
            data[one.value : one.value + one.length] = text[: one.length]
    return replace(original, data=bytes(data), elements=elements)


def elements_of(original: Original) -> tuple[Element, ...]:
    dataset = read_dataset(
        io.BytesIO(original.data), original.implicit, original.order == "<", defer_size=None
    )
    found: list[Element] = []
    for tag in sorted(dataset.keys()):
        item = dataset.get_item(tag)
        if not isinstance(item, RawDataElement) or item.value is None:
            continue
        try:
            vr = item.VR or dictionary_VR(tag)
        except KeyError:
            vr = "UN"
        header = 8 if original.implicit or vr not in LONG_VRS else 12
        if item.length != 0xFFFFFFFF and item.value_tell >= header:
            found.append(
                Element(int(tag), vr, item.value_tell - header, item.value_tell, len(item.value))
            )
    return tuple(found)


def _scan(original: Original) -> Original | None:
    dataset = read_dataset(io.BytesIO(original.data), original.implicit, original.order == "<")
    if dataset.get("SamplesPerPixel") != 1 or "PixelData" not in dataset:
        return None
    if str(dataset.get("NumberOfFrames", "1") or "1") != "1":
        return None
    dataset.SOPClassUID = UID(MR)
    dataset.Modality = "MR"
    dataset.SeriesDescription = "t1_mprage"
    dataset.BodyPartExamined = "BRAIN"
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = UID("1.2.3")
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [1, 1]
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    made = replace(original, sop_class_uid=MR, sop_instance_uid="1.2.3.1")
    return _moved(replace(made, data=_encoded(dataset, original), elements=()), 1)


def _moved(scan: Original, place: int) -> Original:
    dataset = read_dataset(io.BytesIO(scan.data), scan.implicit, scan.order == "<")
    dataset.SOPInstanceUID = UID(f"1.2.3.{place + 1}")
    dataset.ImagePositionPatient = [0, 0, place]
    made = replace(scan, data=_encoded(dataset, scan), sop_instance_uid=f"1.2.3.{place + 1}")
    return replace(made, elements=elements_of(made))


def _encoded(dataset: Dataset, like: Original) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR = like.implicit
    stream.is_little_endian = like.order == "<"
    write_dataset(stream, dataset)
    return stream.getvalue()


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)
