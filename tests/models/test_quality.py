"""Quality: each check fires on its fault alone, each metric measures what it names."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from models.artefacts import Kind, Strength, apply
from models.defects import defects
from models.errors import NotAssessable
from models.evaluation import fault_series
from models.evaluation.faults import FAULTS
from models.grid import canonical
from models.prepare import GridConfig, Prepared, normalised
from models.quality import METRICS, quality_metrics
from models.sources.shared_sets import oasis
from models.volume import Volume

TEMPLATE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def _checks(volume: Volume) -> set[str]:
    return {defect.check for defect in defects(volume)}


@pytest.fixture(scope="module")
def head() -> Volume:
    """Return a smooth ellipsoid of tissue texture, axial, whole."""
    shape = (40, 80, 72)
    grid = np.moveaxis(np.indices(shape), 0, -1)
    inside = (((grid - np.array([20, 40, 36])) / np.array([16, 34, 29])) ** 2).sum(axis=-1) < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 2)
    array = np.where(inside, 160 + 50 * texture / texture.std(), 0).clip(0).astype(np.float32)
    affine = np.array([[0, 0, -2.0, 0], [0, 2.0, 0, 0], [4.0, 0, 0, 0], [0, 0, 0, 1.0]])
    return Volume(array, affine, "MR", "BRAIN", "T1")


def _prepared(volume: Volume, brain: NDArray[np.bool_] | None = None) -> Prepared:
    """Return an axial volume as a working grid of its own."""
    source = canonical(volume)
    images = np.ascontiguousarray(source.array.transpose(2, 1, 0))
    z, y, x = (np.arange(size, dtype=np.float64) for size in images.shape)
    inside = images > 0 if brain is None else brain[:, ::-1]
    return Prepared(images, inside, (z, y, x), source)


def _metrics(volume: Volume, brain: NDArray[np.bool_]) -> dict[str, float]:
    return quality_metrics(_prepared(volume, brain))


@pytest.fixture(scope="module")
def brain(head: Volume) -> NDArray[np.bool_]:
    """Return where the clean head is."""
    return head.array > 0


@pytest.fixture(scope="module")
def clean(head: Volume, brain: NDArray[np.bool_]) -> dict[str, float]:
    """Return the metrics of the clean head."""
    return _metrics(head, brain)


def test_a_clean_scan_has_no_defect(head: Volume) -> None:
    """The checks are silent on a whole, smooth head."""
    assert defects(head) == ()


def test_healthy_scans_have_no_defect(shared_data: Path) -> None:
    """Not one of two development scans of OASIS-1 is objected to."""
    scans = islice(oasis(shared_data / "brain_t1_healthy_oasis", "dev"), 2)

    assert [defects(scan.volume) for scan in scans] == [()] * 2


def test_real_scans_show_each_fault_of_the_series(shared_data: Path) -> None:
    """At mild strength each fault is found, and called by its name."""
    scan = next(oasis(shared_data / "brain_t1_healthy_oasis", "dev"))
    expected = {
        "missing_slices": "slice_jump",
        "duplicated_slices": "repeated_slices",
        "cut_field_of_view": "cut_head",
        "flipped_front_back": "slice_jump",
    }

    for name, check in expected.items():
        assert _checks(FAULTS[name].apply(scan.volume, Strength.MILD, 0)) == {check}


def test_the_template_has_no_defect() -> None:
    """The MNI152 T1 template that nilearn carries passes every check."""
    nilearn: Any = pytest.importorskip("nilearn")  # untyped
    nibabel: Any = pytest.importorskip("nibabel")
    image = nibabel.load(Path(nilearn.__file__).parent / "datasets" / "data" / TEMPLATE)
    image = nibabel.as_closest_canonical(image).slicer[::2, ::2, ::2]
    affine: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    array: NDArray[np.float32] = image.get_fdata(dtype=np.float32)
    template = Volume(
        np.ascontiguousarray(array.transpose(2, 1, 0)), affine[:, [2, 1, 0, 3]], "MR", "BRAIN", "T1"
    )

    assert defects(template) == ()


def test_voxels_that_are_not_numbers_are_named_by_slice(head: Volume) -> None:
    """One NaN is enough, and nothing else is said of such a series."""
    array = head.array.copy()
    array[7, 3, 3] = np.nan

    (found,) = defects(replace(head, array=array))

    assert (found.check, found.slices) == ("not_finite", (7,))
    assert "8" in found.sentence


def test_a_constant_series_is_constant(head: Volume) -> None:
    """All voxels alike, zero or not."""
    assert _checks(replace(head, array=np.full(head.array.shape, 5, np.float32))) == {"constant"}


def test_clipped_values_are_saturated(head: Volume) -> None:
    """A tenth of the head at the largest value is reported, a single voxel is not."""
    top = float(np.quantile(head.array[head.array > 0], 0.9))

    assert _checks(replace(head, array=np.minimum(head.array, np.float32(top)))) == {"saturated"}


def test_an_empty_slice_within_the_stack_is_found(head: Volume) -> None:
    """Empty slices at the ends are air; one in the middle is a fault."""
    array = head.array.copy()
    array[18] = 0

    found = {defect.check: defect for defect in defects(replace(head, array=array))}

    assert found["empty_slices"].slices == (18,)
    assert found["empty_slices"].sentence == "Slice 19 is empty."


def test_a_repeated_slice_is_found_exactly_and_nearly(head: Volume) -> None:
    """The same pixels twice, and the same pixels stored with a little loss."""
    array = head.array.copy()
    array[15] = array[14]
    array[25] = array[24] * 1.001 + 0.1

    (found,) = defects(replace(head, array=array))

    assert (found.check, found.slices) == ("repeated_slices", (15, 25))
    assert found.sentence == "Slices 16 and 26 show the same image as the slice before."


def test_missing_slices_make_the_content_jump(head: Volume) -> None:
    """The jump is where the slices are missing."""
    kept = np.delete(np.arange(40), [18, 19])

    found = defects(replace(head, array=head.array[kept]))

    assert [one.check for one in found] == ["slice_jump"]
    assert found[0].slices == (18,)
    assert found[0].sentence == ("The content jumps before slice 19, as where slices are missing.")


@pytest.mark.parametrize("side", range(len(fault_series.SIDES)))
def test_a_cut_head_is_found_on_its_side(head: Volume, side: int) -> None:
    """A fifth of the head beyond a side is reported, with the side's name."""
    seeds = (s for s in range(99) if np.random.default_rng(s).integers(5) == side)
    cut = fault_series.cut(head, 0.2, np.random.default_rng(next(seeds)))

    (found,) = defects(cut)

    assert found.check == "cut_head"
    assert fault_series.SIDES[side][0] in found.sentence


