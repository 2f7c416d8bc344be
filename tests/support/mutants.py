"""Mutants: data sets damaged by chance and with intent.

A mutant is a function of its seed and its number alone.
"""

from __future__ import annotations

import enum
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from support.originals import (
    DEFLATED,
    EXPLICIT,
    LONG_VRS,
    RLE,
    TEXT_VRS,
    Original,
    corpus,
    declares,
)

ESCAPE = "gatekeeper-escape"
"""In every path that a mutant tries to have written."""

_VRS = sorted(TEXT_VRS | LONG_VRS | {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "IS", "UI", "US"})
_SIZES = {0x00280008: "IS", 0x00280002: "US", 0x00280010: "US", 0x00280011: "US", 0x00280100: "US"}
_UIDS = frozenset({0x00080016, 0x00080018, 0x0020000D, 0x0020000E})
_TRAVERSALS = (
    f"../../../../../../../../tmp/{ESCAPE}",
    f"..\\..\\..\\{ESCAPE}",
    f"/tmp/{ESCAPE}",  # noqa: S108
    f"....//....//{ESCAPE}",
    f"%2e%2e%2f{ESCAPE}",
    f"..\0/{ESCAPE}",
    f"$(touch /tmp/{ESCAPE})",
    f"';DROP TABLE instance;--{ESCAPE}",
    f"<script>{ESCAPE}</script>",
    f"1.2.3/../{ESCAPE}",
    f"-rf.{ESCAPE}",
    f'{ESCAPE}\n{{"event":"forged"}}',
    "../" * 300 + ESCAPE,
)


class Kind(enum.StrEnum):
    """What was done to the original."""

    FLIP = "flipped bytes"
    CUT = "cut off"
    LENGTH = "length field"
    VR = "value representation"
    DUPLICATE = "doubled element"
    NESTED = "nested sequences"
    TRAVERSAL = "traversal strings"
    SIZES = "huge declared sizes"
    SPLICE = "two files in one"
    CODESTREAM = "codestream declares more"
    RLE_BOMB = "RLE bomb"
    DEFLATE_BOMB = "deflate bomb"


BOMBS = frozenset({Kind.CODESTREAM, Kind.RLE_BOMB, Kind.DEFLATE_BOMB})


@dataclass(frozen=True, slots=True)
class Mutant:
    """One object to send.

    Attributes:
        number: it can be made again from the seed and this number.
        kind: what was done.
        original: the data set as sent, and the command; its name is that of the file.
    """

    number: int
    kind: Kind
    original: Original


def mutant(seed: int, number: int, among: Sequence[Original], kind: Kind | None = None) -> Mutant:
    """Return one mutant of an original of `among`, of this kind or of any but the bombs."""
    chance = random.Random(f"{seed} {number}")
    if kind is None:
        kind = chance.choice([one for one in Kind if one not in BOMBS])
    change = _CHANGES[kind]
    for original in chance.sample(among, len(among)):
        changed = change(chance, original)
        if changed is not None:
            # Half of all meet a second damage.
            if kind not in BOMBS and chance.random() < 0.3:
                changed = _flip(chance, changed)
            return Mutant(number, kind, changed)
    raise ValueError(f"no original for {kind}")


def _with(original: Original, start: int, stop: int, new: bytes) -> Original:
    return replace(original, data=original.data[:start] + new + original.data[stop:], elements=())


def _header(original: Original, tag: int, vr: str, length: int) -> bytes:
    start = struct.pack(f"{original.order}HH", tag >> 16, tag & 0xFFFF)
    if original.implicit:
        return start + struct.pack("<L", length)
    if vr in LONG_VRS:
        return start + vr.encode() + struct.pack(f"{original.order}HL", 0, length)
    return start + vr.encode() + struct.pack(f"{original.order}H", min(length, 0xFFFF))


def _flip(chance: random.Random, original: Original) -> Original:
    data = bytearray(original.data)
    if not data:
        return original
    near = min(len(data), 4096)
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        place = chance.randrange(near if chance.random() < 0.6 else len(data))
        data[place] = chance.choice((chance.randrange(256), 0, 0xFF, data[place] ^ 1))
    return replace(original, data=bytes(data), elements=())


