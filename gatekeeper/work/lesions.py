"""The child's part in lesions: regions of a scan into probabilities, each failure into a sentence.

Nothing here decides, and nothing here costs a study its verdict: an object that cannot be read, a
region that cannot be scored and a bundle that cannot be used are each named and passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from gatekeeper.errors import LesionRefused, UnreadableSeries
from gatekeeper.lesions.finding import LesionFinding, Origin, ScoredLesion, not_scored
from gatekeeper.work.lesion_request import LesionRequest
from gatekeeper.work.protocol import Protocol, is_own_result
from gatekeeper.work.series import ReceivedSeries
from gatekeeper.work.source import Source, quiet
from gatekeeper.work.values import MALFORMED, text
from models.errors import ModelError, NotAssessable
from models.finding import Finding, Region
from models.regions import measured
from models.volume import Volume

if TYPE_CHECKING:
    from gatekeeper.lesions.drawn import Drawn
    from models.lesion.model import LesionModel

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
MOST_OBJECTS = 50
"""Segmentations and structure sets of one study that are read."""
_MOST_PIECES = 50
_BUNDLE = "the lesions"


class LesionScorer:
    """A lesion bundle put to one study; loaded when there is something to score.

    Args:
        request: bundle and limit.
        received: the study's series, with the objects that may hold regions.
        maximum_voxels: pixels decoded of one object.
    """

    def __init__(
        self, request: LesionRequest, received: Sequence[ReceivedSeries], maximum_voxels: int
    ) -> None:
        self._request = request
        self._maximum_voxels = maximum_voxels
        self._used: set[str] = set()
        self._problems: dict[str, None] = {}
        self._drawn = list(self._read(received))

    @property
    def problems(self) -> tuple[str, ...]:
        """What of the study could not be scored, in sentences, each once."""
        unused = [
            not_scored(one.origin, "drawn on no series of this study that is scored")
            for one in self._drawn
            if one.reference not in self._used
        ]
        return tuple(dict.fromkeys([*self._problems, *unused]))

    def drawn_on(self, series: ReceivedSeries) -> bool:
        """Return whether something came with the study that was drawn on such a series."""
        return any(
            self._drawn_on(str(series.series_instance_uid), source.header, one)
            for source in series.images[:1]
            for one in self._drawn
        ) and any(_fits(one) for one in series.protocols)

    def score(
        self, series: str, header: Any, protocol: Protocol, volume: Volume, finding: Finding | None
    ) -> LesionFinding | None:
        """Return what is said of the lesions of a volume; None where there is none.

        Args:
            series: its Series Instance UID.
            header: of one of its images.
            protocol: how it was acquired.
            volume: as received.
            finding: the detector's, with its regions; None without.
        """
        if not _fits(protocol):
            return None
        drawn = [one for one in self._drawn if self._drawn_on(series, header, one)]
        regions = finding.regions if finding is not None and protocol.body_part else ()
        if not drawn and not regions:
            return None
        self._used.update(one.reference for one in drawn)
        try:
            model = self._model
        except ModelError as error:
            self._problems[not_scored(_BUNDLE, f"the bundle cannot be used: {error}")] = None
            return None
        places = _Places(volume, model.config.size)
        for one in drawn:
            places.add_drawn(one)
        for region in regions:
            voxels = np.argwhere(region.mask) + region.mask_offset
            places.add(Origin.DETECTOR, region.label, "", voxels)
        return self._scored(model, volume, places)

    def _scored(self, model: LesionModel, volume: Volume, places: _Places) -> LesionFinding:
        from models.lesion.incoming import patches

        lesions: list[ScoredLesion] = []
        for origin, within, reference, voxels in places.found:
            if len(lesions) == self._request.maximum:
                places.leave(origin, f"beyond the limit of {self._request.maximum}")
                continue
            try:
                stacks = patches(volume, voxels, model.config)
                said = model.predict(stacks)
            except NotAssessable as refusal:
                places.leave(origin, refusal.reason)
                continue
            except MALFORMED as error:
                places.leave(origin, f"the model failed on it ({type(error).__name__})")
                continue
            number = len(lesions) + 1
            lesions.append(
                ScoredLesion(
                    number=number,
                    origin=origin,
                    within=within,
                    reference=reference,
                    region=_region(volume, number, voxels),
                    probability=said.probability,
                    low=said.low,
                    high=said.high,
                    inside=said.inside,
                    patches=len(stacks),
                )
            )
        calibration = model.calibration
        return LesionFinding(
            bundle=model.name,
            bundle_digest=model.digest,
            trial=model.trial,
            limits=model.limits,
            prevalence=calibration.prevalence,
            patients=calibration.patients,
            brier=calibration.brier,
            expected_error=calibration.expected_error,
            lesions=tuple(lesions),
            left_out=tuple(
                not_scored(f"{count} from {origin}", why)
                for (origin, why), count in places.left_out.items()
            ),
        )

    @cached_property
    def _model(self) -> LesionModel:
        from models.lesion.model import load

        return load(Path(self._request.bundle))

    def _drawn_on(self, series: str, header: Any, drawn: Drawn) -> bool:
        return drawn.on(series, text(header, "FrameOfReferenceUID"))

    def _read(self, received: Sequence[ReceivedSeries]) -> Iterator[Drawn]:
        """Yield what was drawn in the study's objects, by their UIDs."""
        objects = [
            source
            for series in received
            for source in series.sources
            if text(source.header, "SOPClassUID") in (SEGMENTATION, STRUCTURE_SET)
            and not is_own_result(source.header)
        ]
        objects.sort(key=lambda source: source.sop_instance_uid)
        for source in objects[:MOST_OBJECTS]:
            segmentation = text(source.header, "SOPClassUID") == SEGMENTATION
            what = Origin.SEGMENTATION if segmentation else Origin.STRUCTURE_SET
            try:
                with quiet():
                    yield from self._regions(source, segmentation=segmentation)
            except LesionRefused as refusal:
                self._problems[not_scored(what, str(refusal))] = None
            except UnreadableSeries as error:
                self._problems[not_scored(what, str(error).rstrip("."))] = None
            except (*MALFORMED, OSError, MemoryError) as error:
                why = f"not as the standard has it ({type(error).__name__})"
                self._problems[not_scored(what, why)] = None
        if len(objects) > MOST_OBJECTS:
            what = f"{len(objects) - MOST_OBJECTS} objects"
            self._problems[not_scored(what, f"beyond the limit of {MOST_OBJECTS}")] = None

    def _regions(self, source: Source, *, segmentation: bool) -> list[Drawn]:
        if segmentation:
            from gatekeeper.lesions.segments import segments

            return list(segments(source, self._maximum_voxels))
        from gatekeeper.lesions.structures import structures

        return list(structures(source))


