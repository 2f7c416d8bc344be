"""Pixels of a stack, decoded into one float32 array that is allocated once.

What the headers and codestreams declare is checked before anything is decoded; what the decoders
return is checked after. One frame at a time is in memory beside the array.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID, RLELossless

from gatekeeper.errors import UnreadableSeries
from gatekeeper.work.codestream import declared_size, has_end
from gatekeeper.work.planes import Image
from gatekeeper.work.source import UNDEFINED, BoundedReader, PixelElement, Source
from gatekeeper.work.values import MALFORMED, IncompleteSeries, number, text, whole

AIR_HU = -1000.0
"""What padding becomes in CT; elsewhere it becomes 0."""

_KEPT_MODALITIES = frozenset({"CT", "PT"})
_BITS = {
    "PixelData": (8, 16, 32),
    "FloatPixelData": (32,),
    "DoubleFloatPixelData": (64,),
}


@dataclass(frozen=True, slots=True)
class Format:
    """How one file's stored values are laid out, checked.

    Attributes:
        rows, columns, frames: dimensions.
        bits_allocated, bits_stored: of one stored value (PS3.5 8.1.1).
        signed: PixelRepresentation 1.
        inverted: MONOCHROME1 of a modality whose values are not physical.
        padding: lowest and highest stored value that is no image, None when not stated.
    """

    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool
    padding: tuple[int, int] | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame."""
        return self.rows * self.columns * self.bits_allocated // 8


def decode_stack(
    images: Sequence[Image], modality: str, maximum_voxels: int
) -> NDArray[np.float32]:
    """Return the images' values, (slices, rows, columns), in the order given.

    Args:
        images: planes of the same matrix.
        modality: DICOM Modality.
        maximum_voxels: the most that may be declared.

    Raises:
        UnreadableSeries: when more is declared, or a file's pixel data is truncated, of a kind
            that is not read, not what its header says, or not finite.
        OSError: when a file cannot be read.
    """
    first = images[0].plane
    check_voxels(len(images) * first.rows * first.columns, maximum_voxels)
    targets: dict[Source, list[tuple[int, Image]]] = defaultdict(list)
    for index, image in enumerate(images):
        targets[image.source].append((index, image))
    formats = {source: check_format(source) for source in targets}
    array = np.empty((len(images), first.rows, first.columns), dtype=np.float32)
    for source, members in targets.items():
        frames = {(image.frame or 1) - 1: (index, image) for index, image in members}
        for number_, stored in _stored_frames(source, formats[source], sorted(frames)):
            index, image = frames[number_]
            _fill(array[index], stored, formats[source], image, modality)
    if not np.isfinite(array).all():
        raise UnreadableSeries("Pixel values are not finite.")
    return array


def check_voxels(voxels: int, maximum_voxels: int) -> None:
    """Raise `UnreadableSeries` when so many voxels are over the limit."""
    if voxels > maximum_voxels:
        raise UnreadableSeries(
            f"Too large: {voxels:,} voxels are declared and {maximum_voxels:,} are allowed."
        )