def _cut(chance: random.Random, original: Original) -> Original:
    # Of no bytes at all no fragment would be sent, and that is another fault: a silent peer.
    stop = max(2, chance.randrange(len(original.data) + 1))
    if chance.random() < 0.5:
        stop -= stop % 2
    return replace(original, data=original.data[:stop], elements=())


def _length(chance: random.Random, original: Original) -> Original | None:
    if not original.elements:
        return None
    one = chance.choice(original.elements)
    wide = original.implicit or one.vr in LONG_VRS
    wrong = chance.choice(
        (0, 1, one.length + 1, one.length + 2, max(0, one.length - 2), 0xFFFE, 0xFFFF)
        + ((0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0x80000000) if wide else ())
    )
    field = struct.pack(f"{original.order}{'L' if wide else 'H'}", wrong)
    return _with(original, one.value - len(field), one.value, field)


def _vr(chance: random.Random, original: Original) -> Original | None:
    if original.implicit or not original.elements:
        return None
    one = chance.choice(original.elements)
    other = chance.choice([*_VRS, "XX", "ZZ", "\0\0", "sq", "??"])
    return _with(original, one.start + 4, one.start + 6, other.encode())


def _duplicate(chance: random.Random, original: Original) -> Original | None:
    if not original.elements:
        return None
    one, place = chance.choice(original.elements), chance.choice(original.elements)
    at = chance.choice((one.start, one.value + one.length, place.start))
    copy = original.data[one.start : one.value + one.length]
    return _with(original, at, at, copy * chance.choice((1, 1, 1, 50)))


def _nested(chance: random.Random, original: Original) -> Original | None:
    """Put sequences in sequences, of undefined or of defined length."""
    if not original.elements:
        return None
    depth = chance.choice((2, 63, 64, 65, 200, 200, 1000, 5000))
    tag = chance.choice((0x00081140, 0x00081199, 0x00400275, 0x52009230))
    item, end = (
        struct.pack(f"{original.order}HHL", 0xFFFE, element, length)
        for element, length in ((0xE000, 0xFFFFFFFF), (0xE00D, 0))
    )
    finish = struct.pack(f"{original.order}HHL", 0xFFFE, 0xE0DD, 0)
    if chance.random() < 0.7:
        value = (_header(original, tag, "SQ", 0xFFFFFFFF) + item) * depth
        if chance.random() < 0.8:
            value += (end + finish) * depth
    else:
        value = b""
        for _ in range(min(depth, 1000)):
            inner = struct.pack(f"{original.order}HHL", 0xFFFE, 0xE000, len(value)) + value
            value = _header(original, tag, "SQ", len(inner)) + inner
    place = next((one for one in original.elements if one.tag > tag), original.elements[-1])
    return _with(original, place.start, place.start, value)


def _traversal(chance: random.Random, original: Original) -> Original | None:
    """Put paths in UIDs and texts, in the data set and in the command alike."""
    if not original.elements:
        return None
    everywhere = chance.random() < 0.3
    changed = original
    for one in reversed(original.elements):
        is_uid = one.vr == "UI" and one.tag in _UIDS
        if not (is_uid or one.vr in TEXT_VRS or one.vr in {"AE", "CS", "UI"}):
            continue
        if not everywhere and chance.random() < (0.6 if is_uid else 0.8):
            continue
        text = chance.choice(_TRAVERSALS)
        text = text[:64] if is_uid and chance.random() < 0.7 else text
        value = text.encode() + b" " * (len(text) % 2)
        if one.tag == 0x00080018:
            changed = replace(changed, sop_instance_uid=text)
        header = _header(original, one.tag, one.vr, len(value))
        changed = _with(changed, one.start, one.value + one.length, header + value)
    return changed


