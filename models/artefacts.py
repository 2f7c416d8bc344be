"""Acquisition faults, simulated from their physics in k-space, for evaluation and demonstration.

The scan is taken as a single-channel, fully sampled, three-dimensional Cartesian acquisition whose
phase was zero: its Fourier transform is its k-space. Phase is encoded from front to back and
acquired in sequential order. The result is a magnitude image on the same grid. What this leaves
out: several coils, parallel imaging, fat shift, partial Fourier, spin history.

Each fault has three strengths, is the same for the same seed, and keeps the patient's place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from models.grid import canonical
from models.volume import Volume

_PHASE = 1
"""Canonical axis of phase encoding: front to back."""


class Kind(StrEnum):
    """Which fault."""

    MOTION = "motion"
    GHOSTING = "ghosting"
    BLUR = "blur"
    NOISE = "noise"
    SPIKE = "spike"


class Strength(StrEnum):
    """How strong; the numbers are in this module's tables."""

    MILD = "mild"
    MODERATE = "moderate"
    STRONG = "strong"


@dataclass(frozen=True, slots=True)
class Motion:
    """Rigid moves during the scan.

    Between moves the head is still, so each run of phase-encode lines belongs to one pose
    (Zaitsev, Maclaren and Herbst, Motion artifacts in MRI, J Magn Reson Imaging 2015; the
    composition of k-space from poses as in Shaw et al., MRI k-space motion artefact augmentation,
    MIDL 2019). Moves fall in the middle third of the lines: at the edges they leave hardly a trace.
    The pose in which the centre of k-space is acquired is the scan's own.
    """

    moves: int
    degrees: float
    millimetres: float


@dataclass(frozen=True, slots=True)
class Ghosting:
    """Periodic modulation of the phase-encode lines, as pulsation or breathing gives.

    Lines are weighted by 1 + depth cos(2 pi line / period + phase): two copies of depth / 2, moved
    by 1 / period of the field of view (Wood and Henkelman, MR image artifacts from periodic
    motion, Med Phys 1985).
    """

    period: int
    depth: float


@dataclass(frozen=True, slots=True)
class Blur:
    """Loss of in-plane resolution: a Gaussian window on k-space of this full width in mm."""

    millimetres: float


@dataclass(frozen=True, slots=True)
class Noise:
    """Complex Gaussian noise, Rician in the magnitude (Gudbjartsson and Patz, MRM 1995).

    `snr` is the head's median signal over the deviation of one channel.
    """

    snr: float


@dataclass(frozen=True, slots=True)
class Spike:
    """Single corrupted k-space samples: plane waves over the image (herringbone).

    `depth` is each wave's amplitude over the head's median signal (Heiland, From A as in aliasing
    to Z as in zipper: artifacts in MRI, Clin Neuroradiol 2008).
    """

    count: int
    depth: float


Setting = Motion | Ghosting | Blur | Noise | Spike

SETTINGS: dict[tuple[Kind, Strength], Setting] = {
    (Kind.MOTION, Strength.MILD): Motion(2, 1.5, 1.5),
    (Kind.MOTION, Strength.MODERATE): Motion(4, 3.0, 3.0),
    (Kind.MOTION, Strength.STRONG): Motion(8, 6.0, 6.0),
    (Kind.GHOSTING, Strength.MILD): Ghosting(4, 0.2),
    (Kind.GHOSTING, Strength.MODERATE): Ghosting(4, 0.4),
    (Kind.GHOSTING, Strength.STRONG): Ghosting(4, 0.8),
    (Kind.BLUR, Strength.MILD): Blur(2.5),
    (Kind.BLUR, Strength.MODERATE): Blur(4.0),
    (Kind.BLUR, Strength.STRONG): Blur(6.0),
    (Kind.NOISE, Strength.MILD): Noise(20.0),
    (Kind.NOISE, Strength.MODERATE): Noise(10.0),
    (Kind.NOISE, Strength.STRONG): Noise(5.0),
    (Kind.SPIKE, Strength.MILD): Spike(1, 0.05),
    (Kind.SPIKE, Strength.MODERATE): Spike(2, 0.1),
    (Kind.SPIKE, Strength.STRONG): Spike(3, 0.2),
}


def statement(kind: Kind, strength: Strength) -> str:
    """Return the fault in words, for a series description or a report."""
    setting = SETTINGS[kind, strength]
    match setting:
        case Motion():
            return (
                f"{setting.moves} rigid moves of up to {setting.degrees:g} degrees and "
                f"{setting.millimetres:g} mm during the scan"
            )
        case Ghosting():
            return (
                f"phase-encode lines modulated by {setting.depth:.0%} every {setting.period} lines"
            )
        case Blur():
            return f"in-plane resolution reduced by a Gaussian of {setting.millimetres:g} mm"
        case Noise():
            return f"noise added to a signal-to-noise ratio of {setting.snr:g}"
        case Spike():
            return f"{setting.count} k-space spikes of {setting.depth:.0%} of the signal"