def test_a_body_may_be_larger_than_its_field_of_view(head: Volume) -> None:
    """Only heads must be whole."""
    cut = fault_series.cut(head, 0.2, np.random.default_rng(0))

    assert defects(replace(cut, body_part="PELVIS")) == ()


def test_every_metric_is_finite_and_named(clean: dict[str, float]) -> None:
    """The metrics are those documented, in that order."""
    assert list(clean) == list(METRICS)
    assert all(math.isfinite(value) for value in clean.values())


def test_scale_does_not_matter(
    head: Volume, brain: NDArray[np.bool_], clean: dict[str, float]
) -> None:
    """A scan a hundred times as bright has the same metrics."""
    bright = _metrics(replace(head, array=head.array * 100), brain)

    assert bright == pytest.approx(clean, rel=1e-3, abs=1e-4)


def test_the_acquired_image_is_measured_not_the_normalised_one(
    head: Volume, clean: dict[str, float]
) -> None:
    """Normalisation, which hides faults of contrast, changes no metric."""
    prepared = _prepared(head)
    normal = replace(prepared, images=prepared.images**0.5, acquired=prepared.images)

    assert quality_metrics(normal) == clean


def test_noise_is_estimated_in_units_of_the_signal(
    head: Volume, brain: NDArray[np.bool_], clean: dict[str, float]
) -> None:
    """White noise of a known deviation is found to within a tenth by both estimates."""
    deviation = 8.0
    white = np.random.default_rng(1).normal(scale=deviation, size=head.array.shape)
    noisy = _metrics(replace(head, array=(head.array + white).astype(np.float32)), brain)
    top = float(np.quantile((head.array + white)[brain], 0.99))

    for name in ("noise", "noise_robust"):
        assert noisy[name] == pytest.approx(deviation / top, rel=0.1)
        assert clean[name] < 0.3 * noisy[name]


