"""What an instance is, from its encoded data set up to (0020,000E), with every length bounded.

The scan is iterative, copies nothing but the few values it needs, stops at the Series Instance
UID and never reaches pixels. It works on the beginning of a data set that is still coming
(`identify_beginning`), of which `MAXIMUM_BEGINNING` bytes must be enough. It knows three encodings
(PS3.5 section 7): implicit little endian, explicit little endian, explicit big endian; a deflated
data set is inflated by a bounded amount.

What becomes of identifiers that break PS3.5 section 9.1:

- UIDs of up to 64 letters, digits, '.', '-' and '_' are *carried*. Components with leading zeros
  and UUIDs written out with their letters are common in hospitals; such a study is a real one,
  refusing it would end the sender's whole transfer, and no path or statement is ever built from
  a UID's text. The identity lists it as a deviation, and the log says so.
- Anything else (empty, longer, other characters, several values) is refused with 0xC000: such a
  value cannot be stored in other systems' indexes, nor sent in a C-STORE command, so the results
  could not be filed with the study. The sender keeps the object and learns why.

A data set that is implicit where explicit was negotiated, or the other way round, is a sender's
error that readers see through; the first element tells, and it is carried as a deviation too.

Other refusals, all before anything is kept: a data set that does not parse or nests deeper than
any real one (0xC000), and a data set that is another object than the command says (0xA900).
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gatekeeper.errors import IdentifierError, RefusedInstance
from gatekeeper.identifiers import Uid

DOES_NOT_MATCH = 0xA900
"""Data Set does not match SOP Class (PS3.4 Table B.2-1)."""
CANNOT_UNDERSTAND = 0xC000
"""Cannot understand (PS3.4 Table B.2-1)."""

OWN_MANUFACTURER = "Gatekeeper"
"""Manufacturer and ManufacturerModelName of every result object."""

DEFLATED = frozenset(
    {
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
        "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
    }
)
"""Transfer syntaxes whose whole data set is deflated (PS3.5 A.5, A.7, A.9)."""

_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"

MAXIMUM_DEPTH = 64
MAXIMUM_ELEMENTS = 500_000
MAXIMUM_INFLATED = 4 * 1024 * 1024
MAXIMUM_BEGINNING = 4 * 1024 * 1024
"""Bytes of a data set within which its Series Instance UID must end."""

_FIRST_HEADER = 8
_UNDEFINED = 0xFFFFFFFF
_DELIMITERS = 0xFFFE
_ITEM = 0xFFFEE000
_ITEM_DELIMITER = 0xFFFEE00D
_SEQUENCE_DELIMITER = 0xFFFEE0DD

_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018
_MODALITY = 0x00080060
_MANUFACTURER = 0x00080070
_MODEL_NAME = 0x00081090
_STUDY = 0x0020000D
_SERIES = 0x0020000E
_WANTED = frozenset(
    {_SOP_CLASS, _SOP_INSTANCE, _MODALITY, _MANUFACTURER, _MODEL_NAME, _STUDY, _SERIES}
)

# VRs with a 16-bit length field in the explicit encodings; all others have 32 bits (PS3.5 7.1.2).
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_KNOWN_VRS = _SHORT_VRS | frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VR = re.compile(rb"[A-Z]{2}")
_CARRIED = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_MODALITY_TEXT = re.compile(r"[0-9A-Z_ ]{1,16}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the data set says it is."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    """Empty when absent or not a code string."""
    own_marks: bool
    """True when manufacturer and model name say that we made it."""
    deviations: tuple[str, ...] = ()
    """Rules of the standard that the data set breaks and is carried with."""


@dataclass(frozen=True, slots=True)
class _Encoding:
    implicit: bool
    little: bool

    @property
    def header(self) -> struct.Struct:
        """Group, element, and a length of 32 bits, or the VR and a length of 16."""
        return _HEADERS[self.implicit, self.little]

    @property
    def length(self) -> struct.Struct:
        """A length of 32 bits."""
        return _LENGTHS[self.little]


_HEADERS = {
    (True, True): struct.Struct("<HHL"),
    (True, False): struct.Struct(">HHL"),
    (False, True): struct.Struct("<HH2sH"),
    (False, False): struct.Struct(">HH2sH"),
}
_LENGTHS = {True: struct.Struct("<L"), False: struct.Struct(">L")}


def identify(data: bytes, transfer_syntax_uid: str) -> Identity:
    """Return what the encoded data set `data` is.

    Args:
        data: the data set as received, without preamble and file meta.
        transfer_syntax_uid: how it is encoded.

    Raises:
        RefusedInstance: with status 0xC000 and the rule that was broken.
    """
    try:
        return _identify(data, transfer_syntax_uid)
    except _CutOffError:
        raise _refused("an element is longer than the data set") from None


def identify_beginning(data: bytes, transfer_syntax_uid: str) -> Identity | None:
    """Return what the data set is that begins with `data`, or None when more of it is needed.

    Args:
        data: the first bytes of the data set; with `MAXIMUM_BEGINNING` of them there is an answer.
        transfer_syntax_uid: how it is encoded.

    Raises:
        RefusedInstance: with status 0xC000 and the rule that was broken.
    """
    try:
        return _identify(data, transfer_syntax_uid, whole=False)
    except _CutOffError:
        if len(data) >= MAXIMUM_BEGINNING:
            raise _refused(
                f"no Series Instance UID in the first {MAXIMUM_BEGINNING >> 20} MiB"
            ) from None
        return None


def _identify(data: bytes, transfer_syntax_uid: str, *, whole: bool = True) -> Identity:
    if transfer_syntax_uid in DEFLATED:
        data = _inflate(data)
        whole = whole or len(data) >= MAXIMUM_INFLATED
    if not whole and len(data) < _FIRST_HEADER:
        raise _CutOffError
    deviations: list[str] = []
    negotiated = _encoding(transfer_syntax_uid)
    encoding = _encoding_in_use(data, negotiated)
    if encoding != negotiated:
        deviations.append("VR encoding is not the negotiated one (PS3.5 10)")
    values = _identifying_values(data, encoding, whole=whole)
    uids = {
        "sop_class_uid": carried(values, _SOP_CLASS, "SOP Class UID"),
        "sop_instance_uid": carried(values, _SOP_INSTANCE, "SOP Instance UID"),
        "study_instance_uid": carried(values, _STUDY, "Study Instance UID"),
        "series_instance_uid": carried(values, _SERIES, "Series Instance UID"),
    }
    if not all(_conforms(uid) for uid in uids.values()):
        deviations.append("a UID breaks PS3.5 9.1")
    modality = _text(values.get(_MODALITY, b""))
    marks = {_text(values.get(tag, b"")) for tag in (_MANUFACTURER, _MODEL_NAME)}
    return Identity(
        **uids,
        modality=modality if _MODALITY_TEXT.fullmatch(modality) else "",
        own_marks=marks == {OWN_MANUFACTURER},
        deviations=tuple(deviations),
    )


def _identifying_values(data: bytes, encoding: _Encoding, *, whole: bool) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    for tag, start, stop in _elements(data, encoding):
        if tag > _SERIES:
            return values
        if tag in _WANTED:
            if tag in values:
                raise _refused("an identifying attribute appears twice")
            values[tag] = data[start:stop]
        if tag == _SERIES:
            return values
    if not whole:
        raise _CutOffError
    return values


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first bytes of a data set, inflated, and how they are encoded."""

    data: bytes
    implicit: bool
    little: bool

    def elements(self) -> Iterator[tuple[int, int, int]]:
        """Yield tag, start and stop of each top-level element that is whole, its header included.

        Raises:
            RefusedInstance: when they do not parse.
        """
        end = 0
        try:
            for tag, _, stop in _elements(self.data, _Encoding(self.implicit, self.little)):
                yield tag, end, stop
                end = stop
        except _CutOffError:
            return

    def tag_at(self, position: int) -> int | None:
        """Return the tag of the element whose header begins at `position`, if there is one."""
        head = self.data[position : position + 4]
        if len(head) < 4:
            return None
        group, element = struct.unpack("<HH" if self.little else ">HH", head)
        return group << 16 | element


