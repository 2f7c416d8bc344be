"""Faults: reproducible, graded, and where they were put."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from models.artefacts import Strength
from models.evaluation import fault_series
from models.evaluation.faults import FAULTS, TORCHIO, wrong_body_part
from models.volume import Volume

SHORTER = ("missing_slices", "cut_field_of_view")
"""Faults that take something away, so that the grid is smaller."""
SAME_GRID = tuple(name for name in FAULTS if name not in SHORTER)


def _head(seed: int) -> Volume:
    """Return an ellipsoid of three tissues, axial, a different one for each seed."""
    shape = (36, 60, 54)
    grid = np.moveaxis(np.indices(shape), 0, -1)
    inside = (((grid - np.array([18, 30, 27])) / np.array([15, 25, 21])) ** 2).sum(axis=-1) < 1
    noise = np.random.default_rng(seed).normal(size=shape)
    texture = ndimage.gaussian_filter(noise, (1.5, 2, 2))
    tissue = np.digitize(texture, np.quantile(texture, (0.2, 0.6)))
    array = np.where(inside, np.array([60, 140, 220])[tissue], 0).astype(np.float32)
    affine = np.array([[0, 0, -1.5, 40], [0, 1.5, 0, -40], [3, 0, 0, 10], [0, 0, 0, 1.0]])
    ids = tuple(f"slice {index}" for index in range(shape[0]))
    return Volume(array, affine, "MR", "BRAIN", "T1", slice_ids=ids)


@pytest.fixture(scope="module")
def clean() -> Volume:
    """Return a head without fault."""
    return _head(0)


def _names(*names: str) -> list[Any]:
    """Return the names as parameters; what torchio makes is skipped where it is absent."""
    absent = find_spec("torchio") is None
    skipped = pytest.mark.skipif(absent, reason="torchio is not installed")
    return [pytest.param(name, marks=skipped if name in TORCHIO else ()) for name in names]


def _distance(faulty: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    """Return the mean difference after the best common factor: brightness alone is no fault."""
    gain = float((faulty * clean).sum() / (clean * clean).sum())
    return float(np.abs(faulty - gain * clean).mean())


@pytest.mark.parametrize("name", _names(*FAULTS))
def test_a_seed_gives_one_array(clean: Volume, name: str) -> None:
    """The same seed gives the same array, and the clean scan is not touched."""
    before = clean.array.copy()

    once = FAULTS[name].apply(clean, Strength.MODERATE, 3)
    again = FAULTS[name].apply(clean, Strength.MODERATE, 3)

    assert np.array_equal(once.array, again.array)
    assert np.array_equal(once.affine, again.affine)
    assert np.array_equal(clean.array, before)


@pytest.mark.parametrize("name", _names(*SAME_GRID))
def test_a_stronger_fault_is_further_from_the_clean_scan(clean: Volume, name: str) -> None:
    """On the same grid, in the same place, the distance grows with the strength."""
    faulty = [FAULTS[name].apply(clean, strength, 1) for strength in Strength]

    for one in faulty:
        assert one.array.dtype == np.float32
        assert one.array.shape == clean.array.shape
        assert np.array_equal(one.affine, clean.affine)
        assert one.slice_ids == clean.slice_ids
        assert np.isfinite(one.array).all()
        assert one.array.min() >= 0
    mild, moderate, strong = (_distance(one.array, clean.array) for one in faulty)
    assert 0 < mild < moderate < strong


@pytest.mark.parametrize("name", SHORTER)
def test_a_stronger_loss_leaves_less(clean: Volume, name: str) -> None:
    """What is left shrinks with the strength, and is as it was."""
    faulty = [FAULTS[name].apply(clean, strength, 1) for strength in Strength]

    sizes = [clean.array.size, *(one.array.size for one in faulty)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
    assert all(one.array.sum() < clean.array.sum() for one in faulty)
    assert all(len(one.slice_ids) == len(one.array) for one in faulty)


@pytest.mark.parametrize("seed", range(8))
def test_what_a_cut_leaves_stays_in_its_place(clean: Volume, seed: int) -> None:
    """The first voxel left is found at its patient coordinates in the clean scan."""
    faulty = FAULTS["cut_field_of_view"].apply(clean, Strength.MODERATE, seed)
    corner = np.linalg.inv(clean.affine) @ [*faulty.to_patient((0, 0, 0)), 1.0]
    start = np.round(corner[:3]).astype(int)
    box = tuple(slice(at, at + size) for at, size in zip(start, faulty.array.shape, strict=True))

    assert np.array_equal(clean.array[box], faulty.array)


def test_missing_slices_are_neighbours_and_closed_up(clean: Volume) -> None:
    """The slices left keep their identity; the gap shows in their names only."""
    faulty = FAULTS["missing_slices"].apply(clean, Strength.MODERATE, 0)

    numbers = [int(name.split()[1]) for name in faulty.slice_ids]
    assert sorted(np.diff(numbers).tolist())[-2:] == [1, 4]
    assert faulty.spacing == clean.spacing


def test_duplicated_slices_hold_the_same_pixels_twice(clean: Volume) -> None:
    """As many slices equal the one before as the setting says."""
    for count, strength in zip((1, 3, 8), Strength, strict=True):
        array = FAULTS["duplicated_slices"].apply(clean, strength, 5).array
        same = [np.array_equal(a, b) for a, b in zip(array[1:], array[:-1], strict=True)]
        filled = [bool(one.any()) for one in array[1:]]
        assert sum(s and f for s, f in zip(same, filled, strict=True)) == count


def test_a_flip_turns_the_patient_and_not_the_header(clean: Volume) -> None:
    """Flipped left to right, the columns of an axial scan run the other way."""
    faulty = FAULTS["flipped_left_right"].apply(clean, Strength.STRONG, 0)
    turned = FAULTS["flipped_front_back"].apply(clean, Strength.STRONG, 0)

    assert np.array_equal(faulty.array, clean.array[:, :, ::-1])
    assert np.array_equal(turned.array, clean.array[:, ::-1])


def test_reversed_contrast_keeps_air_dark_and_turns_the_tissues(clean: Volume) -> None:
    """The darkest tissue becomes the brightest, and the background stays."""
    faulty = FAULTS["wrong_contrast"].apply(clean, Strength.STRONG, 0).array
    means = [faulty[clean.array == value].mean() for value in (60, 140, 220)]

    assert means == sorted(means, reverse=True)
    assert np.median(faulty[clean.array == 0]) == 0


def test_another_body_part_comes_under_this_scans_header(clean: Volume) -> None:
    """Strong is the other scan on its own grid; less is part of it on this one."""
    other = replace(
        _head(7), array=3 * _head(7).array[:20, :50], affine=np.eye(4), body_part="PELVIS"
    )
    fault = wrong_body_part(other)
    same = wrong_body_part(lambda _seed: other)

    whole = fault.apply(clean, Strength.STRONG, 0)
    part = fault.apply(clean, Strength.MILD, 0)

    assert np.array_equal(whole.array, other.array)
    assert (whole.body_part, whole.sequence) == ("BRAIN", "T1")
    assert np.array_equal(part.array[:24], clean.array[:24])
    assert not np.array_equal(part.array[24:], clean.array[24:])
    assert np.array_equal(same.apply(clean, Strength.MILD, 0).array, part.array)


def test_every_strength_is_stated_in_words() -> None:
    """No two settings of a fault read the same."""
    for fault in FAULTS.values():
        assert len({fault.settings[strength] for strength in Strength}) == 3


def test_torchio_is_given_the_front_to_back_axis_as_phase_axis(clean: Volume) -> None:
    """Ghosts of a point lie before and behind it, not beside or above it."""
    pytest.importorskip("torchio")
    array = np.zeros(clean.array.shape, np.float32)
    array[18, 30, 27] = 100

    faulty = FAULTS["ghosting"].apply(replace(clean, array=array), Strength.STRONG, 0).array

    assert np.abs(faulty[18, :, 27]).sum() > 0.99 * np.abs(faulty).sum()
    assert (faulty[18, :, 27] > 1).sum() > 1


def test_the_side_of_a_cut_is_every_side_but_the_bottom() -> None:
    """Heads go on below, so a field of view that ends there is no fault."""
    assert {name for name, _, _ in fault_series.SIDES} == {"top", "front", "back", "right", "left"}