def apply(volume: Volume, kind: Kind, strength: Strength, seed: int) -> Volume:
    """Return `volume` as it would look with this fault; same grid, same place, not negative."""
    source = canonical(volume)
    generator = np.random.default_rng([seed, *kind.encode(), *strength.encode()])
    faulty = _apply(
        np.ascontiguousarray(source.array), source.spacing, SETTINGS[kind, strength], generator
    )
    return replace(volume, array=source.to_source(faulty))


def _apply(
    image: NDArray[np.float32],
    spacing: tuple[float, float, float],
    setting: Setting,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    match setting:
        case Motion():
            return _motion(image, spacing, setting, generator)
        case Ghosting():
            lines = fft.fftfreq(image.shape[_PHASE], 1 / image.shape[_PHASE])
            angle = 2 * np.pi * lines / setting.period + generator.uniform(0, 2 * np.pi)
            weight = 1 + setting.depth * np.cos(angle)
            return _filtered(image, (_PHASE,), lambda space: space * _along(weight, _PHASE))
        case Blur():
            return _blur(image, spacing, setting)
        case Noise():
            deviation = _signal(image) / setting.snr
            real, imaginary = (
                generator.standard_normal(image.shape, dtype=np.float32) * deviation
                for _ in range(2)
            )
            return np.hypot(image + real, imaginary).astype(np.float32)
        case Spike():
            return _spike(image, setting, generator)


def _filtered(
    image: NDArray[np.float32],
    axes: tuple[int, ...],
    change: Callable[[NDArray[np.complex64]], NDArray[np.complex64]],
) -> NDArray[np.float32]:
    """Return the magnitude image after `change` of its k-space along `axes`."""
    space = cast("NDArray[np.complex64]", fft.fftn(image, axes=axes))
    changed = cast("NDArray[np.complex64]", fft.ifftn(change(space), axes=axes))
    return np.abs(changed).astype(np.float32)


def _along(values: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    shape = [1, 1, 1]
    shape[axis] = len(values)
    return values.astype(np.float32).reshape(shape)


def _signal(image: NDArray[np.float32]) -> float:
    """Return the median of what is not background."""
    return float(np.median(image[image > 0.2 * np.quantile(image, 0.99)]))


def _motion(
    image: NDArray[np.float32],
    spacing: tuple[float, float, float],
    setting: Motion,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    lines = image.shape[_PHASE]
    middle = np.arange(lines // 3, lines - lines // 3)
    times = np.sort(generator.choice(middle, setting.moves, replace=False))
    starts = [0, *times.tolist()]
    stops = [*times.tolist(), lines]
    order = fft.fftshift(np.arange(lines))  # sequential: from one edge of k-space to the other
    space = np.zeros(image.shape, dtype=np.complex64)
    for start, stop in zip(starts, stops, strict=True):
        angles = generator.uniform(-setting.degrees, setting.degrees, 3)
        shift = generator.uniform(-setting.millimetres, setting.millimetres, 3)
        centre_acquired = start <= lines // 2 < stop
        pose = image if centre_acquired else _moved(image, spacing, angles, shift)
        rows = order[start:stop]
        partial = cast("NDArray[np.complex64]", fft.fft(pose, axis=_PHASE))
        space[:, rows, :] = partial[:, rows, :]
    moved = cast("NDArray[np.complex64]", fft.ifft(space, axis=_PHASE))
    return np.abs(moved).astype(np.float32)


def _moved(
    image: NDArray[np.float32],
    spacing: tuple[float, float, float],
    degrees: NDArray[np.float64],
    millimetres: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return `image` rotated about its centre and shifted, by linear interpolation."""
    scale = np.diag(spacing)
    rotation = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix = np.linalg.inv(scale) @ rotation.T @ scale  # output index -> input index
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ (centre + millimetres / np.array(spacing))
    turned = ndimage.affine_transform(image, matrix, offset, order=1, output=np.float32)
    return cast("NDArray[np.float32]", turned)


def _blur(
    image: NDArray[np.float32], spacing: tuple[float, float, float], setting: Blur
) -> NDArray[np.float32]:
    sigma = setting.millimetres / 2.3548
    weights = [
        _along(
            np.exp(-2 * (np.pi * sigma * fft.fftfreq(image.shape[axis], spacing[axis])) ** 2), axis
        )
        for axis in (0, 1)
    ]
    return _filtered(image, (0, 1), lambda space: space * weights[0] * weights[1])


def _spike(
    image: NDArray[np.float32], setting: Spike, generator: np.random.Generator
) -> NDArray[np.float32]:
    result = image.astype(np.complex64)
    depth = setting.depth * _signal(image)
    index = np.ogrid[tuple(slice(size) for size in image.shape)]
    for _ in range(setting.count):
        # A sample away from the centre: 5 to 30 % of the sampling frequency, in any direction.
        direction = generator.normal(size=3)
        frequency = generator.uniform(0.05, 0.3) * direction / np.linalg.norm(direction)
        cycles = [round(f * size) / size for f, size in zip(frequency, image.shape, strict=True)]
        phase = sum(2 * np.pi * f * i for f, i in zip(cycles, index, strict=True))
        phase = phase + generator.uniform(0, 2 * np.pi)
        result += (depth * np.exp(1j * phase)).astype(np.complex64)
    return np.abs(result).astype(np.float32)
