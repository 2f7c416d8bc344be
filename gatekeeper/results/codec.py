"""Lossless compression of pictures, for nodes that are configured to take it.

Pixels come back exactly as they were, so the object keeps its SOP Instance UID (PS3.3 C.7.6.1.1.5:
nothing is lost, and LossyImageCompression stays what it was). RLE Lossless (PS3.5 Annex G) has the
RGB planes one after another and is read by everything that was tried. JPEG 2000 Lossless (PS3.5
A.4.4) decorrelates the colours reversibly, which YBR_RCT says; it is smaller, and shown in black by
some viewers.

The encoder is named and not left to chance, so that the same picture gives the same bytes. A
rerun after the encoder's library was updated may give others, which decode to the same picture.
"""

from __future__ import annotations

from copy import copy, deepcopy

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

SYNTAXES: tuple[UID, ...] = (ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless)
"""Transfer syntaxes that pictures can be written in; the first is uncompressed."""

_ENCODER = "pylibjpeg"


def compressed(dataset: Dataset, transfer_syntax: str) -> Dataset:
    """Return a picture in another transfer syntax; the picture itself is not changed.

    Args:
        dataset: an uncompressed picture with its file meta information.
        transfer_syntax: one of `SYNTAXES`.

    Raises:
        ValueError: if the syntax is not one of them, or the data set is no uncompressed picture.
    """
    syntax = UID(transfer_syntax)
    if syntax not in SYNTAXES:
        raise ValueError(f"pictures are not written in {syntax.name}")
    if "PixelData" not in dataset or dataset.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        raise ValueError("only an uncompressed picture can be compressed")
    if syntax == ExplicitVRLittleEndian:
        return dataset
    target = Dataset()
    target.update(dataset)
    target.file_meta = deepcopy(dataset.file_meta)
    for keyword in ("PhotometricInterpretation", "PixelData"):
        # Elements are shared with the picture: replaced here, not changed.
        target.add(copy(dataset[keyword]))
    if syntax == JPEG2000Lossless and target.SamplesPerPixel == 3:
        target.PhotometricInterpretation = "YBR_RCT"
    target.compress(syntax, encoding_plugin=_ENCODER, generate_instance_uid=False)
    return target
