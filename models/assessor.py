"""Assessor: a bundle put to one scan, answered as a Finding.

Every detector goes the same way: find the anatomy, sample it on the detector's grid, judge, turn
the map's distances into decades of surprise, the levels' scores into one deciding score, and that
into a p-value against the reference subjects. A bundle of several members asks each of them; their
maps are averaged, and the largest standardised score of the deciding levels decides.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.brain_extraction import BrainNet
from models.calibration import Calibration, Surprise, conformal_p_value
from models.defects import defects
from models.finding import Finding, Level
from models.grid import stretched
from models.prepare import GridConfig, Located, Prepared, located, normalised, resampled
from models.regions import regions
from models.registry import BundleInfo
from models.scoring import Judgement, Scorer
from models.volume import Volume

MAP_UNIT = "decades of surprise: 3 = reached by 1 in 1,000 normal voxels"
MAP_MAXIMUM = 4.0
"""Top of the colour bar, in decades; values above it rank, and are shown as this."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One detector of a bundle, with what makes its answer comparable.

    Attributes:
        name: in the bundle; prefixes its levels when there are several members.
        grid: its settings, of which the working grid is a part.
        scorer: the fitted detector.
        questions: its levels, each with what it asks.
        surprise: its map's scale.
        map_weight: its part in the bundle's map; 0 for none.
        normal_map: mean and deviation of the map at each place in normal scans, each
            (levels, rows, columns) on a coarser grid; None where places are not told apart.
    """

    name: str
    grid: GridConfig
    scorer: Scorer
    questions: Mapping[str, str]
    surprise: Surprise
    map_weight: float
    normal_map: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def judge(self, prepared: Prepared) -> Judgement:
        """Return the scorer's answer, the map standardised by place where that was learned."""
        judgement = self.scorer.judge(prepared)
        return Judgement(
            judgement.scores, standardised_map(judgement.map, prepared.brain, self.normal_map)
        )


def standardised_map(
    map: NDArray[np.float32],
    inside: NDArray[np.bool_],
    normal_map: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
) -> NDArray[np.float32]:
    """Return `map` as deviations from what is normal at each place; 0 outside."""
    if normal_map is None:
        return map
    mean, deviation = (stretched(part, map.shape) for part in normal_map)
    return np.where(inside, (map - mean) / deviation, 0.0).astype(np.float32)


def level_name(member: str, level: str, members: int) -> str:
    """Return the name of a level in a bundle of so many members."""
    return level if members == 1 else f"{member}.{level}"


