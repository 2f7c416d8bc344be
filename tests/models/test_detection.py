"""Detection end to end on a real image: the MNI152 T1 template that nilearn carries."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import artefacts, detector
from models.artefacts import Kind, Strength
from models.assessor import Assessor
from models.detector import Detector
from models.errors import NotAssessable
from models.finding import Finding
from models.grid import canonical
from models.registry import Registry
from models.volume import Volume

TEMPLATE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@pytest.fixture(scope="module")
def t1() -> Assessor:
    """Return the shipped T1 detector."""
    torch.set_num_threads(2)
    info = Registry().match("MR", "BRAIN", "T1")
    assert info is not None
    return detector.load(info)


@pytest.fixture(scope="module")
def template() -> Volume:
    """Return the template as an axial volume, (slices up, rows back, columns left)."""
    nilearn: Any = pytest.importorskip("nilearn")  # untyped
    nibabel: Any = pytest.importorskip("nibabel")
    image = nibabel.load(Path(nilearn.__file__).parent / "datasets" / "data" / TEMPLATE)
    image = nibabel.as_closest_canonical(image)
    array: NDArray[np.float32] = image.get_fdata(dtype=np.float32)
    ras: NDArray[np.float64] = image.affine
    flipped = np.ascontiguousarray(array.transpose(2, 1, 0)[:, ::-1, ::-1])
    affine = np.eye(4)
    for column, axis in enumerate((2, 1, 0)):
        affine[:3, column] = ras[:3, axis] * (1 if axis == 2 else -1)
    corner = np.array([array.shape[0] - 1, array.shape[1] - 1, 0, 1.0])
    affine[:3, 3] = (ras @ corner)[:3]
    affine[:2] *= -1  # RAS to LPS
    return Volume(flipped, affine, "MR", "BRAIN", "T1")


@pytest.fixture(scope="module")
def clean(t1: Assessor, template: Volume) -> Finding:
    """Return what the detector says of the template as it is."""
    return t1.detect(template)


@pytest.fixture(scope="module")
def faulty(t1: Assessor, template: Volume) -> list[Finding]:
    """Return what the detector says of the template with strong motion, noise and spikes."""
    kinds = (Kind.MOTION, Kind.NOISE, Kind.SPIKE)
    return [t1.detect(artefacts.apply(template, kind, Strength.STRONG, seed=0)) for kind in kinds]


@cache
def _empty(shape: tuple[int, int, int]) -> Volume:
    return Volume(np.zeros(shape, np.float32), np.diag([2.0, 1.0, 1.0, 1.0]), "MR")


def test_the_template_is_closer_to_the_reference_than_its_faulty_copies(
    clean: Finding, faulty: list[Finding]
) -> None:
    """Strong motion, noise and spikes score higher and are flagged; the template is not."""
    assert clean.p_value > 0.05

    for found in faulty:
        assert found.score > 2 * clean.score
        assert found.p_value <= 0.05


def test_a_finding_is_complete_and_on_the_source_grid(template: Volume, clean: Finding) -> None:
    """The map has the source's shape, is finite, and is zero outside the brain."""
    assert clean.map.shape == template.array.shape
    assert clean.map.dtype == np.float32
    assert np.isfinite(clean.map).all()
    assert clean.map.min() >= 0
    assert not clean.map[:, :5].any()
    assert clean.map_threshold < clean.map_maximum
    assert {"features.global", "quality.measures", "atlas.place"} <= {
        level.name for level in clean.levels
    }
    assert clean.defects == ()
    assert clean.display_window[1] > 0
    assert len(clean.model_digest) == len(clean.calibration_digest) == 64


def test_no_p_value_is_smaller_than_its_calibration_allows(
    clean: Finding, faulty: list[Finding]
) -> None:
    """However strong the fault, p is at least 1 / (n + 1), for the whole and for each level."""
    for finding in (clean, *faulty):
        least = 1 / (finding.levels[0].calibration_size + 1)
        assert finding.p_value >= least
        assert all(level.p_value >= least for level in finding.levels)


