"""The source grid, its canonical view, and the way there and back."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from models.grid import canonical, interpolate, smoothed
from models.volume import Volume

ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def oriented(axes: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """Return a small volume whose index axes run along these LPS axes with these signs."""
    array = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, column] = sign * (1.0 + column)
    return Volume(array, affine, "MR")


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_a_canonical_volume_runs_right_front_and_up_and_returns_unchanged(
    axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """Any of the 48 orientations is read in RAS order and written back voxel for voxel."""
    volume = oriented(axes, signs)
    source = canonical(volume)

    assert np.array_equal(source.to_source(source.array), volume.array)
    index = np.argwhere(volume.array == source.array[0, 0, 0])[0]
    origin = np.array(volume.to_patient((index[0], index[1], index[2])))
    for axis, toward in enumerate(np.diag([-1.0, -1.0, 1.0])):  # right, front, top in LPS
        corner = np.argwhere(volume.array == source.array[tuple(np.eye(3, dtype=int)[axis])])[0]
        step = np.array(volume.to_patient((corner[0], corner[1], corner[2]))) - origin
        assert np.allclose(step, toward * source.spacing[axis])


def test_an_oblique_volume_takes_the_nearest_axes() -> None:
    """A tilt of 20 degrees does not change which axis is which."""
    angle = np.deg2rad(20)
    affine = oriented((2, 1, 0), (1, 1, 1)).affine
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    volume = Volume(np.zeros((3, 4, 5), np.float32), tilt @ affine, "MR")

    assert canonical(volume).axes == (2, 1, 0)
    assert canonical(volume).flipped == (True, True, False)


def test_interpolation_is_exact_on_a_ramp_and_zero_outside() -> None:
    """A linear image is reproduced at fractional places; beyond the edge there is nothing."""
    ramp = np.broadcast_to(np.arange(6, dtype=np.float32)[None, :, None], (2, 6, 3)).copy()

    inside = interpolate(ramp, 1, np.array([0.25, 3.5, 5.0]))
    outside = interpolate(ramp, 1, np.array([-1.0, 6.0, 40.0]))

    assert np.allclose(inside[0, :, 0], [0.25, 3.5, 5.0])
    assert not outside.any()


def test_a_coarse_source_is_not_blurred_further() -> None:
    """Smoothing to 2 mm leaves a 3 mm source as it is and halves a fine one's contrast."""
    stripes = np.tile(np.array([0, 1], np.float32), 16)[None, :, None].copy()

    assert smoothed(stripes, 1, 3.0, 2.0) is stripes
    assert np.ptp(smoothed(stripes, 1, 0.5, 2.0)[0, 8:24, 0]) < 0.1