class Assessor:
    """`models.detector.Detector` over the members of a bundle.

    Args:
        info: the bundle.
        members: at least one, all for the same anatomy.
        calibrations: the first is the bundle's own reference; further ones are of one device and
            protocol each, and are used for scans that name the same.
        extractor: the brain extraction network.
    """

    def __init__(
        self,
        info: BundleInfo,
        members: Sequence[Member],
        calibrations: Sequence[Calibration],
        extractor: BrainNet,
    ) -> None:
        self.info = info
        self.members = tuple(members)
        self.calibrations = tuple(calibrations)
        self._extractor = extractor

    @property
    def calibration(self) -> Calibration:
        """The calibration by the bundle's own reference scans."""
        return self.calibrations[0]

    def calibration_for(self, volume: Volume) -> Calibration:
        """Return the calibration of the scan's device and protocol, else the bundle's own."""
        for one in self.calibrations[1:]:
            if (one.device, one.protocol) == (volume.device, volume.protocol):
                return one
        return self.calibration

    def located(self, volume: Volume) -> Located:
        """Return the scan with its anatomy found; see `models.prepare.located`."""
        anatomy = self.members[0].grid.anatomy
        return located(volume, anatomy, self._extractor)

    def prepared(self, found: Located, member: int = 0) -> Prepared:
        """Return a located scan as a member sees it: on its grid, intensities as they are."""
        return resampled(found, self.members[member].grid)

    def scores(self, volume: Volume) -> dict[str, float]:
        """Return every level's raw score, for calibration.

        Raises:
            NotAssessable: if the scan cannot be judged.
        """
        found = self.located(volume)
        result: dict[str, float] = {}
        for index, member in enumerate(self.members):
            judgement = member.judge(normalised(self.prepared(found, index), member.grid))
            result |= self._named(member, judgement)
        return result

    def detect(self, volume: Volume) -> Finding:
        """Return how far `volume` departs from the reference; see `models.detector.Detector`."""
        clock = _Clock()
        wrong = defects(volume)
        tolerated = self.info.manifest["tolerated_defects"]
        clock.lap("check")
        found = self.located(volume)
        clock.lap("locate")
        scores: dict[str, float] = {}
        surprise = np.zeros(volume.array.shape, dtype=np.float32)
        window = (0.0, 1.0)
        total = sum(member.map_weight for member in self.members)
        for index, member in enumerate(self.members):
            prepared = self.prepared(found, index)
            if index == 0:
                window = _display_window(prepared)
            seen = normalised(prepared, member.grid)
            clock.lap("prepare")
            judgement = member.judge(seen)
            scores |= self._named(member, judgement)
            clock.lap(member.name)
            if member.map_weight > 0:
                decades = np.where(seen.brain, member.surprise(judgement.map), 0.0)
                share = np.float32(member.map_weight / total)
                surprise += share * prepared.to_source(decades.astype(np.float32))
                clock.lap("map")
        calibration = self.calibration_for(volume)
        smallest = self.members[0].grid.smallest_region_ml * 1000
        places = regions(volume, surprise, calibration.map_threshold, smallest)
        clock.lap("regions")
        combined = calibration.combined(scores)
        return Finding(
            score=combined,
            p_value=conformal_p_value(combined, calibration.combined_scores),
            levels=tuple(
                _level(name, question, scores[name], calibration)
                for name, question in self.questions.items()
            ),
            map=surprise,
            map_unit=MAP_UNIT,
            map_threshold=calibration.map_threshold,
            map_maximum=MAP_MAXIMUM,
            regions=places,
            display_window=window,
            detector=self.info.detector,
            profile=self.info.name,
            bundle_version=self.info.version,
            model_digest=self.info.digest,
            calibration_digest=calibration.digest,
            calibration_description=calibration.description,
            milliseconds=clock.milliseconds,
            defects=tuple(one.sentence for one in wrong if one.check not in tolerated),
            remarks=tuple(one.sentence for one in wrong if one.check in tolerated),
            site_calibrated=calibration is not self.calibration,
        )

    @property
    def questions(self) -> dict[str, str]:
        """Every level with what it asks."""
        return {
            level_name(member.name, level, len(self.members)): question
            for member in self.members
            for level, question in member.questions.items()
        }

    def _named(self, member: Member, judgement: Judgement) -> dict[str, float]:
        return {
            level_name(member.name, level, len(self.members)): score
            for level, score in judgement.scores.items()
        }


def _level(name: str, question: str, score: float, calibration: Calibration) -> Level:
    known = calibration.scores[name]
    return Level(
        name=name,
        question=question,
        score=score,
        p_value=conformal_p_value(score, known),
        calibration_size=len(known),
        calibration_median=float(np.median(known)),
        decides=name in calibration.deciding,
    )


def _display_window(found: Prepared) -> tuple[float, float]:
    """Return (centre, width) from the darkest of the image to a little over its brightest brain."""
    step = tuple(slice(None, None, max(1, size // 128)) for size in found.source.array.shape)
    sample = found.source.array[step]
    low = float(np.quantile(sample, 0.001))
    high = low + 1.1 * (float(found.quantiles()[-1]) - low)
    return (low + high) / 2, max(high - low, 1e-6)


class _Clock:
    """Milliseconds of each step, added up where a step comes again."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + (now - self._last) * 1000
        self._last = now