def test_the_same_scan_gives_the_same_finding(
    t1: Assessor, template: Volume, clean: Finding
) -> None:
    """Detection is deterministic, to the last bit of the map."""
    again = t1.detect(template)

    assert again.score == clean.score
    assert again.p_value == clean.p_value
    assert np.array_equal(again.map, clean.map)


def test_a_scan_stored_sagittally_is_judged_the_same(
    t1: Assessor, template: Volume, clean: Finding
) -> None:
    """Which way the slices were stored changes neither the score nor where the map is."""
    sagittal = replace(
        template,
        array=np.ascontiguousarray(template.array.transpose(2, 0, 1)[::-1]),
        affine=template.affine
        @ np.array(
            [[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, template.array.shape[2] - 1], [0, 0, 0, 1]]
        ),
    )

    other = t1.detect(sagittal)

    assert other.score == pytest.approx(clean.score, rel=1e-4)
    assert np.allclose(other.map[::-1].transpose(1, 2, 0), clean.map, atol=1e-3)


def test_intensity_scale_does_not_matter(t1: Assessor, template: Volume, clean: Finding) -> None:
    """MR intensities have no unit: ten times the signal is the same scan."""
    assert t1.detect(replace(template, array=template.array * 10)).score == pytest.approx(
        clean.score, rel=1e-3
    )


def test_half_as_many_slices_are_judged_alike(
    t1: Assessor, template: Volume, clean: Finding
) -> None:
    """Scores do not grow with the number of slices acquired."""
    step = np.diag([2.0, 1.0, 1.0, 1.0])
    half = replace(template, array=template.array[::2].copy(), affine=template.affine @ step)

    assert t1.detect(half).score == pytest.approx(clean.score, rel=0.25)


def test_what_is_no_brain_is_not_assessable(t1: Assessor) -> None:
    """Blank and noise images, and stacks of a few slices, are refused with the reason."""
    noise = np.random.default_rng(0).random((40, 64, 64), dtype=np.float32)

    with pytest.raises(NotAssessable, match="contrast"):
        t1.detect(_empty((40, 64, 64)))
    with pytest.raises(NotAssessable, match="brain"):
        t1.detect(replace(_empty((40, 64, 64)), array=noise))
    with pytest.raises(NotAssessable, match="fewer than 16"):
        t1.detect(_empty((8, 64, 64)))


def test_a_scan_with_voxels_that_are_not_numbers_is_not_assessable(
    t1: Assessor, template: Volume
) -> None:
    """One NaN refuses the scan rather than spreading through the score."""
    array = template.array.copy()
    array[90, 100, 100] = np.nan

    with pytest.raises(NotAssessable, match="not numbers"):
        t1.detect(replace(template, array=array))


def test_a_brain_of_impossible_size_is_not_assessable(t1: Assessor, template: Volume) -> None:
    """A spacing that makes the brain four times too large is named as the reason."""
    with pytest.raises(NotAssessable, match="mL"):
        t1.detect(replace(template, affine=template.affine @ np.diag([1.6, 1.6, 1.6, 1.0])))


def test_the_brain_found_is_the_brain(t1: Assessor, template: Volume) -> None:
    """On the skull-stripped template, the extraction agrees with the stripping."""
    sampled = t1.prepared(t1.located(template))

    stripped = sampled.images > 0.1 * template.array.max()
    overlap = 2 * (stripped & sampled.brain).sum() / (stripped.sum() + sampled.brain.sum())
    assert overlap > 0.95
    assert canonical(template).array.shape == sampled.source.array.shape


def test_a_detector_keeps_the_protocol(t1: Assessor) -> None:
    """A loaded bundle is a Detector, for the type checker and at run time."""
    typed: Detector = t1

    assert callable(typed.detect)