def beginning(data: bytes, transfer_syntax_uid: str) -> Beginning:
    """Return the beginning of a data set of which `data` are the first bytes.

    Raises:
        RefusedInstance: when it is deflated and does not inflate.
    """
    if transfer_syntax_uid in DEFLATED:
        data = _inflate(data)
    encoding = _encoding_in_use(data, _encoding(transfer_syntax_uid))
    return Beginning(data, encoding.implicit, encoding.little)


def agree(
    identity: Identity, sop_class_uid: str, sop_instance_uid: str, study_instance_uid: str = ""
) -> None:
    """Check that the data set is the object that the request announced.

    Args:
        identity: of the data set.
        sop_class_uid: as announced.
        sop_instance_uid: as announced.
        study_instance_uid: the one study that the request is about; empty for any.

    Raises:
        RefusedInstance: with status 0xA900 when a UID differs.
    """
    if identity.sop_class_uid != sop_class_uid:
        raise RefusedInstance(DOES_NOT_MATCH, "SOP Class UID differs from the command's")
    if identity.sop_instance_uid != sop_instance_uid:
        raise RefusedInstance(DOES_NOT_MATCH, "SOP Instance UID differs from the command's")
    if study_instance_uid not in {"", identity.study_instance_uid}:
        raise RefusedInstance(DOES_NOT_MATCH, "Study Instance UID differs from the request's")


