"""A detector in one file, of the image's own intensities, for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.calibration import conformal_p_value
from models.errors import NotAssessable
from models.evaluation.masks import Mask, eroded_head
from models.finding import Finding, Level
from models.regions import regions
from models.scoring import top_mean
from models.volume import Volume

Direction = Literal["bright", "dark", "both"]

_TOP = 0.01
_SMALLEST_MM3 = 50.0


class IntensityFloor:
    """Robust z of the intensity inside the head, smoothed by one pixel in-plane.

    The score is the mean of the largest 1 % of the map inside the mask.

    Args:
        direction: what counts as strange: bright (FLAIR), dark, or both.
        threshold: z above which voxels belong to regions.
        mask: where z is taken; the map is 0 outside.
        calibration: scores of normal scans (`score` gives them); without any the p-value is 1.
    """

    def __init__(
        self,
        direction: Direction = "bright",
        threshold: float = 3.0,
        mask: Mask | None = None,
        calibration: Sequence[float] = (),
    ) -> None:
        self.direction = direction
        self.threshold = threshold
        self.calibration = tuple(calibration)
        self._mask = mask or eroded_head(0)

    def score(self, volume: Volume) -> float:
        """Return the scan's score.

        Raises:
            NotAssessable: if there is no head in it.
        """
        return self._judged(volume)[0]

    def _judged(self, volume: Volume) -> tuple[float, NDArray[np.float32]]:
        inside = self._mask(volume)
        if not inside.any():
            raise NotAssessable("No head was found in the image.")
        values = volume.array[inside]
        middle = float(np.median(values))
        spread = max(1.4826 * float(np.median(np.abs(values - middle))), 1e-6)
        z = ((volume.array - middle) / spread).astype(np.float32)
        if self.direction == "dark":
            z = -z
        elif self.direction == "both":
            z = np.abs(z)
        smooth = np.asarray(ndimage.gaussian_filter(z, (0, 1, 1)), dtype=np.float32)
        score = top_mean(smooth[inside], _TOP)
        smooth[~inside] = 0
        return score, smooth

    def detect(self, volume: Volume) -> Finding:
        """Return the finding; raises NotAssessable if there is no head in the scan."""
        started = perf_counter()
        score, z_map = self._judged(volume)
        p_value = conformal_p_value(score, self.calibration)
        middle = float(np.median(self.calibration)) if self.calibration else 0.0
        low, high = (float(value) for value in np.quantile(volume.array, (0.01, 0.999)))
        return Finding(
            score=score,
            p_value=p_value,
            levels=(
                Level(
                    "focal",
                    f"Are there {self.direction} voxels?",
                    score,
                    p_value,
                    len(self.calibration),
                    middle,
                ),
            ),
            map=z_map,
            map_unit="robust standard deviations of intensity",
            map_threshold=self.threshold,
            map_maximum=2 * self.threshold,
            regions=regions(volume, z_map, self.threshold, _SMALLEST_MM3),
            display_window=((low + high) / 2, max(high - low, 1e-6)),
            detector="intensity",
            profile="",
            bundle_version="",
            model_digest="",
            calibration_digest="",
            calibration_description=f"{len(self.calibration)} normal scans",
            milliseconds={"floor": 1000 * (perf_counter() - started)},
        )
