"""Planes into stacks: order, affine, and every way in which planes make no grid."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.errors import UnreadableSeries
from gatekeeper.work.geometry import Plane, Stack, drift, stacks
from gatekeeper.work.values import IncompleteSeries

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def plane(z: float, number: int | None = None, **fields: Any) -> Plane:
    made = Plane(
        position=(-10.0, -20.0, z),
        rows_direction=X,
        columns_direction=Y,
        pixel_spacing=(1.5, 1.0),
        rows=16,
        columns=12,
        instance_number=number,
        thickness=2.0,
    )
    return replace(made, **fields)


def axial(*positions: float) -> list[Plane]:
    return [plane(z, number) for number, z in enumerate(positions, start=1)]


def only(planes: list[Plane]) -> Stack:
    (stack,) = stacks(planes)
    return stack


def test_slices_are_ordered_along_the_normal() -> None:
    """An axial stack runs from feet to head, whatever the instance numbers say."""
    stack = only(axial(6.0, 4.0, 2.0, 0.0))

    assert stack.order == (3, 2, 1, 0)
    assert stack.key == ""


def test_the_affine_takes_an_index_to_the_patient() -> None:
    """Columns of the affine are the steps of slice, row and column; its origin the first voxel."""
    affine = only(axial(0.0, 2.0, 4.0)).affine

    assert affine.tolist() == [[0, 0, 1, -10], [0, 1.5, 0, -20], [2, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("rows", "columns", "normal"), [(X, Y, Z), (Y, (0, 0, -1), (-1, 0, 0)), (X, (0, 0, -1), Y)]
)
def test_every_orientation_gives_a_right_handed_grid(
    rows: tuple[float, float, float],
    columns: tuple[float, float, float],
    normal: tuple[float, float, float],
) -> None:
    """Axial, sagittal and coronal stacks step along row x column."""
    planes = [
        plane(0, position=tuple(3.0 * k * part for part in normal), rows_direction=rows,
              columns_direction=columns)
        for k in range(4)
    ]  # fmt: skip
    stack = only(planes[::-1])

    assert stack.order == (3, 2, 1, 0)
    assert np.allclose(stack.affine[:3, 0], 3.0 * np.array(normal))


@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.floats(0.4, 8.0),
    st.integers(3, 40),
    st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_never_matters(
    turn: list[float], spacing: float, count: int, chance: random.Random
) -> None:
    """Any permutation of the planes of an oblique stack gives the same slices and affine."""
    a, b, c = turn
    rows = np.array([math.cos(a) * math.cos(b), math.sin(a) * math.cos(b), -math.sin(b)])
    across = np.cross(rows, [math.sin(c) + 0.1, math.cos(c), 1.3])
    columns = across / np.linalg.norm(across)
    normal = np.cross(rows, columns)
    planes = [
        plane(0, number=k, position=tuple(np.array([3.0, -7.0, 11.0]) + k * spacing * normal),
              rows_direction=tuple(rows), columns_direction=tuple(columns))
        for k in range(count)
    ]  # fmt: skip
    straight = only(planes)
    shuffled = planes[:]
    chance.shuffle(shuffled)
    found = only(shuffled)

    assert [shuffled[index] for index in found.order] == planes
    assert np.allclose(found.affine, straight.affine, atol=1e-9)
    assert np.allclose(found.affine[:3, 0], spacing * normal, atol=1e-6)


def test_one_missing_slice_is_named_with_its_gap() -> None:
    """The gap is given in millimetres, between the numbers that the scanner gave the images."""
    planes = [item for item in axial(0, 3, 6, 9, 12, 15) if item.instance_number != 4]

    with pytest.raises(IncompleteSeries) as caught:
        stacks(planes)

    assert str(caught.value) == (
        "1 slice is missing: images 3 and 5 lie 6.00 mm apart where 3.00 mm is regular."
    )


@given(st.integers(6, 30), st.data())
def test_any_slice_missing_inside_is_noticed(count: int, data: st.DataObject) -> None:
    """Whichever inner slice is left out, the stack is not taken for whole."""
    planes = axial(*(2.5 * k for k in range(count)))
    lost = data.draw(st.integers(1, count - 2))

    with pytest.raises(IncompleteSeries, match="1 slice is missing"):
        stacks([item for index, item in enumerate(planes) if index != lost])


def test_several_gaps_are_counted_together() -> None:
    """All missing slices are counted and the first gap is described."""
    planes = [item for item in axial(*range(0, 40, 2)) if item.instance_number not in (5, 9, 10)]

    with pytest.raises(
        IncompleteSeries, match=r"3 slices are missing: first of 2 gaps, images 4 a"
    ):
        stacks(planes)


def test_a_gap_without_numbers_is_unreadable_but_not_called_incomplete() -> None:
    """Where no instance numbers bear witness, the gap is a rule broken, not a loss proven."""
    planes = [replace(item, instance_number=None) for item in axial(0, 2, 4, 8, 10)]

    with pytest.raises(UnreadableSeries, match=r"two neighbours lie 4\.00 mm apart") as caught:
        stacks(planes)

    assert not isinstance(caught.value, IncompleteSeries)


def test_an_even_stack_of_every_nth_slice_is_incomplete() -> None:
    """Slices 2 mm thick, 28 mm apart and numbered in steps of 14 are not a whole scan."""
    planes = [plane(28.0 * k, number=1 + 14 * k) for k in range(8)]

    with pytest.raises(IncompleteSeries, match="13 of every 14 slices are missing"):
        stacks(planes)


def test_a_protocol_with_gaps_between_slices_is_whole() -> None:
    """Slices 2 mm thick every 10 mm, numbered one by one, are how it was scanned."""
    assert len(only(axial(*range(0, 100, 10))).order) == 10


def test_uneven_spacing_is_named() -> None:
    """Spacing that is no multiple of itself makes no grid."""
    with pytest.raises(UnreadableSeries, match=r"Uneven spacing.* 2\.00 to 3\.10 mm"):
        stacks(axial(0, 2, 4, 7.1, 9.1))


def test_rounded_positions_are_even() -> None:
    """Positions rounded to a tenth of a millimetre still make a grid."""
    assert len(only(axial(*(round(k * 2.998, 1) for k in range(60)))).order) == 60


@pytest.mark.parametrize("key", ["EchoTime", "DiffusionBValue", "AcquisitionNumber"])
def test_volumes_at_one_place_are_told_apart_by_a_key(key: str) -> None:
    """Two echoes, b-values or acquisitions become two stacks, in the order of the key."""
    planes = [plane(2.0 * k, keys={key: value}) for k in range(4) for value in ("100", "9")]
    first, second = stacks(planes)

    assert (first.key, second.key) == (f"{key} 9", f"{key} 100")
    assert [planes[index].keys[key] for index in first.order] == ["9"] * 4


def test_repeated_positions_without_a_key_are_named() -> None:
    """Two images at one place that nothing tells apart are not guessed at."""
    with pytest.raises(UnreadableSeries, match="Repeated positions: 1 of 5 images"):
        stacks(axial(0, 2, 2, 4, 6))


def test_mixed_orientation_is_named() -> None:
    """A three-plane localizer is no stack."""
    planes = axial(0, 2, 4)
    planes.append(plane(6, columns_direction=(0.0, 0.0, -1.0)))

    with pytest.raises(UnreadableSeries, match="Mixed orientation: 2 orientations"):
        stacks(planes)


def test_a_mixed_matrix_is_named() -> None:
    """Images of several sizes are no stack."""
    with pytest.raises(UnreadableSeries, match="Mixed matrix: 2 image sizes"):
        stacks([*axial(0, 2, 4), plane(6, rows=32)])


def test_mixed_pixel_spacing_is_named() -> None:
    """Images of several pixel spacings are no stack."""
    with pytest.raises(UnreadableSeries, match="Mixed pixel spacing"):
        stacks([*axial(0, 2, 4), plane(6, pixel_spacing=(1.0, 1.0))])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_slices_are_named(count: int) -> None:
    """One or two images make no volume."""
    with pytest.raises(UnreadableSeries, match=f"Too few slices: {count} where 3"):
        stacks(axial(*range(count)))


def tilted(degrees: float) -> list[Plane]:
    """Return slices 2 mm apart, each shifted along its columns against the one before."""
    shift = math.tan(math.radians(degrees))
    return [plane(0, position=(0.0, 2.0 * k * shift, 2.0 * k)) for k in range(6)]


@pytest.mark.parametrize("tilt", [3.0, 12.5, -20.0, 30.0])
def test_a_gantry_tilt_is_a_grid_that_the_affine_shears(tilt: float) -> None:
    """Positions stay the slices' own, and the shift is known in degrees and in pixels."""
    stack = only(tilted(tilt)[::-1])
    degrees, rows, columns = drift(stack.affine)

    assert stack.order == (5, 4, 3, 2, 1, 0)
    assert np.allclose(stack.affine[:3, 0], (0, 2 * math.tan(math.radians(tilt)), 2))
    assert degrees == pytest.approx(abs(tilt))
    assert rows == pytest.approx(2 * math.tan(math.radians(tilt)) / 1.5)
    assert columns == pytest.approx(0)


