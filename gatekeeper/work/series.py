"""A study's files into series, and a series into the volumes it holds.

Objects that are no images (reports, presentation states, raw data) are set aside with their kind;
what is wrong with a series is kept beside it in one sentence and stops nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from gatekeeper.errors import UnreadableSeries
from gatekeeper.identifiers import Uid
from gatekeeper.results.assessment import SourceSeries, SourceSlice
from gatekeeper.work.geometry import Stack, stacks
from gatekeeper.work.messages import ReceivedFile
from gatekeeper.work.pixels import check_format, decode_stack, is_inverted
from gatekeeper.work.planes import Image, images_of
from gatekeeper.work.protocol import (
    Protocol,
    device_name,
    protocol,
    protocol_name,
    skip_reason,
)
from gatekeeper.work.source import Source, quiet, read_source
from gatekeeper.work.values import text
from models.volume import Volume

_LOSSY_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # JPEG Baseline
        "1.2.840.10008.1.2.4.51",  # JPEG Extended
        "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedSeries:
    """One series as received.

    Attributes:
        series_instance_uid: as recorded at receipt.
        sources: every file that could be read, sorted by SOP Instance UID.
        images: those to be assessed.
        problem: why the series cannot be read honestly; None when nothing is wrong so far.
        skipped: why nothing in it is for assessment; None when something is.
    """

    series_instance_uid: Uid
    sources: tuple[Source, ...]
    images: tuple[Source, ...]
    problem: str | None = None
    skipped: str | None = None

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """How its images were acquired; more than one when their headers differ."""
        with quiet():
            return tuple(dict.fromkeys(protocol(source.header) for source in self.images))

    def source_series(self) -> SourceSeries:
        """Return the series for a result that has no volume."""
        headers = tuple(source.header for source in self.sources)
        with quiet():
            return SourceSeries(self.series_instance_uid, headers, (), _lossy(self.sources))


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One volume of a series, not decoded yet."""

    series: ReceivedSeries
    stack: Stack
    images: tuple[Image, ...]
    """In slice order."""

    @property
    def protocol(self) -> Protocol:
        """How this volume was acquired."""
        with quiet():
            return protocol(self.images[0].source.header)

    @property
    def voxels(self) -> int:
        """Voxels as declared."""
        plane = self.images[0].plane
        return len(self.images) * plane.rows * plane.columns

    def source_series(self) -> SourceSeries:
        """Return the series with this volume's slices."""
        sources = {image.source.sop_instance_uid: image.source for image in self.images}
        headers = tuple(sources[uid].header for uid in sorted(sources))
        with quiet():
            shown = {source: _as_decoded(source) for source in sources.values()}
            lossy = _lossy(tuple(sources.values()))
        slices = tuple(SourceSlice(shown[image.source], image.frame) for image in self.images)
        return SourceSeries(self.series.series_instance_uid, headers, slices, lossy)

    def decode(self, maximum_voxels: int) -> Volume:
        """Return the volume.

        Raises:
            UnreadableSeries: when the pixels cannot be read honestly.
        """
        acquired = self.protocol
        with quiet():
            array = decode_stack(self.images, acquired.modality, maximum_voxels)
            header = self.images[0].source.header
            device, by_protocol = device_name(header), protocol_name(header)
        return Volume(
            array=array,
            affine=self.stack.affine,
            modality=acquired.modality,
            body_part=acquired.body_part,
            sequence=acquired.sequence,
            slice_ids=tuple(_slice_id(image) for image in self.images),
            device=device,
            protocol=by_protocol,
        )


def read_study(files: Sequence[ReceivedFile], scratch: Path) -> tuple[ReceivedSeries, ...]:
    """Return the study's series, those with the most images first.

    Args:
        files: the study's files in any order.
        scratch: folder for inflated copies.

    Raises:
        ChildFailed, OSError: when a file cannot be read from the spool as it was received.
    """
    groups: dict[str, list[ReceivedFile]] = defaultdict(list)
    for file in files:
        groups[file.series_instance_uid].append(file)
    found = [read_series(uid, groups[uid], scratch) for uid in sorted(groups)]
    return tuple(sorted(found, key=lambda series: -len(series.images)))


def read_series(uid: str, files: Sequence[ReceivedFile], scratch: Path) -> ReceivedSeries:
    """Return one series read up to its pixels; see `read_study`."""
    problems: list[str] = []
    sources: list[Source] = []
    kinds: set[str] = set()
    images: list[tuple[Source, str | None]] = []
    if len({file.sop_instance_uid for file in files}) < len(files):
        problems.append("Two different contents were received under one SOP Instance UID.")
    for file in sorted(files, key=lambda item: (item.sop_instance_uid, item.digest)):
        kind = UID(file.sop_class_uid).name
        is_image = "Image Storage" in kind
        if not is_image:
            kinds.add(kind if kind != file.sop_class_uid else "objects of a private class")
        try:
            with quiet():
                source = read_source(file, scratch)
                reason = skip_reason(source.header)
        except UnreadableSeries as error:
            if is_image:
                problems.append(str(error))
            continue
        sources.append(source)
        if is_image:
            images.append((source, reason))
    kept = tuple(source for source, reason in images if reason is None)
    reasons = sorted({reason for _, reason in images if reason is not None} | kinds)
    return ReceivedSeries(
        series_instance_uid=Uid(uid),
        sources=tuple(sources),
        images=kept,
        problem=problems[0] if problems else None,
        skipped=", ".join(reasons) if reasons and not kept else None,
    )


def candidates(series: ReceivedSeries) -> tuple[Candidate, ...]:
    """Return the volumes that the series' images make.

    Raises:
        UnreadableSeries: naming the rule that they break.
    """
    with quiet():
        images = [image for source in series.images for image in images_of(source)]
    found = stacks([image.plane for image in images])
    if len(found) > 1 and any(image.frame is not None for image in images):
        raise UnreadableSeries(
            f"{len(found)} volumes in one multi-frame series, told apart by "
            f"{found[0].key.split()[0]}; only one is read."
        )
    return tuple(
        Candidate(series, stack, tuple(images[index] for index in stack.order)) for stack in found
    )


def check_complete(series: ReceivedSeries) -> None:
    """Raise `IncompleteSeries` when slices or pixel data are missing; decodes nothing.

    Raises:
        UnreadableSeries: for any other rule that the series breaks.
    """
    with quiet():
        for source in series.images:
            check_format(source)
    candidates(series)


def _as_decoded(source: Source) -> Dataset:
    """Return the header that goes with the decoded values.

    Where MONOCHROME1 was turned round in decoding, the values are MONOCHROME2 now, and the
    header's windows are for values that are no more.
    """
    if not is_inverted(source.header):
        return source.header
    header = Dataset()
    header.update(source.header)
    windows = ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")
    for keyword in ("PhotometricInterpretation", *windows):
        if keyword in header:
            # The element is shared with the source: left out here, not changed.
            delattr(header, keyword)
    header.PhotometricInterpretation = "MONOCHROME2"
    return header


def _slice_id(image: Image) -> str:
    uid = image.source.sop_instance_uid
    return uid if image.frame is None else f"{uid}#{image.frame}"


def _lossy(sources: Sequence[Source]) -> bool:
    return any(
        text(source.header, "LossyImageCompression") == "01"
        or source.transfer_syntax in _LOSSY_SYNTAXES
        for source in sources
    )
