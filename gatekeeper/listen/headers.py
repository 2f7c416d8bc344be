"""What an instance is, from its encoded data set up to (0020,000E), with every length bounded.

The scan (`scan`) copies nothing but the few values that are needed, stops at the Series Instance
UID and never reaches pixels. It works on the beginning of a data set that is still coming
(`identify_beginning`), of which `MAXIMUM_BEGINNING` bytes must be enough, and knows a data set that
is laid out as the one before it. A deflated data set is inflated by a bounded amount.

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
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from gatekeeper.errors import IdentifierError, RefusedInstance
from gatekeeper.identifiers import Uid
from gatekeeper.listen.scan import (
    LARGEST_LAYOUT,
    CutOffError,
    Encoding,
    Layout,
    Scan,
    Spans,
    refused,
)

DOES_NOT_MATCH = 0xA900
"""Data Set does not match SOP Class (PS3.4 Table B.2-1)."""

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

MAXIMUM_INFLATED = 4 * 1024 * 1024
MAXIMUM_BEGINNING = 4 * 1024 * 1024
"""Bytes of a data set within which its Series Instance UID must end."""

_FIRST_HEADER = 8
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
    except CutOffError:
        raise refused("an element is longer than the data set") from None


def identify_beginning(
    data: bytes, transfer_syntax_uid: str, known: MutableMapping[str, Layout] | None = None
) -> Identity | None:
    """Return what the data set is that begins with `data`, or None when more of it is needed.

    Args:
        data: the first bytes of the data set; with `MAXIMUM_BEGINNING` of them there is an answer.
        transfer_syntax_uid: how it is encoded.
        known: the layout of the data set before, by its transfer syntax; this one's takes its
            place.

    Raises:
        RefusedInstance: with status 0xC000 and the rule that was broken.
    """
    try:
        return _identify(data, transfer_syntax_uid, whole=False, known=known)
    except CutOffError:
        if len(data) >= MAXIMUM_BEGINNING:
            raise refused(
                f"no Series Instance UID in the first {MAXIMUM_BEGINNING >> 20} MiB"
            ) from None
        return None


def _identify(
    data: bytes,
    transfer_syntax_uid: str,
    *,
    whole: bool = True,
    known: MutableMapping[str, Layout] | None = None,
) -> Identity:
    if transfer_syntax_uid in DEFLATED:
        data = _inflate(data)
        whole = whole or len(data) >= MAXIMUM_INFLATED
    layout = None if known is None else known.get(transfer_syntax_uid)
    if layout is not None and layout.fits(data):
        return _identity(data, layout.spans, as_negotiated=layout.as_negotiated)
    if not whole and len(data) < _FIRST_HEADER:
        raise CutOffError
    negotiated = Encoding.of(transfer_syntax_uid)
    encoding = negotiated.in_use(data)
    as_negotiated = encoding == negotiated
    scan = Scan(data, encoding)
    spans = _identifying_spans(scan, whole=whole)
    found = _identity(data, spans, as_negotiated=as_negotiated)
    if known is not None and scan.position <= LARGEST_LAYOUT:
        # One alone: an association may bring as many transfer syntaxes as there are.
        known.clear()
        known[transfer_syntax_uid] = Layout.of(data, scan, spans, as_negotiated=as_negotiated)
    return found


def _identity(data: bytes, spans: Spans, *, as_negotiated: bool) -> Identity:
    values = {tag: data[start:stop] for tag, (start, stop) in spans.items()}
    sop_class = carried(values, _SOP_CLASS, "SOP Class UID")
    sop_instance = carried(values, _SOP_INSTANCE, "SOP Instance UID")
    study = carried(values, _STUDY, "Study Instance UID")
    series = carried(values, _SERIES, "Series Instance UID")
    deviations = () if as_negotiated else ("VR encoding is not the negotiated one (PS3.5 10)",)
    if not all(map(_conforms, (sop_class, sop_instance, study, series))):
        deviations += ("a UID breaks PS3.5 9.1",)
    modality = _text(values.get(_MODALITY, b""))
    maker, model = _text(values.get(_MANUFACTURER, b"")), _text(values.get(_MODEL_NAME, b""))
    own_marks = maker == model == OWN_MANUFACTURER
    if not _MODALITY_TEXT.fullmatch(modality):
        modality = ""
    return Identity(sop_class, sop_instance, study, series, modality, own_marks, deviations)


def _identifying_spans(scan: Scan, *, whole: bool) -> Spans:
    """Return where the identifying attributes lie; the scan goes no further."""
    spans: dict[int, tuple[int, int]] = {}
    for tag, start, stop in scan.elements():
        if tag > _SERIES:
            return spans
        if tag in _WANTED:
            if tag in spans:
                raise refused("an identifying attribute appears twice")
            spans[tag] = start, stop
        if tag == _SERIES:
            return spans
    if not whole:
        raise CutOffError
    return spans


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
            for tag, _, stop in Scan(self.data, Encoding(self.implicit, self.little)).elements():
                yield tag, end, stop
                end = stop
        except CutOffError:
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
    encoding = Encoding.of(transfer_syntax_uid).in_use(data)
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


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MAXIMUM_INFLATED)
    except zlib.error:
        raise refused("the deflated data set does not inflate") from None


def carried(values: Mapping[int, bytes], tag: int, name: str) -> str:
    """Return the UID of `tag` as it is, if it can be carried; see above.

    Raises:
        RefusedInstance: with status 0xC000, naming the attribute by `name`.
    """
    if tag not in values:
        raise refused(f"{name} is missing")
    text = values[tag].rstrip(b"\0 ").decode("ascii", errors="replace")
    if not text:
        raise refused(f"{name} is empty")
    if not _CARRIED.fullmatch(text):
        raise refused(f"{name} breaks PS3.5 9.1 beyond carrying")
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
