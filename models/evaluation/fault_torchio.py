"""Acquisition faults as torchio makes them (Perez-Garcia, Sparks and Ourselin, Comput Methods
Programs Biomed 2021), with every draw made here, so that a seed gives one array.

torchio takes an array of (channel, x, y, z). It is given the canonical view (to the right, to the
front, to the top), with the phase axis, front to back, where the transform wants it. The answer is
a magnitude again: torchio keeps the real part, which may be negative.

The strong settings of motion, spike, ghosting and blur are those used in published evaluations of
anomaly detectors as quality gates (rotations up to 30 degrees, shifts up to 50 mm and 10 events; 7
spikes of 0.95; 2 to 4 ghosts of intensity 2; sigma 6, 6 and 2 mm). Published noise has a mean of
2000 and a deviation of 600 in raw units; here it is a part of the scan's own signal, mean 0.

Needs the package torchio; it is imported at the first fault.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.grid import canonical
from models.volume import Volume

_MOST = 10
"""Draws made for every strength, so that a stronger fault holds a weaker one's events."""
_BIAS_ORDER = 3
_BIAS_TERMS = 20  # of a polynomial of order 3 in three variables


@dataclass(frozen=True, slots=True)
class Ghosting:
    """Every `ghosts`-th phase-encode plane is scaled by 1 - `intensity`."""

    ghosts: int
    intensity: float

    def __str__(self) -> str:
        return f"{self.ghosts} ghosts of intensity {self.intensity:g}"

    def transform(self, _signal: float, _generator: np.random.Generator) -> Any:
        """Return torchio's transform."""
        return _torchio().Ghosting(
            num_ghosts=self.ghosts, axis=2, intensity=self.intensity, restore=None
        )


@dataclass(frozen=True, slots=True)
class Motion:
    """Rigid moves during the scan, spread over k-space (Shaw et al., MIDL 2019)."""

    moves: int
    degrees: float
    millimetres: float

    def __str__(self) -> str:
        return (
            f"{self.moves} moves of up to {self.degrees:g} degrees and {self.millimetres:g} mm, "
            "spread over the scan"
        )

    def transform(self, _signal: float, generator: np.random.Generator) -> Any:
        """Return torchio's transform."""
        turns, shifts = generator.uniform(-1, 1, (2, _MOST, 3))
        unrest = generator.uniform(-0.3, 0.3, _MOST)
        return _torchio().Motion(
            degrees=turns[: self.moves] * self.degrees,
            translation=shifts[: self.moves] * self.millimetres,
            times=(np.arange(1, self.moves + 1) + unrest[: self.moves]) / (self.moves + 1),
            image_interpolation="linear",
        )


@dataclass(frozen=True, slots=True)
class Spike:
    """Samples of k-space raised by `intensity` times its largest magnitude."""

    spikes: int
    intensity: float

    def __str__(self) -> str:
        return f"{self.spikes} k-space spikes of {self.intensity:g} of its maximum"

    def transform(self, _signal: float, generator: np.random.Generator) -> Any:
        """Return torchio's transform."""
        positions = generator.uniform(0, 1, (_MOST, 3))[: self.spikes]
        return _torchio().Spike(spikes_positions=positions, intensity=self.intensity)


@dataclass(frozen=True, slots=True)
class Noise:
    """Gaussian noise; `part` is its deviation over the head's median signal."""

    part: float

    def __str__(self) -> str:
        return f"noise of {self.part:.0%} of the signal"

    def transform(self, signal: float, generator: np.random.Generator) -> Any:
        """Return torchio's transform."""
        seed = int(generator.integers(2**31))
        return _torchio().Noise(mean=0.0, std=self.part * signal, seed=seed)


@dataclass(frozen=True, slots=True)
class Blur:
    """A Gaussian of `sigma` mm (to the right, to the top, to the front)."""

    sigma: tuple[float, float, float]

    def __str__(self) -> str:
        across, along, through = self.sigma[0], self.sigma[2], self.sigma[1]
        return f"blurred by a Gaussian of sigma {across:g}, {along:g} and {through:g} mm"

    def transform(self, _signal: float, _generator: np.random.Generator) -> Any:
        """Return torchio's transform."""
        return _torchio().Blur(std=self.sigma)


@dataclass(frozen=True, slots=True)
class BiasField:
    """Intensity times exp(polynomial), coefficients up to `coefficient` (Van Leemput 1999)."""

    coefficient: float

    def __str__(self) -> str:
        return f"bias field of order {_BIAS_ORDER}, coefficients up to {self.coefficient:g}"

    def transform(self, _signal: float, generator: np.random.Generator) -> Any:
        """Return torchio's transform."""
        coefficients = generator.uniform(-self.coefficient, self.coefficient, _BIAS_TERMS)
        coefficients[0] = 0.0  # a constant factor is no fault
        return _torchio().BiasField(coefficients=coefficients.tolist(), order=_BIAS_ORDER)


Setting = Ghosting | Motion | Spike | Noise | Blur | BiasField


def apply(volume: Volume, setting: Setting, generator: np.random.Generator) -> Volume:
    """Return `volume` with this fault; same grid, same place, not negative.

    Raises:
        ImportError: if torchio is not installed.
    """
    source = canonical(volume)
    image = np.ascontiguousarray(source.array.transpose(0, 2, 1))  # right, top, front
    spacing = (source.spacing[0], source.spacing[2], source.spacing[1])
    transform = setting.transform(_signal(image), generator)
    scan: Any = _torchio().ScalarImage(tensor=image[None], affine=np.diag([*spacing, 1.0]))
    faulty: NDArray[np.float32] = np.abs(transform(scan).numpy()[0]).astype(np.float32)
    return replace(volume, array=source.to_source(faulty.transpose(0, 2, 1)))


def _signal(image: NDArray[np.float32]) -> float:
    """Return the median of what is not background."""
    return float(np.median(image[image > 0.2 * np.quantile(image, 0.99)]))


def _torchio() -> Any:
    """Return torchio, typed at this edge only; importing it takes two seconds."""
    import torchio

    return torchio
