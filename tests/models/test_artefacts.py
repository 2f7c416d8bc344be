"""Acquisition faults: each does what its physics says, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models import artefacts
from models.artefacts import SETTINGS, Ghosting, Kind, Noise, Spike, Strength
from models.volume import Volume

SHAPE = (24, 64, 48)  # slices, rows (back), columns (left)


@pytest.fixture(scope="module")
def ball() -> Volume:
    """Return a bright ellipsoid with stripes in it, away from the edges."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    inside = (z / 0.8) ** 2 + (y / 0.45) ** 2 + (x / 0.5) ** 2 < 1
    array = np.where(inside, 100 + 40 * np.sin(18 * x), 0).astype(np.float32)
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[1, 1] = affine[0, 2] = affine[3, 3] = 1.0
    return Volume(array, affine, "MR", "BRAIN", "T1")


def departure(volume: Volume, kind: Kind, strength: Strength) -> float:
    """Return the mean absolute change over the seeds 0 to 2."""
    faulty = (artefacts.apply(volume, kind, strength, seed).array for seed in range(3))
    return float(np.mean([np.abs(array - volume.array).mean() for array in faulty]))


@pytest.mark.parametrize("kind", list(Kind))
def test_a_stronger_fault_departs_further(ball: Volume, kind: Kind) -> None:
    """Mild, moderate and strong are in that order."""
    mild, moderate, strong = (departure(ball, kind, strength) for strength in Strength)

    assert 0 < mild < moderate < strong


@pytest.mark.parametrize("kind", list(Kind))
def test_a_fault_is_the_same_for_the_same_seed_and_keeps_the_grid(ball: Volume, kind: Kind) -> None:
    """Same seed, same voxels; the place and the source are untouched."""
    before = ball.array.copy()
    first = artefacts.apply(ball, kind, Strength.STRONG, seed=7)
    second = artefacts.apply(ball, kind, Strength.STRONG, seed=7)

    assert np.array_equal(first.array, second.array)
    assert np.array_equal(ball.array, before)
    assert first.array.dtype == np.float32
    assert np.isfinite(first.array).all()
    assert first.array.min() >= 0
    assert first.affine is ball.affine


@pytest.mark.parametrize("kind", list(Kind))
def test_a_fault_does_not_depend_on_how_the_voxels_are_stored(ball: Volume, kind: Kind) -> None:
    """A sagittally stored copy of a scan gets the same fault at the same places."""
    sagittal = replace(
        ball,
        array=np.ascontiguousarray(ball.array.transpose(2, 0, 1)),
        affine=ball.affine[:, [2, 0, 1, 3]],
    )

    faulty = artefacts.apply(ball, kind, Strength.MODERATE, 3).array
    other = artefacts.apply(sagittal, kind, Strength.MODERATE, 3).array

    assert np.allclose(other.transpose(1, 2, 0), faulty, atol=1e-3)


def test_ghosts_lie_a_fraction_of_the_field_of_view_away_along_the_phase_axis(
    ball: Volume,
) -> None:
    """With period 4, two copies appear a quarter of the rows away, of half the depth."""
    setting = SETTINGS[Kind.GHOSTING, Strength.STRONG]
    assert isinstance(setting, Ghosting)
    faulty = artefacts.apply(ball, Kind.GHOSTING, Strength.STRONG, seed=0).array
    point = np.zeros(SHAPE, np.float32)
    point[12, 32, 24] = 100.0
    ghosts = artefacts.apply(replace(ball, array=point), Kind.GHOSTING, Strength.STRONG, 0).array

    assert set(np.flatnonzero(ghosts[12, :, 24] > 1)) == {16, 32, 48}
    assert ghosts[12, 16, 24] == pytest.approx(100 * setting.depth / 2, rel=1e-3)
    assert faulty[12, 50, 24] > 1


def test_noise_has_the_stated_signal_to_noise_ratio(ball: Volume) -> None:
    """In bright voxels the deviation is the signal over the ratio; the background is Rayleigh."""
    setting = SETTINGS[Kind.NOISE, Strength.MODERATE]
    assert isinstance(setting, Noise)
    flat = replace(ball, array=np.where(ball.array > 0, 100, 0).astype(np.float32))
    deviation = 100 / setting.snr

    faulty = artefacts.apply(flat, Kind.NOISE, Strength.MODERATE, 0).array

    assert np.std(faulty[flat.array > 0]) == pytest.approx(deviation, rel=0.05)
    assert np.mean(faulty[flat.array == 0]) == pytest.approx(1.2533 * deviation, rel=0.05)


def test_blur_removes_high_frequencies_in_the_plane_and_none_across_it(ball: Volume) -> None:
    """The total signal stays, in-plane detail goes, and slices stay apart."""
    faulty = artefacts.apply(ball, Kind.BLUR, Strength.STRONG, 0).array
    one_slice = np.zeros(SHAPE, np.float32)
    one_slice[12] = ball.array[12]
    alone = artefacts.apply(replace(ball, array=one_slice), Kind.BLUR, Strength.STRONG, 0).array

    assert faulty.sum() == pytest.approx(ball.array.sum(), rel=0.01)
    assert _detail(faulty) < 0.5 * _detail(ball.array)
    assert alone[[11, 13]].max() < 1e-3


def _detail(array: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(array, axis=2)).mean())


def test_a_spike_is_one_wave_of_the_stated_depth(ball: Volume) -> None:
    """On a flat image the difference has its energy at isolated frequencies."""
    setting = SETTINGS[Kind.SPIKE, Strength.MILD]
    assert isinstance(setting, Spike)
    flat = replace(ball, array=np.full(SHAPE, 100.0, np.float32))

    wave = artefacts.apply(flat, Kind.SPIKE, Strength.MILD, 0).array - 100
    spectrum = np.sort(np.abs(np.fft.fftn(wave)).ravel())[::-1]

    assert np.abs(wave).max() == pytest.approx(100 * setting.depth, rel=0.05)
    assert spectrum[2 * setting.count] < 0.1 * spectrum[0]


def test_motion_smears_along_the_phase_axis_only(ball: Volume) -> None:
    """Outside the head, motion leaves ghosts in rows behind and before it, hardly beside it."""
    faulty = artefacts.apply(ball, Kind.MOTION, Strength.STRONG, 0).array
    middle = slice(20, 28)

    behind = faulty[10:14, :8, middle].mean()
    beside = faulty[10:14, 28:36, :4].mean()

    assert behind > 2 * beside


def test_every_setting_can_be_stated_in_words() -> None:
    """Each fault has a sentence that names its numbers."""
    statements = {artefacts.statement(kind, strength) for kind, strength in SETTINGS}

    assert len(statements) == len(Kind) * len(Strength)
    assert all(any(character.isdigit() for character in text) for text in statements)
