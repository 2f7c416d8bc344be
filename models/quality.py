"""Quality: measures of image quality inside the brain, to compare with those of normal scans.

They follow the no-reference measures that MRIQC made customary (Esteban et al., MRIQC, PLoS ONE
2017), in forms that need no tissue map and no air. Deterministic.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, stats

from models.errors import NotAssessable
from models.prepare import Prepared
from models.stack import jump, steps

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
        NotAssessable: if the anatomy has no contrast, or is too small to measure in.
    """
    brain = prepared.brain
    core = cast("NDArray[np.bool_]", ndimage.binary_erosion(brain, _SQUARE, iterations=3))
    if np.count_nonzero(core) < 1000:
        raise NotAssessable(f"the {prepared.anatomy} is too small to measure image quality in")
    acquired = prepared.images if prepared.acquired is None else prepared.acquired
    low, top = np.quantile(acquired[brain], (0.01, 0.99))
    if not top > max(float(low), 0.0):
        raise NotAssessable(f"the {prepared.anatomy} has no contrast")
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
    step = steps(image)
    return {
        "slice_variation": float(bend.std() / means[full].mean()) if len(bend) else 0.0,
        "slice_jump": max((jump(step, pairs, int(k)) for k in pairs), default=0.0),
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
    inner = levels[1:-1:2] if len(levels) > 2 else levels
    single = max(_peak(level[None], ring) for level in inner)
    return {"spike": _peak(together, ring), "spike_slice": single}


def _peak(logarithm: NDArray[np.float32], ring: NDArray[np.bool_]) -> float:
    """Return how far the largest sample stands out of its 7 x 7 neighbours."""
    excess = (logarithm - ndimage.median_filter(logarithm, (1, 7, 7)))[0][ring]
    spread = 1.4826 * float(np.median(np.abs(excess - np.median(excess))))
    return float(excess.max()) / max(spread, 1e-6)
