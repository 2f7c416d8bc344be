"""Regions: measured where they are, in the patient's own millimetres."""

from __future__ import annotations

import numpy as np

from models.regions import outline, regions
from models.volume import Volume

SPACING = np.array([3.0, 0.5, 0.7])


def oblique(shape: tuple[int, int, int]) -> Volume:
    """Return an empty tilted volume."""
    angle = np.deg2rad(15)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    axes = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float)  # slice z, row y, column x
    affine = np.eye(4)
    affine[:3, :3] = rotation @ axes * SPACING
    affine[:3, 3] = [10, -20, 30]
    return Volume(np.zeros(shape, np.float32), affine, "MR")


def test_a_region_has_the_volume_and_place_of_its_voxels() -> None:
    """A box of known corners is found with its millilitres, centre, slice and peak."""
    volume = oblique((12, 40, 50))
    values = np.zeros(volume.array.shape, np.float32)
    values[2:6, 10:20, 30:40] = 3.5
    values[4, 12, 33] = 4.0

    (region,) = regions(volume, values, 3.0, smallest_mm3=10)

    assert np.isclose(region.volume_mm3, 400 * SPACING.prod())
    assert np.allclose(region.centre, volume.to_patient((3.5, 14.5, 34.5)))
    assert region.mask_offset == (2, 10, 30)
    assert region.mask.shape == (4, 10, 10)
    assert region.mask.all()
    assert region.peak == 4.0
    assert 2 <= region.slice_index < 6
    assert np.allclose(region.outline.min(0), [29.5, 9.5])
    assert np.allclose(region.outline.max(0), [39.5, 19.5])


def test_regions_are_ranked_by_mass_and_at_most_ten() -> None:
    """Of thirteen, the ten of largest mass are kept, largest first; small ones are dropped."""
    volume = oblique((30, 40, 50))
    values = np.zeros(volume.array.shape, np.float32)
    for index in range(13):
        values[2 * index, 5 : 7 + index, 5:15] = 3.5
    values[28, 30, 40] = 4.0

    found = regions(volume, values, 3.0, smallest_mm3=5.0)

    assert [region.label for region in found] == list(range(1, 11))
    masses = [region.mean * region.volume_mm3 for region in found]
    assert masses == sorted(masses, reverse=True)
    assert found[0].slice_index == 24


def test_a_map_without_surprise_has_no_region() -> None:
    """Nothing above the threshold, nothing reported."""
    volume = oblique((5, 6, 7))

    assert regions(volume, np.full((5, 6, 7), 2.0, np.float32), 2.0, 0.0) == ()


def test_an_outline_is_closed_and_follows_the_outer_boundary() -> None:
    """A ring gives its outer contour, not its hole."""
    mask = np.zeros((20, 20), bool)
    mask[4:16, 5:15] = True
    mask[8:12, 8:12] = False

    polygon = outline(mask)

    assert np.array_equal(polygon[0], polygon[-1])
    assert np.allclose(polygon.min(0), [4.5, 3.5])
    assert np.allclose(polygon.max(0), [14.5, 15.5])
