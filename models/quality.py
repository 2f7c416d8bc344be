"""Quality: what can be said of a scan without any training.

`defects` are yes-or-no facts about the series as received: repeated, empty or missing slices, a cut
head, values that cannot be right. `quality_metrics` are measures of image quality inside the brain,
to be compared with those of normal scans; they follow the no-reference measures that MRIQC made
customary (Esteban et al., MRIQC, PLoS ONE 2017), in forms that need no tissue map and no air.

Both are deterministic. The limits of `defects` were set on 109 scans: none of 28 of OASIS-1 (T1)
has a defect; of 81 clinical FLAIR (LGG), three jump and some end below the vertex.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, stats

from models.errors import NotAssessable
from models.grid import canonical
from models.prepare import Prepared
from models.volume import Volume

SATURATED = 0.02
"""Part of the head's voxels that may share the largest value."""
REPEATED = 0.2
"""Difference of two neighbours, over the median of the differences near them, that is a repeat."""
JUMP = 1.2
"""Difference of two neighbours over the largest of the two differences to each side of it."""
CUT = 0.22
"""Area of the head on a side of the array over its largest area parallel to that side. The top may
hold as much as a sphere has one slice below its vertex."""
HEADS = ("BRAIN", "HEAD")
"""Body parts that a field of view must hold whole, but for the lower end."""

_SIGNAL = 0.1  # of the 99th percentile
_SCALP_MM = 8.0
_HEAD_RADIUS_MM = 70.0
_FINEST = 128  # in-plane samples used to compare slices


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing wrong with a series.

    Attributes:
        check: ``not_finite``, ``constant``, ``saturated``, ``empty_slices``, ``repeated_slices``,
            ``slice_jump`` or ``cut_head``.
        slices: indices of the slices concerned; empty when it is the whole series.
        sentence: what is wrong, for a report.
    """

    check: str
    slices: tuple[int, ...]
    sentence: str


def defects(volume: Volume) -> tuple[Defect, ...]:
    """Return everything wrong with a series as received, in the order of `Defect.check`."""
    array = volume.array
    broken = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))
    if len(broken):
        words = f"{_slices(broken)} hold voxels that are not numbers"
        return (_defect("not_finite", broken, words),)
    if array.min() == array.max():
        return (_defect("constant", (), "every voxel has the same value"),)
    small = _coarse(array)
    signal = small > _SIGNAL * np.quantile(small, 0.99)
    found = [*_saturated(array), *_stack(array, small, signal)]
    if volume.body_part in HEADS:
        found += _cut_head(volume)
    return tuple(found)


def _saturated(array: NDArray[np.float32]) -> list[Defect]:
    top = array.max()
    head = np.count_nonzero(array > _SIGNAL * np.quantile(array[:, ::2, ::2], 0.99))
    part = np.count_nonzero(array == top) / max(head, 1)
    if part <= SATURATED:
        return []
    return [_defect("saturated", (), f"{part:.0%} of the head has the largest value, {top:g}")]


def _stack(
    array: NDArray[np.float32], small: NDArray[np.float32], signal: NDArray[np.bool_]
) -> list[Defect]:
    """Return what is wrong with the order of slices: empty, repeated, missing."""
    found: list[Defect] = []
    area = signal.mean(axis=(1, 2))
    filled = np.flatnonzero(area > 0.01 * area.max())
    empty = np.flatnonzero(area == 0)
    empty = empty[(empty > filled[0]) & (empty < filled[-1])]
    if len(empty):
        found.append(_defect("empty_slices", empty, f"{_slices(empty)} are empty"))
    full = area > area.max() / 3
    pairs = np.flatnonzero(full[1:] & full[:-1])  # pair k is slices k and k + 1
    step = _steps(small)
    same = np.array([k for k in filled[:-1] if np.array_equal(array[k], array[k + 1])], np.intp)
    near = [k for k in pairs if step[k] < REPEATED * np.median(step[_near(pairs, int(k), 4)])]
    repeated = np.union1d(same, np.array(near, np.intp)).astype(np.intp) + 1
    if len(repeated):
        words = f"{_slices(repeated)} show the same image as the slice before"
        found.append(_defect("repeated_slices", repeated, words))
    jumps = np.array([k + 1 for k in pairs if _jump(step, pairs, int(k)) > JUMP], np.intp)
    jumps = jumps[~np.isin(jumps - 1, repeated)]  # what follows a repeat always jumps
    if len(jumps):
        words = f"the content jumps before {_slices(jumps)}, as where slices are missing"
        found.append(_defect("slice_jump", jumps, words))
    return found


def _steps(small: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the difference of each slice to the next, over their common brightness."""
    change = np.abs(np.diff(small, axis=0)).sum(axis=(1, 2), dtype=np.float64)
    bright = np.maximum(small[1:], small[:-1]).sum(axis=(1, 2), dtype=np.float64)
    return cast("NDArray[np.float64]", change / np.maximum(bright, 1e-12))