def _sizes(chance: random.Random, original: Original) -> Original | None:
    some = [one for one in original.elements if one.tag in _SIZES]
    if not some:
        return None
    changed = original
    for one in reversed(some):
        if chance.random() < 0.4:
            continue
        if one.vr == "IS":
            text = chance.choice((b"2147483647", b"-1", b"999999999999", b"0", b"1e9 "))
            value = text + b" " * (len(text) % 2)
        else:
            value = struct.pack(f"{original.order}H", chance.choice((0, 1, 2, 255, 32767, 65535)))
        header = _header(original, one.tag, one.vr, len(value))
        changed = _with(changed, one.start, one.value + one.length, header + value)
    return None if changed is original else changed


def _splice(chance: random.Random, original: Original) -> Original | None:
    other = chance.choice(corpus())
    if not other.data or not original.data:
        return None
    place, start = chance.randrange(len(original.data)), chance.randrange(len(other.data))
    return replace(original, data=original.data[:place] + other.data[start:], elements=())


def _codestream(chance: random.Random, original: Original) -> Original | None:
    """Have a JPEG, JPEG-LS or JPEG 2000 codestream declare another size than it holds."""
    data = original.data
    size = chance.choice((1800, 1800, 20000, 65500))
    wide = struct.pack(">HH", size, size)
    if (place := data.find(b"\xff\x4f\xff\x51")) >= 0:
        big = struct.pack(">LL", size, size)
        changed = data[: place + 8] + big + data[place + 16 :]
        # One tile over all of it, or tiles as they were.
        if chance.random() < 0.5:
            changed = changed[: place + 24] + big + changed[place + 32 :]
    else:
        marker = next(
            (
                at
                for mark in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7")
                if (at := data.find(mark, data.find(b"\xff\xd8"))) >= 0
            ),
            -1,
        )
        if marker < 0 or data.find(b"\xff\xd8") < 0:
            return None
        changed = data[: marker + 5] + wide + data[marker + 9 :]
    made = replace(original, data=changed)
    # In half of all, the header says the same.
    return declares(made, size) if chance.random() < 0.5 else replace(made, elements=())


def _rle_bomb(chance: random.Random, original: Original) -> Original | None:
    """Have a few bytes of run lengths expand to hundreds of megabytes."""
    if original.transfer_syntax_uid != RLE or not original.elements:
        return None
    place = original.data.rfind(b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff")
    if place < 0:
        return None
    runs = b"\x81\x00" * chance.choice((100_000, 400_000))
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + runs
    pixels = (
        original.data[place : place + 12]
        + struct.pack("<HHL", 0xFFFE, 0xE000, 0)
        + struct.pack("<HHL", 0xFFFE, 0xE000, len(frame))
        + frame
        + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    )
    made = replace(original, data=original.data[:place] + pixels)
    size = chance.choice((0, 1500, 1500, 65535))
    return declares(made, size) if size else replace(made, elements=())


def _deflate_bomb(chance: random.Random, original: Original) -> Original | None:
    """Have a deflated data set expand a thousandfold, in one value or in pixels."""
    if original.transfer_syntax_uid != EXPLICIT or not original.elements:
        return None
    size = chance.choice((32, 256, 600)) << 20
    tag, vr = chance.choice(((0x7FE00010, "OW"), (0x00420011, "OB"), (0x00080081, "UT")))
    place = next((one for one in original.elements if one.tag >= tag), None)
    at = len(original.data) if place is None else place.start
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(original.data[:at] + _header(original, tag, vr, size))
    block = bytes(1 << 20)
    packed += b"".join(packer.compress(block) for _ in range(size >> 20))
    packed += packer.compress(original.data[at:]) + packer.flush()
    packed += b"\0" * (len(packed) % 2)
    return replace(original, data=packed, transfer_syntax_uid=DEFLATED, elements=())


_CHANGES: dict[Kind, Callable[[random.Random, Original], Original | None]] = {
    Kind.FLIP: _flip,
    Kind.CUT: _cut,
    Kind.LENGTH: _length,
    Kind.VR: _vr,
    Kind.DUPLICATE: _duplicate,
    Kind.NESTED: _nested,
    Kind.TRAVERSAL: _traversal,
    Kind.SIZES: _sizes,
    Kind.SPLICE: _splice,
    Kind.CODESTREAM: _codestream,
    Kind.RLE_BOMB: _rle_bomb,
    Kind.DEFLATE_BOMB: _deflate_bomb,
}