class _Places:
    """Where lesions lie in a volume, and what is left out and why."""

    def __init__(self, volume: Volume, size: int) -> None:
        from models.lesion.lesions import PIXEL_MM

        self.found: list[tuple[Origin, int, str, NDArray[np.intp]]] = []
        self.left_out: Counter[tuple[Origin, str]] = Counter()
        self._volume = volume
        self._side = size * PIXEL_MM

    def add_drawn(self, drawn: Drawn) -> None:
        """Add what was drawn, as one lesion, or as its pieces where it is too large for one."""
        try:
            voxels = drawn.voxels(self._volume)
        except LesionRefused as refusal:
            self.leave(drawn.origin, str(refusal))
            return
        except (*MALFORMED, MemoryError) as error:
            self.leave(drawn.origin, f"not as the standard has it ({type(error).__name__})")
            return
        for piece in self._pieces(voxels):
            self.add(drawn.origin, drawn.number, drawn.reference, piece)

    def add(self, origin: Origin, number: int, reference: str, voxels: NDArray[np.intp]) -> None:
        """Add one lesion, unless it is larger than what the model sees of it."""
        if self._fits(voxels):
            self.found.append((origin, number, reference, voxels))
        else:
            self.leave(origin, f"larger than the {self._side:.0f} mm that the model sees")

    def leave(self, origin: Origin, why: str) -> None:
        """Count one that is not scored."""
        self.left_out[origin, why.rstrip(". ")] += 1

    def _fits(self, voxels: NDArray[np.intp]) -> bool:
        extent = (np.ptp(voxels, axis=0) + 1) * self._volume.spacing
        return bool((extent <= self._side).all())

    def _pieces(self, voxels: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        from scipy import ndimage

        if self._fits(voxels):
            return [voxels]
        first = voxels.min(axis=0)
        mask = np.zeros(np.ptp(voxels, axis=0) + 1, np.bool_)
        mask[tuple((voxels - first).T)] = True
        neighbours = np.ones((3, 3, 3))
        labels, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(mask, neighbours))
        if count > _MOST_PIECES:
            return [voxels]
        return [np.argwhere(labels == number) + first for number in range(1, count + 1)]


def _fits(protocol: Protocol) -> bool:
    """Return whether a series is a CT of the chest, or of what it does not say."""
    return protocol.modality == "CT" and protocol.body_part in ("CHEST", "")


def _region(volume: Volume, number: int, voxels: NDArray[np.intp]) -> Region:
    """Return a lesion as a region of the scan, its values in Hounsfield units."""
    first, last = voxels.min(axis=0), voxels.max(axis=0) + 1
    mask = np.zeros(last - first, np.bool_)
    mask[tuple((voxels - first).T)] = True
    box = tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))
    offset = (int(first[0]), int(first[1]), int(first[2]))
    return measured(volume, number, mask, offset, volume.array[box])
