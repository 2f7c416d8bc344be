"""Tilted stacks stood upright: what the judge sees, and what comes back of what it says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from results.scans import BRIGHT, bright_places

from gatekeeper.errors import UnreadableSeries
from gatekeeper.work.geometry import drift
from gatekeeper.work.upright import upright
from models.volume import Volume

PLENTY = 1_000_000
SHAPE = (8, 12, 10)


def tilted(degrees: float, turn: float = 90.0, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """Return slices 3 mm apart, of pixels of 1.5 x 0.75 mm, each shifted toward a direction.

    Every voxel has a value of its own, and all but one are bright.
    """
    shift = 3.0 * math.tan(math.radians(degrees))
    across, down = shift * math.cos(math.radians(turn)), shift * math.sin(math.radians(turn))
    affine = np.array(
        [[across, 0, 0.75, -40], [down, 1.5, 0, -60], [3.0, 0, 0, 20], [0, 0, 0, 1.0]]
    )
    array = 1000 + np.arange(math.prod(shape)).reshape(shape)
    array[shape[0] // 2, shape[1] // 2, shape[2] // 2] = 0
    return Volume(array.astype(np.float32), affine, "CT", "BRAIN")


def places(volume: Volume) -> NDArray[np.float64]:
    """Return where each voxel lies in the patient, LPS mm, (slices, rows, columns, 3)."""
    index = np.indices(volume.array.shape).reshape(3, -1)
    there = volume.affine @ np.vstack([index, np.ones(index.shape[1])])
    return there[:3].T.reshape(*volume.array.shape, 3)


@pytest.mark.parametrize("degrees", [0.0, 0.4])
def test_a_straight_stack_is_judged_as_it_is(degrees: float) -> None:
    """Nothing is copied or moved, and the finding comes back itself."""
    volume = tilted(degrees)
    seen = upright(volume, PLENTY)
    found = bright_places(volume)

    assert seen.volume is volume
    assert seen.on_source(found) is found


@settings(max_examples=40)
@given(st.floats(0.6, 30.0), st.floats(0, 360))
def test_the_judge_sees_each_value_within_half_a_pixel_of_its_place(
    degrees: float, turn: float
) -> None:
    """The grid is orthogonal, has every source voxel once, and is the darkest value elsewhere."""
    source = tilted(degrees, turn)
    seen = upright(source, PLENTY)
    steps = seen.volume.affine[:3, :3]

    assert drift(seen.volume.affine)[0] < 1e-9
    assert np.allclose(steps, [[0, 0, 0.75], [0, 1.5, 0], [3, 0, 0]])
    assert np.count_nonzero(seen.volume.array) == source.array.size - 1
    there = places(seen.volume)
    for index, (row, column) in enumerate(seen.offsets):
        box = np.s_[index, row : row + SHAPE[1], column : column + SHAPE[2]]
        assert np.array_equal(seen.volume.array[box], source.array[index])
        apart = there[box] - places(source)[index]
        assert np.abs(apart[..., 2]).max() < 1e-9
        assert np.abs(apart[..., 1]).max() <= 1.5 / 2 + 1e-9
        assert np.abs(apart[..., 0]).max() <= 0.75 / 2 + 1e-9


def test_a_map_comes_back_to_the_very_pixels() -> None:
    """What is said of a pixel is said of that pixel of the source."""
    source = tilted(20.0, 37.0)
    seen = upright(source, PLENTY)

    assert np.array_equal(seen.on_source(bright_places(seen.volume)).map, source.array)


def test_a_body_upright_in_the_patient_is_one_region_in_its_place() -> None:
    """A rod along the patient crosses tilted slices at other pixels of each, and is one region."""
    source = tilted(25.0, shape=(8, 40, 20))
    there = places(source)
    rod = (np.abs(there[..., 0] + 33) < 1.6) & (np.abs(there[..., 1] + 35) < 3.1)
    rod &= np.abs(there[..., 2] - 29) < 7
    source = replace(source, array=np.where(rod, BRIGHT, 1).astype(np.float32))
    seen = upright(source, PLENTY)
    (alone, *others) = seen.on_source(bright_places(seen.volume)).regions

    assert len(np.unique(rod.any(axis=2), axis=0)) > 3
    assert not others
    assert alone.volume_mm3 == pytest.approx(rod.sum() * 3 * 1.5 * 0.75)
    assert np.allclose(alone.centre, there[rod].mean(axis=0))
    depth, row, column = alone.mask_offset
    slices, rows, columns = alone.mask.shape
    box = np.s_[depth : depth + slices, row : row + rows, column : column + columns]
    assert np.array_equal(alone.mask, rod[box])
    assert rod[alone.slice_index, int(alone.outline[:, 1].mean()), int(alone.outline[:, 0].mean())]


def test_a_region_beside_the_slices_falls_away() -> None:
    """What a judge says of the padding is of no pixel: the ranks of the others close up."""
    source = tilted(25.0)
    seen = upright(source, PLENTY)
    array = np.zeros_like(seen.volume.array)
    array[0, -1, 4:9] = array[7, 0, :5] = 2 * BRIGHT
    row, column = seen.offsets[3]
    array[3, row + 5, column + 6] = BRIGHT
    found = seen.on_source(bright_places(replace(seen.volume, array=array)))

    (region,) = found.regions
    assert region.label == 1
    assert region.centre == source.to_patient((3, 5, 6))
    assert region.peak == BRIGHT


def test_no_air_is_added_to_a_head_in_air() -> None:
    """A head that fits a slice is judged on a grid of a slice's size, whole and in its middle."""
    source = tilted(25.0, shape=(8, 40, 20))
    there = places(source)
    head = (there[..., 1] > -45) & (there[..., 1] < -20) & (np.abs(there[..., 0] + 33) < 5)
    source = replace(source, array=np.where(head, BRIGHT, 1).astype(np.float32))
    seen = upright(source, PLENTY)
    (rows,) = np.nonzero((seen.volume.array > 1).any(axis=(0, 2)))

    assert seen.volume.array.shape == source.array.shape
    assert np.count_nonzero(seen.volume.array > 1) == np.count_nonzero(head)
    assert abs(int(rows.min()) - (39 - int(rows.max()))) <= 1
    judged = bright_places(replace(seen.volume, array=np.ones_like(seen.volume.array)))
    assert set(np.unique(seen.on_source(judged).map)) == {0.0, 1.0}


def test_a_stack_that_grows_too_large_is_named() -> None:
    """The room around long tilted stacks counts against the limit of voxels."""
    source = tilted(30.0)

    with pytest.raises(UnreadableSeries, match=r"Too large: 1,\d+ voxels are declared and 960 are"):
        upright(source, source.array.size)