def check_format(source: Source) -> Format:
    """Return how the file's pixels are laid out; nothing is decoded.

    Raises:
        UnreadableSeries: naming what is missing, not read, or truncated.
    """
    header, pixels = source.header, source.pixels
    if pixels is None:
        raise IncompleteSeries("An image has no pixel data.")
    layout = _format(source, pixels)
    if text(header, "SamplesPerPixel") not in ("", "1"):
        raise UnreadableSeries("Pixels are in colour.")
    if text(header, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnreadableSeries("PhotometricInterpretation is neither MONOCHROME1 nor MONOCHROME2.")
    if layout.bits_allocated not in _BITS[pixels.keyword]:
        raise UnreadableSeries(f"{layout.bits_allocated} bits allocated are not read.")
    if not 1 <= layout.bits_stored <= layout.bits_allocated:
        raise UnreadableSeries("BitsStored is not between 1 and BitsAllocated.")
    if "ModalityLUTSequence" in header:
        raise UnreadableSeries("A modality lookup table is not read; only slope and intercept are.")
    if pixels.length == UNDEFINED:
        _check_fragments(source, pixels)
    else:
        expected = layout.frame_bytes * layout.frames
        held = min(pixels.length, pixels.available)
        if held < expected:
            raise IncompleteSeries(
                f"Truncated: the pixel data holds {held:,} of {expected:,} bytes."
            )
    return layout


def _format(source: Source, pixels: PixelElement) -> Format:
    header = source.header
    bits_allocated = whole(header, "BitsAllocated") or 0
    bits_stored = whole(header, "BitsStored") or bits_allocated
    signed = whole(header, "PixelRepresentation") == 1
    return Format(
        rows=whole(header, "Rows") or 0,
        columns=whole(header, "Columns") or 0,
        frames=whole(header, "NumberOfFrames") or 1,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        signed=signed,
        inverted=is_inverted(header),
        padding=_padding(source, bits_allocated, signed) if pixels.keyword == "PixelData" else None,
    )


def is_inverted(header: Dataset) -> bool:
    """Tell whether larger stored values are darker tissue, which decoding turns round.

    In CT and PET values are physical, and MONOCHROME1 says only how they are displayed.
    """
    return (
        text(header, "PhotometricInterpretation") == "MONOCHROME1"
        and text(header, "Modality") not in _KEPT_MODALITIES
    )


def _padding(source: Source, bits: int, signed: bool) -> tuple[int, int] | None:
    """Return the range of PixelPaddingValue and its limit (PS3.3 C.7.5.1.1.2)."""
    low = number(source.header, "PixelPaddingValue")
    if low is None:
        return None
    high = number(source.header, "PixelPaddingRangeLimit")
    # The element's VR is 'US or SS' and often written as the wrong one: -2000 as 63536.
    ends = [_as_stored(int(end), bits, signed) for end in (low, low if high is None else high)]
    return min(ends), max(ends)


def _as_stored(value: int, bits: int, signed: bool) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _check_fragments(source: Source, pixels: PixelElement) -> None:
    """Walk the items of encapsulated pixel data (PS3.5 A.4), reading none of their values."""
    with source.path.open("rb") as file:
        reader = BoundedReader(file)
        reader.seek(pixels.offset)
        count = 0
        while True:
            head = reader.read(8)
            length = int.from_bytes(head[4:], "little")
            if len(head) < 8:
                raise IncompleteSeries("Truncated: the encapsulated pixel data has no end.")
            if head[:4] == b"\xfe\xff\xdd\xe0":
                break
            if head[:4] != b"\xfe\xff\x00\xe0":
                raise UnreadableSeries("The encapsulated pixel data is not a sequence of items.")
            if length > reader.left:
                raise IncompleteSeries(
                    f"Truncated: a fragment declares {length:,} bytes and {reader.left:,} are left."
                )
            reader.seek(length, 1)
            count += 1
    if count < 2:
        raise IncompleteSeries("Truncated: the encapsulated pixel data has no fragment.")


def _stored_frames(
    source: Source, layout: Format, wanted: Sequence[int]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (frame index, stored values) of the wanted frames, in ascending order."""
    pixels = source.pixels
    if pixels is None:
        raise IncompleteSeries("An image has no pixel data.")
    syntax = UID(source.transfer_syntax)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnreadableSeries(
            f"Pixel data in transfer syntax {syntax.name} is not read."
        ) from None
    encapsulated = pixels.length == UNDEFINED
    if encapsulated != syntax.is_encapsulated:
        raise UnreadableSeries("The pixel data is not encoded as its transfer syntax says.")
    codes = _compressed if encapsulated else _native
    try:
        options = as_pixel_options(source.header, number_of_frames=1, pixel_keyword=pixels.keyword)
        options.pop("extended_offsets", None)
        if pixels.vr:
            options["pixel_vr"] = pixels.vr
        for index, code in codes(source, pixels, layout, wanted):
            yield index, _decode(decoder, code, layout, options)
    except MALFORMED as error:
        raise UnreadableSeries(
            f"Pixel data in {syntax.name} cannot be decoded ({type(error).__name__})."
        ) from None


def _decode(decoder: Decoder, code: bytes, layout: Format, options: dict[str, Any]) -> NDArray[Any]:
    frame, _ = decoder.as_array(code, index=0, raw=True, **options)
    if frame.shape != (layout.rows, layout.columns):
        raise UnreadableSeries("A decoded frame is not of the declared size.")
    return frame


def _native(
    source: Source, pixels: PixelElement, layout: Format, wanted: Iterable[int]
) -> Iterator[tuple[int, bytes]]:
    size = layout.frame_bytes
    with source.path.open("rb") as file:
        for index in wanted:
            file.seek(pixels.offset + index * size)
            yield index, file.read(size)


def _compressed(
    source: Source, pixels: PixelElement, layout: Format, wanted: Iterable[int]
) -> Iterator[tuple[int, bytes]]:
    """Yield each wanted frame encapsulated alone, its declared size checked."""
    chosen = set(wanted)
    found = 0
    with source.path.open("rb") as file:
        reader = BoundedReader(file)
        reader.seek(pixels.offset)
        frames = generate_frames(
            cast(BinaryIO, reader),
            number_of_frames=layout.frames,
            extended_offsets=as_pixel_options(source.header).get("extended_offsets"),
        )
        for index, code in enumerate(frames):
            if index in chosen:
                found += 1
                _check_frame(source, code, layout)
                yield index, encapsulate([code], has_bot=False)
    if found < len(chosen):
        raise IncompleteSeries(
            f"Truncated: the pixel data holds {found} of {layout.frames} frames."
        )


def _check_frame(source: Source, code: bytes, layout: Format) -> None:
    if source.transfer_syntax == RLELossless:
        # A literal run of 128 bytes takes 129, so honest RLE never doubles a frame (PS3.5 G.3).
        if len(code) > 2 * layout.frame_bytes + 1024:
            raise UnreadableSeries("A run-length frame is longer than its pixels.")
        return
    if not has_end(code):
        # Decoders make up what is missing and say nothing.
        raise IncompleteSeries("Truncated: a compressed frame has no end.")
    size = declared_size(code)
    if size is None:
        raise UnreadableSeries("A compressed frame does not declare its size.")
    if size != (layout.rows, layout.columns, 1):
        raise UnreadableSeries(
            f"A compressed frame declares {size[0]} x {size[1]} pixels where the header declares "
            f"{layout.rows} x {layout.columns}."
        )


def _fill(
    target: NDArray[np.float32], stored: NDArray[Any], layout: Format, image: Image, modality: str
) -> None:
    """Write one frame's modality values (PS3.3 C.11.1) into `target`."""
    target[...] = stored
    if layout.inverted:
        # The complement within the stored range: signed values -2^(b-1)..2^(b-1)-1 map to -1 - v.
        np.subtract(-1.0 if layout.signed else 2.0**layout.bits_stored - 1, target, out=target)
    if image.slope != 1.0:
        target *= np.float32(image.slope)
    if image.intercept:
        target += np.float32(image.intercept)
    if layout.padding is not None:
        low, high = layout.padding
        outside = (stored >= low) & (stored <= high)
        target[outside] = AIR_HU if modality == "CT" else 0.0