@pytest.mark.parametrize(
    ("kind", "metric", "sign"),
    [
        (Kind.BLUR, "sharpness_fine", -1),
        (Kind.NOISE, "high_frequency", 1),
        (Kind.NOISE, "spectrum_slope", 1),
        (Kind.GHOSTING, "ghost_rows", 1),
        (Kind.SPIKE, "spike", 1),
    ],
)
def test_a_fault_moves_its_metric(
    head: Volume,
    brain: NDArray[np.bool_],
    clean: dict[str, float],
    kind: Kind,
    metric: str,
    sign: int,
) -> None:
    """Each simulated fault is seen by the metric made for it."""
    faulty = _metrics(apply(head, kind, Strength.STRONG, 0), brain)

    assert sign * (faulty[metric] - clean[metric]) > 0.2 * abs(clean[metric])


def test_shading_follows_the_field(
    head: Volume, brain: NDArray[np.bool_], clean: dict[str, float]
) -> None:
    """A field of 80 % from left to right is seen, though not at its full size."""
    field = np.exp(np.linspace(-0.4, 0.4, head.array.shape[2], dtype=np.float32))

    shaded = _metrics(replace(head, array=head.array * field), brain)

    assert 2 * clean["shading"] < shaded["shading"] < 0.8


def test_a_dark_slice_raises_the_slice_variation(
    head: Volume, brain: NDArray[np.bool_], clean: dict[str, float]
) -> None:
    """One slice of half the signal is a jump of slice means and of content."""
    array = head.array.copy()
    array[20] /= 2

    dark = _metrics(replace(head, array=array), brain)

    assert dark["slice_variation"] > 2 * clean["slice_variation"]
    assert dark["slice_jump"] > clean["slice_jump"]


def test_a_brain_without_contrast_or_size_is_not_assessable(
    head: Volume, brain: NDArray[np.bool_]
) -> None:
    """The reason is said instead of numbers."""
    speck = np.zeros_like(brain)
    speck[20, 40:44, 36:40] = True

    with pytest.raises(NotAssessable, match="contrast"):
        _metrics(replace(head, array=np.zeros_like(head.array)), brain)
    with pytest.raises(NotAssessable, match="small"):
        _metrics(head, speck)


@pytest.mark.parametrize("anatomy", ["brain", "body"])
def test_what_is_too_small_or_flat_is_called_by_its_name(
    head: Volume, brain: NDArray[np.bool_], anatomy: str
) -> None:
    """A chest has no brain: the reason names what the bundle looked for."""
    seen = replace(_prepared(head, brain), anatomy=anatomy)
    small = replace(seen, brain=np.zeros_like(seen.brain))
    flat = replace(seen, images=np.zeros_like(seen.images))

    with pytest.raises(NotAssessable, match=f"the {anatomy} is too small"):
        quality_metrics(small)
    with pytest.raises(NotAssessable, match=f"the {anatomy} has no contrast"):
        quality_metrics(flat)
    with pytest.raises(NotAssessable, match=f"the {anatomy} has no contrast"):
        normalised(flat, GridConfig(anatomy=anatomy))