def _encoding(transfer_syntax_uid: str) -> _Encoding:
    return _Encoding(
        implicit=transfer_syntax_uid == _IMPLICIT, little=transfer_syntax_uid != _BIG_ENDIAN
    )


def _encoding_in_use(data: bytes, negotiated: _Encoding) -> _Encoding:
    """Return how `data` is encoded, judged by where the first element's VR should be."""
    if not negotiated.little:
        return negotiated
    return _Encoding(implicit=data[4:6] not in _KNOWN_VRS, little=True)


def _refused(rule: str) -> RefusedInstance:
    return RefusedInstance(CANNOT_UNDERSTAND, rule)


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MAXIMUM_INFLATED)
    except zlib.error:
        raise _refused("the deflated data set does not inflate") from None


def carried(values: Mapping[int, bytes], tag: int, name: str) -> str:
    """Return the UID of `tag` as it is, if it can be carried; see above.

    Raises:
        RefusedInstance: with status 0xC000, naming the attribute by `name`.
    """
    if tag not in values:
        raise _refused(f"{name} is missing")
    text = values[tag].rstrip(b"\0 ").decode("ascii", errors="replace")
    if not text:
        raise _refused(f"{name} is empty")
    if not _CARRIED.fullmatch(text):
        raise _refused(f"{name} breaks PS3.5 9.1 beyond carrying")
    return text


# Of an object's four UIDs three are those of the one before.
@functools.lru_cache(maxsize=1024)
def _conforms(text: str) -> bool:
    try:
        Uid.parse(text)
    except IdentifierError:
        return False
    return True


def _text(value: bytes) -> str:
    return value.decode("ascii", errors="replace").strip(" \0")


def _elements(data: bytes, encoding: _Encoding) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, start, stop) of each top-level element, the value lying in data[start:stop]."""
    scan = _Scan(data)
    while scan.position < len(data):
        tag, vr, length = scan.element_header(encoding)
        start = scan.position
        if length == _UNDEFINED:
            scan.skip_undefined(_inner(encoding, vr))
        else:
            scan.skip(length)
        yield tag, start, scan.position


def _inner(encoding: _Encoding, vr: bytes) -> _Encoding:
    """Return how the items are encoded of an element of undefined length.

    UN of undefined length holds implicit little endian (PS3.5 6.2.2 note 2).
    """
    return _Encoding(implicit=True, little=True) if vr == b"UN" else encoding


class _CutOffError(Exception):
    """The data ends within an element."""


class _Scan:
    """A position in an encoded data set that can only move forward and never past its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self._elements = 0

    def skip(self, length: int) -> None:
        if length > len(self.data) - self.position:
            raise _CutOffError
        self.position += length

    def element_header(self, encoding: _Encoding) -> tuple[int, bytes, int]:
        """Return tag, VR (empty in implicit encoding and for delimiters) and length."""
        self._elements += 1
        if self._elements > MAXIMUM_ELEMENTS:
            raise _refused(f"more than {MAXIMUM_ELEMENTS} elements before the Series Instance UID")
        position = self.position
        self.skip(8)
        group, element, *rest = encoding.header.unpack_from(self.data, position)
        tag = group << 16 | element
        if encoding.implicit:
            return tag, b"", rest[0]
        if group == _DELIMITERS:
            return tag, b"", encoding.length.unpack_from(self.data, position + 4)[0]
        vr, length = rest
        if vr in _SHORT_VRS:
            return tag, vr, length
        if not _VR.fullmatch(vr):
            raise _refused("a value representation is not two capital letters")
        self.skip(4)
        return tag, vr, encoding.length.unpack_from(self.data, position + 8)[0]

    def skip_undefined(self, encoding: _Encoding) -> None:
        """Move past the items, and the delimiter, of a value of undefined length (PS3.5 7.5)."""
        # Each level is inside a sequence (True) or inside an item of undefined length (False).
        levels: list[tuple[bool, _Encoding]] = [(True, encoding)]
        while levels:
            if len(levels) > 2 * MAXIMUM_DEPTH:
                raise _refused(f"sequences nest deeper than {MAXIMUM_DEPTH}")
            in_sequence, encoding = levels[-1]
            tag, vr, length = self.element_header(encoding)
            if in_sequence:
                if tag == _SEQUENCE_DELIMITER:
                    levels.pop()
                elif tag != _ITEM:
                    raise _refused("something else than an item in a sequence")
                elif length == _UNDEFINED:
                    levels.append((False, encoding))
                else:
                    self.skip(length)
            elif tag == _ITEM_DELIMITER:
                levels.pop()
            elif length == _UNDEFINED:
                levels.append((True, _inner(encoding, vr)))
            else:
                self.skip(length)