@pytest.mark.parametrize("tilt", [31.0, -45.0])
def test_a_tilt_that_no_gantry_has_is_named_with_its_angle(tilt: float) -> None:
    """A stack sheared further was not made by a gantry, and its positions are not trusted."""
    with pytest.raises(
        UnreadableSeries, match=f"Sheared stack.*{abs(tilt)} degrees.*by 30 at most"
    ):
        stacks(tilted(tilt))


def test_one_slice_off_the_line_is_named() -> None:
    """A slice shifted within its plane, as by table motion, makes no grid."""
    planes = axial(0, 2, 4, 6, 8)
    planes[2] = plane(4, number=3, position=(-10.0, -17.0, 4.0))

    with pytest.raises(UnreadableSeries, match=r"Shifted slices: one lies 3\.00 mm off"):
        stacks(planes)


@pytest.mark.parametrize(
    ("rows", "columns"), [((0.0, 0.0, 0.0), Y), (X, X), ((2.0, 0.0, 0.0), Y), (X, (0.6, 0.8, 0.0))]
)
def test_an_orientation_that_is_none_is_named(
    rows: tuple[float, float, float], columns: tuple[float, float, float]
) -> None:
    """Direction cosines must be two perpendicular unit vectors."""
    planes = [plane(z, rows_direction=rows, columns_direction=columns) for z in (0, 2, 4)]

    with pytest.raises(UnreadableSeries, match="not two perpendicular unit vectors"):
        stacks(planes)


def test_a_pixel_spacing_of_zero_is_named() -> None:
    """A spacing of zero is no spacing."""
    with pytest.raises(UnreadableSeries, match="PixelSpacing is not positive"):
        stacks([plane(z, pixel_spacing=(0.0, 1.0)) for z in (0, 2, 4)])


@given(
    st.lists(
        st.tuples(*[st.floats(-500, 500)] * 3, *[st.floats(-1.5, 1.5)] * 6, st.floats(-1, 5)),
        min_size=1,
        max_size=8,
    )
)
def test_any_planes_give_a_grid_or_a_named_rule(numbers: list[tuple[float, ...]]) -> None:
    """No planes, however wild, raise anything but the rule that they break."""
    planes = [
        plane(
            0,
            position=(item[0], item[1], item[2]),
            rows_direction=(item[3], item[4], item[5]),
            columns_direction=(item[6], item[7], item[8]),
            pixel_spacing=(item[9], item[9]),
        )
        for item in numbers
    ]
    try:
        found = stacks(planes)
    except UnreadableSeries as error:
        assert str(error).endswith(".")
    else:
        assert all(np.isfinite(stack.affine).all() for stack in found)