def _near(pairs: NDArray[np.intp], pair: int, reach: int) -> NDArray[np.intp]:
    return pairs[(np.abs(pairs - pair) <= reach) & (pairs != pair)]


def _jump(step: NDArray[np.float64], pairs: NDArray[np.intp], pair: int) -> float:
    """Return the step of a pair over the largest of the two on each side; 0 at the ends."""
    near = _near(pairs, pair, 2)
    return float(step[pair] / max(step[near].max(), 1e-12)) if len(near) >= 3 else 0.0


def _cut_head(volume: Volume) -> list[Defect]:
    source = canonical(volume)
    steps = tuple(slice(None, None, max(1, size // _FINEST)) for size in source.array.shape[:2])
    array = source.array[*steps]
    head = array > 2 * _SIGNAL * np.quantile(array, 0.99)
    sides: list[str] = []
    for axis, names in enumerate((("left", "right"), ("back", "front"), ("", "top"))):
        flat = np.expand_dims(ndimage.generate_binary_structure(2, 1), axis)
        solid = ndimage.binary_opening(head, flat, iterations=2)
        area = solid.sum(axis=tuple(other for other in range(3) if other != axis))
        # The last slice may lie a slice below the vertex of a sphere of this radius.
        height = (source.spacing[2] + _SCALP_MM) / _HEAD_RADIUS_MM
        limit = CUT if axis < 2 else max(CUT, 1 - (1 - min(height, 1.0)) ** 2)
        for name, end in zip(names, (area[0], area[-1]), strict=True):
            if name and end > limit * area.max():
                sides.append(name)
    if not sides:
        return []
    words = f"the head, or a ghost of it, reaches the edge at the {' and the '.join(sides)}"
    return [_defect("cut_head", (), words)]


def _coarse(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the slices, thinned and smoothed, so that noise does not hide what they share."""
    steps = tuple(slice(None, None, max(1, size // _FINEST)) for size in array.shape[1:])
    thin = array[:, steps[0], steps[1]]
    return cast("NDArray[np.float32]", ndimage.uniform_filter(thin, 3, axes=(1, 2)))


def _defect(check: str, slices: NDArray[np.intp] | tuple[()], words: str) -> Defect:
    return Defect(check, tuple(int(index) for index in slices), words[0].upper() + words[1:] + ".")


def _slices(index: NDArray[np.intp]) -> str:
    shown = ", ".join(str(number + 1) for number in index[:5])
    return f"slices {shown}" + (" and others" if len(index) > 5 else "")


METRICS: dict[str, str] = {
    "noise": "noise, mean of the Laplacian difference (Immerkaer 1996, eq. 4)",
    "noise_robust": "the same, from its median (Donoho 1995), which edges hardly move",
    "entropy_focus": "entropy focus criterion (Atkinson 1997, eq. 3), over its largest value",
    "sharpness_fine": "Tenengrad, mean squared Sobel gradient, at one pixel (Krotkov 1988)",
    "sharpness_coarse": "Tenengrad after a Gaussian of two pixels",
    "sharpness_ratio": "logarithm of fine over coarse sharpness",
    "spectrum_slope": "slope of log power over log frequency, 0.05 to 0.4 a pixel (Field 1987)",
    "high_frequency": "part of the power above 0.05 that lies above 0.25 cycles a pixel",
    "joint_variation": "coefficient of joint variation (Ganzetti 2016) of the two brighter of "
    "three intensity classes",
    "rim_contrast": "mean of the brain's outer 8 pixels over the mean of the rest",
    "shading": "spread of a quadratic field fitted to the logarithm of the brightest class, "
    "after inu_range (Esteban 2017; Tustison 2010)",
    "slice_variation": "deviation of the second difference of slice means over their mean",
    "slice_jump": "largest step between slices over the largest step near it",
    "ghost_rows": "largest autocorrelation peak at 1/2 to 1/6 of the field of view, along rows' "
    "order (front-back), in robust deviations (after Wood and Henkelman 1985)",
    "ghost_columns": "the same, left-right",
    "spike": "largest isolated peak of the mean log power spectrum, in robust deviations "
    "(after Foo, Grigsby and Mitchell 1994)",
    "spike_slice": "the same, largest over single slices",
    "mean": "mean intensity over the 99th percentile",
    "deviation": "standard deviation of the intensity over the 99th percentile",
    "skewness": "skewness of the intensity",
    "kurtosis": "excess kurtosis of the intensity",
}
"""Each metric and its source."""

_LAPLACE = np.array([[[1, -2, 1], [-2, 4, -2], [1, -2, 1]]], np.float32)
_SQUARE = np.ones((1, 3, 3), np.bool_)


def quality_metrics(prepared: Prepared) -> dict[str, float]:
    """Return the metrics of `METRICS` inside the brain, all finite.

    The intensities are those acquired, not the normalised ones, over the brain's 99th percentile,
    so that scale does not matter; lengths are pixels of the working grid.

    Args:
        prepared: the scan on the working grid, normalised or not.

    Raises:
        NotAssessable: if the brain has no contrast, or is too small to measure in.
    """
    brain = prepared.brain
    core = cast("NDArray[np.bool_]", ndimage.binary_erosion(brain, _SQUARE, iterations=3))
    if np.count_nonzero(core) < 1000:
        raise NotAssessable("the brain is too small to measure image quality in")
    acquired = prepared.images if prepared.acquired is None else prepared.acquired
    low, top = np.quantile(acquired[brain], (0.01, 0.99))
    if not top > max(float(low), 0.0):
        raise NotAssessable("the brain has no contrast")
    whole = np.where(brain, acquired / top, 0.0).astype(np.float32)
    slicewise = _slicewise(whole, brain)
    # Elsewhere a level without brain is no neighbour, and nothing to average over.
    shown = brain.any(axis=(1, 2))
    image, brain, core = whole[shown], brain[shown], core[shown]
    values = image[brain].astype(np.float64)
    classes = _classes(values)
    smooth = _smoothed(image, brain, 2.0)
    residual = np.where(core, image - smooth, 0.0).astype(np.float32)
    measured = {
        **_noise(image, core),
        "entropy_focus": _entropy_focus(values),
        **_sharpness(image, smooth, core),
        **_spectrum(image, core),
        "joint_variation": _joint_variation(values, classes),
        "rim_contrast": _rim_contrast(image, brain),
        "shading": _shading(image, brain & (image > classes[1])),
        **slicewise,
        **_ghosts(residual, core, prepared),
        **_spikes(residual),
        "mean": float(values.mean()),
        "deviation": float(values.std()),
        "skewness": float(stats.skew(values)),
        "kurtosis": float(stats.kurtosis(values)),
    }
    return {name: measured[name] for name in METRICS}


def _classes(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the two cuts between three intensity classes (Lloyd's algorithm on the histogram)."""
    sample = np.quantile(values, np.linspace(0.005, 0.995, 400))
    means = np.quantile(sample, (0.1, 0.45, 0.85))
    for _ in range(30):
        nearest = np.abs(sample[:, None] - means).argmin(axis=1)
        groups = [sample[nearest == one] for one in range(3)]
        means = np.array([g.mean() if len(g) else m for g, m in zip(groups, means, strict=True)])
    return float((means[0] + means[1]) / 2), float((means[1] + means[2]) / 2)


def _smoothed(
    image: NDArray[np.float32], mask: NDArray[np.bool_], sigma: float
) -> NDArray[np.float32]:
    """Return a Gaussian mean of the masked image, in the plane, of masked pixels only."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), (0, sigma, sigma))
    total = ndimage.gaussian_filter(np.where(mask, image, np.float32(0)), (0, sigma, sigma))
    return cast("NDArray[np.float32]", total / np.maximum(weight, 1e-3))


def _noise(image: NDArray[np.float32], core: NDArray[np.bool_]) -> dict[str, float]:
    difference = np.abs(ndimage.convolve(image, _LAPLACE)[core])
    return {
        "noise": float(np.sqrt(np.pi / 2) / 6 * difference.mean(dtype=np.float64)),
        "noise_robust": float(np.median(difference) / (0.6745 * 6)),
    }


def _entropy_focus(values: NDArray[np.float64]) -> float:
    positive = np.maximum(values, 1e-9)
    part = positive / np.sqrt((positive**2).sum())
    root = np.sqrt(len(part))
    return float(-(part * np.log(part)).sum() / (root * np.log(root)))


def _sharpness(
    image: NDArray[np.float32], smooth: NDArray[np.float32], core: NDArray[np.bool_]
) -> dict[str, float]:
    fine, coarse = (
        float(
            sum(
                (ndimage.sobel(one, axis=axis)[core].astype(np.float64) ** 2).mean()
                for axis in (1, 2)
            )
        )
        / 256  # Sobel's gain across levels (4) times along the axis (2) and beside it (2), squared
        for one in (image, smooth)
    )
    ratio = float(np.log((fine + 1e-12) / (coarse + 1e-12)))
    return {"sharpness_fine": fine, "sharpness_coarse": coarse, "sharpness_ratio": ratio}


def _power(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each level's power spectrum, (levels, rows, columns // 2 + 1)."""
    space = cast("NDArray[np.complex64]", fft.rfft2(image, axes=(1, 2)))
    return cast("NDArray[np.float32]", np.abs(space) ** 2)


def _frequency(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the frequency of each sample of `_power`, in cycles a pixel."""
    return np.hypot(fft.fftfreq(shape[1])[:, None], fft.rfftfreq(shape[2])[None])


def _spectrum(image: NDArray[np.float32], core: NDArray[np.bool_]) -> dict[str, float]:
    window = ndimage.gaussian_filter(core.astype(np.float32), (0, 3, 3)) * core
    power = _power((image - image[core].mean()) * window).mean(axis=0, dtype=np.float64)
    frequency = _frequency(image.shape)
    edges = np.geomspace(0.05, 0.4, 13)
    ring = np.digitize(frequency, edges)
    means = np.array([power[ring == one].mean() for one in range(1, len(edges))])
    middle = np.sqrt(edges[1:] * edges[:-1])
    slope = np.polyfit(np.log(middle), np.log(means + 1e-12), 1)[0]
    high = power[(frequency > 0.25) & (frequency <= 0.5)].sum()
    return {
        "spectrum_slope": float(slope),
        "high_frequency": float(high / (power[frequency > 0.05].sum() + 1e-12)),
    }


def _joint_variation(values: NDArray[np.float64], cuts: tuple[float, float]) -> float:
    grey = values[(values > cuts[0]) & (values <= cuts[1])]
    white = values[values > cuts[1]]
    if min(len(grey), len(white)) < 2:
        return 0.0
    return float((grey.std() + white.std()) / max(white.mean() - grey.mean(), 1e-6))


def _rim_contrast(image: NDArray[np.float32], brain: NDArray[np.bool_]) -> float:
    deep = cast("NDArray[np.bool_]", ndimage.binary_erosion(brain, _SQUARE, iterations=8))
    if not deep.any():
        return 1.0
    return float(image[brain & ~deep].mean() / max(float(image[deep].mean()), 1e-6))


def _shading(image: NDArray[np.float32], bright: NDArray[np.bool_]) -> float:
    """Return the field's spread: a lower bound, since the class leaves out what is shaded most."""
    index = np.argwhere(bright)[::7]
    if len(index) < 100:
        return 0.0
    position = (2 * index / np.array(image.shape) - 1).T
    terms = [np.ones(len(index)), *position]
    terms += [position[a] * position[b] for a in range(3) for b in range(a, 3)]
    design = np.stack(terms, axis=1)
    logarithm = np.log(np.maximum(image[tuple(index.T)].astype(np.float64), 1e-3))
    field = design @ np.linalg.lstsq(design, logarithm, rcond=None)[0]
    low, high = np.quantile(field, (0.05, 0.95))
    return float(high - low)


def _slicewise(image: NDArray[np.float32], brain: NDArray[np.bool_]) -> dict[str, float]:
    count = brain.sum(axis=(1, 2))
    means = image.sum(axis=(1, 2), dtype=np.float64) / np.maximum(count, 1)
    full = count > count.max() / 3
    bend = np.diff(means, 2)[full[2:] & full[1:-1] & full[:-2]]
    pairs = np.flatnonzero(full[1:] & full[:-1])
    step = _steps(image)
    return {
        "slice_variation": float(bend.std() / means[full].mean()) if len(bend) else 0.0,
        "slice_jump": max((_jump(step, pairs, int(k)) for k in pairs), default=0.0),
    }


def _ghosts(
    residual: NDArray[np.float32], core: NDArray[np.bool_], prepared: Prepared
) -> dict[str, float]:
    found: dict[str, float] = {}
    for axis, source_axis, name in ((1, 1, "ghost_rows"), (2, 0, "ghost_columns")):
        step = float(np.diff(prepared.positions[axis]).mean())
        field = prepared.source.array.shape[source_axis] / abs(step)  # in working pixels
        curve = _autocorrelation(residual, core, axis)
        shifts = np.arange(len(curve))
        common = np.abs(curve[(shifts > field / 8) & (shifts < field / 2 + 2)])
        common = common[np.isfinite(common)]
        at = [round(field / part) + near for part in range(2, 7) for near in (-1, 0, 1)]
        peaks = [abs(curve[s]) for s in at if s < len(curve) and np.isfinite(curve[s])]
        if len(common) < 8 or not peaks:
            found[name] = 0.0
            continue
        middle = np.median(common)
        spread = 1.4826 * np.median(np.abs(common - middle))
        found[name] = float((max(peaks) - middle) / max(spread, 1e-6))
    return found


def _autocorrelation(
    residual: NDArray[np.float32], core: NDArray[np.bool_], axis: int
) -> NDArray[np.float64]:
    """Return the correlation of the residual with itself at each shift; nan where few overlap."""
    size = residual.shape[axis]

    def correlated(values: NDArray[np.float32]) -> NDArray[np.float64]:
        space = cast("NDArray[np.complex64]", fft.rfft(values, 2 * size, axis=axis))
        power = (np.abs(space) ** 2).sum(axis=tuple(a for a in range(3) if a != axis))
        return cast("NDArray[np.float64]", fft.irfft(power.astype(np.float64)))[:size]

    products, overlap = correlated(residual), correlated(core.astype(np.float32))
    enough = overlap > 0.02 * overlap[0]
    mean = np.divide(products, overlap, out=np.full(size, np.nan), where=enough)
    return mean / max(float(mean[0]), 1e-12)


def _spikes(residual: NDArray[np.float32]) -> dict[str, float]:
    frequency = _frequency(residual.shape)
    ring = (frequency > 0.08) & (frequency < 0.5)
    power = _power(residual)
    levels = np.log(power + 1e-6)
    together = np.log(power.mean(axis=0, keepdims=True) + 1e-6)
    single = max(_peak(level[None], ring) for level in levels[1:-1:2])
    return {"spike": _peak(together, ring), "spike_slice": single}


def _peak(logarithm: NDArray[np.float32], ring: NDArray[np.bool_]) -> float:
    """Return how far the largest sample stands out of its 7 x 7 neighbours."""
    excess = (logarithm - ndimage.median_filter(logarithm, (1, 7, 7)))[0][ring]
    spread = 1.4826 * float(np.median(np.abs(excess - np.median(excess))))
    return float(excess.max()) / max(spread, 1e-6)
