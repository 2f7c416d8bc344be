"""From files to a study's judgement: which series are assessed, and what is said of the others."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from work.phantoms import STUDY, encoded, image, series, stored

from gatekeeper.identifiers import Uid
from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.rules.verdict import Verdict
from gatekeeper.work.assess import assess_study
from gatekeeper.work.geometry import drift
from gatekeeper.work.messages import Request
from gatekeeper.work.stages import Stages
from gatekeeper.work.summary import deciding_finding, evidence
from models.errors import ModelError, NotAssessable
from models.finding import Finding, Level
from models.registry import BundleInfo, Registry
from models.volume import Volume

PROFILE = {
    "modality": "MR",
    "body_part": "BRAIN",
    "body_part_aliases": ["HEAD"],
    "sequence": "T1",
    "sequence_aliases": [],
    "body_part_from_content": True,
}


class Fixed:
    """A detector whose p-value is given; it says what it was shown."""

    def __init__(self, p_value: float = 0.5, **changes: Any) -> None:
        self.p_value = p_value
        self.changes = changes
        self.seen: list[Volume] = []

    def detect(self, volume: Volume) -> Finding:
        self.seen.append(volume)
        level = Level("global", "Is it like the reference?", 1.0, self.p_value, 99, 1.0)
        finding = Finding(
            score=1.0,
            p_value=self.p_value,
            levels=(level,),
            map=np.zeros(volume.array.shape, np.float32),
            map_unit="decades",
            map_threshold=3.0,
            map_maximum=4.0,
            regions=(),
            display_window=(100.0, 200.0),
            detector="fixed",
            profile="mr-brain-t1",
            bundle_version="1",
            model_digest="0" * 64,
            calibration_digest="1" * 64,
            calibration_description="99 numbers",
            milliseconds={},
        )
        return replace(finding, **self.changes)


class Refusing:
    """A detector that finds nothing to judge."""

    def detect(self, volume: Volume) -> Finding:
        raise NotAssessable("no brain found in the image")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Return a registry of one profile, MR BRAIN T1."""
    folder = tmp_path / "bundles" / "mr-brain-t1"
    folder.mkdir(parents=True)
    manifest = {
        "name": "mr-brain-t1",
        "version": "1",
        "detector": "features",
        "default": True,
        "profile": PROFILE,
        "weights": {},
        "shared_weights": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Registry([folder.parent], shipped=False)


def request(datasets: Sequence[Dataset | bytes], folder: Path, **changes: Any) -> Request:
    contents = [item if isinstance(item, bytes) else encoded(item) for item in datasets]
    made = Request(
        job=1,
        attempt=1,
        study_instance_uid=STUDY,
        content_digest="a" * 64,
        model_digest="b" * 64,
        revision=1,
        created_at=1_700_000_000.0,
        files=tuple(stored(content, folder) for content in contents),
        scratch=str(folder),
        bundles=(),
        device="cpu",
        threads=1,
        maximum_voxels=1_000_000,
        maximum_series=8,
        cpu_seconds=60,
        false_hold_rate=0.05,
        ae_title="GATEKEEPER",
        institution="",
        series_number=9100,
    )
    return replace(made, **changes)


def assess(asked: Request, registry: Registry, detector: Fixed | Refusing) -> StudyAssessment:
    def detector_of(info: BundleInfo) -> Fixed | Refusing:
        assert info.name == "mr-brain-t1"
        return detector

    return assess_study(asked, registry, detector_of, Stages())


def test_a_series_with_a_profile_is_judged(tmp_path: Path, registry: Registry) -> None:
    """A T1 of no stated body part is decoded, shown to the detector, and judged."""
    detector = Fixed(0.5)
    found = assess(request(series(5), tmp_path), registry, detector)
    (only,) = found.series

    assert found.judgement.verdict is Verdict.CLEAR
    assert found.study_instance_uid == Uid(STUDY)
    assert detector.seen[0].array.shape == (5, 16, 12)
    assert only.volume is detector.seen[0]
    assert [part.header.InstanceNumber for part in only.source.slices] == [1, 2, 3, 4, 5]


def test_a_small_p_value_is_suspect(tmp_path: Path, registry: Registry) -> None:
    """At or under the stated false-hold rate the study is held."""
    found = assess(request(series(5), tmp_path), registry, Fixed(0.02))

    assert found.judgement.verdict is Verdict.SUSPECT


def test_a_series_without_a_profile_says_so(tmp_path: Path, registry: Registry) -> None:
    """What no profile covers is named in normalised words, and nothing is decoded."""
    images = series(4, description="t2_tra", BodyPartExamined="PROSTATE")
    detector = Fixed()
    found = assess(request(images, tmp_path), registry, detector)

    assert found.judgement.verdict is Verdict.UNCALIBRATED
    assert found.judgement.reason == "Not assessed: no profile for MR PELVIS T2."
    assert not detector.seen


def test_an_unfit_series_without_a_profile_stays_not_assessed(
    tmp_path: Path, registry: Registry
) -> None:
    """A time course or a single image that nobody would assess is not called unreadable."""
    course = [image(k, description="ep2d_bold", position=(0, 0, k % 3)) for k in range(12)]
    found = assess(request(course, tmp_path), registry, Fixed())

    assert found.judgement.reason == (
        "Not assessed: no profile for MR (body part not stated) BOLD."
    )


def test_a_missing_slice_is_named_even_without_a_profile(
    tmp_path: Path, registry: Registry
) -> None:
    """Slices that did not arrive make the study unreadable, whichever series they are of."""
    images = series(8, description="ep2d_diff", BodyPartExamined="PROSTATE")
    del images[5]
    found = assess(request(images, tmp_path), registry, Fixed())

    assert found.judgement.verdict is Verdict.UNREADABLE
    assert found.judgement.reason == (
        "1 slice is missing: images 5 and 7 lie 4.00 mm apart where 2.00 mm is regular."
    )


def test_truncated_pixels_are_named_even_without_a_profile(
    tmp_path: Path, registry: Registry
) -> None:
    """Pixels that did not arrive make the study unreadable, whichever series they are of."""
    images = [encoded(item) for item in series(4, modality="CT", description="")]
    images[2] = images[2][:-10]
    found = assess(request(images, tmp_path), registry, Fixed())

    assert found.judgement.verdict is Verdict.UNREADABLE
    assert found.judgement.reason == "Truncated: the pixel data holds 374 of 384 bytes."


def test_a_sheared_series_with_a_profile_is_unreadable(tmp_path: Path, registry: Registry) -> None:
    """A series that would be assessed and makes no grid says which rule it breaks."""
    found = assess(request(series(5, step=(0, 2, 2)), tmp_path), registry, Fixed())

    assert found.judgement.verdict is Verdict.UNREADABLE
    assert found.judgement.reason.startswith("Sheared stack")


def test_a_tilted_series_is_judged_upright_and_answered_on_its_slices(
    tmp_path: Path, registry: Registry
) -> None:
    """The detector gets an orthogonal grid, and volume and map are those of the slices."""
    images = series(5, step=(0, 1, 2))
    detector = Fixed()
    found = assess(request(images, tmp_path), registry, detector)
    (shown,) = detector.seen
    (result,) = found.series
    assert result.volume is not None
    assert result.finding is not None

    assert drift(shown.affine)[0] == pytest.approx(0)
    assert shown.array.shape[0] == 5
    assert shown.array.shape[1] >= 16
    assert drift(result.volume.affine)[0] == pytest.approx(math.degrees(math.atan2(1, 2)))
    assert result.volume.array.shape == result.finding.map.shape == (5, 16, 12)
    assert [list(part.header.ImagePositionPatient) for part in result.source.slices] == [
        list(image.ImagePositionPatient) for image in images
    ]


def test_the_request_says_which_slices_get_heatmaps(tmp_path: Path, registry: Registry) -> None:
    """What the site set reaches the results."""
    asked = request(series(5), tmp_path, heatmap_margin=3)

    assert assess(asked, registry, Fixed()).heatmap_margin == 3


def test_a_refusal_of_the_detector_is_no_verdict_on_the_patient(
    tmp_path: Path, registry: Registry
) -> None:
    """What the detector cannot judge is not assessed, for its stated reason."""
    found = assess(request(series(5), tmp_path), registry, Refusing())

    assert found.judgement.verdict is Verdict.UNCALIBRATED
    assert found.judgement.reason == "Not assessed: no brain found in the image."


@pytest.mark.parametrize(
    "changes",
    [
        {"p_value": math.nan},
        {"score": math.inf},
        {"levels": (Level("global", "?", math.nan, 0.5, 99, 1.0),)},
        {"map": np.full((5, 16, 12), np.nan, np.float32)},
    ],
)
def test_an_answer_that_is_not_finite_is_unreadable(
    changes: dict[str, Any], tmp_path: Path, registry: Registry
) -> None:
    """NaN anywhere in the answer never becomes a clear study."""
    detector = Fixed()
    detector.changes = changes
    found = assess(request(series(5), tmp_path), registry, detector)

    assert found.judgement.verdict is Verdict.UNREADABLE
    assert found.series[0].finding is None


def test_a_map_of_another_shape_is_a_defect(tmp_path: Path, registry: Registry) -> None:
    """A detector that answers on another grid is broken; no verdict comes of it."""
    detector = Fixed(map=np.zeros((1, 2, 3), np.float32))

    with pytest.raises(ModelError, match="not on the source grid"):
        assess(request(series(5), tmp_path), registry, detector)


def test_the_gravest_series_decides_and_assessed_series_come_first(
    tmp_path: Path, registry: Registry
) -> None:
    """A clear T1 beside a T2 without profile and a survey is a clear study."""
    images = [
        *series(6, number=2, description="t2_tra"),
        *series(5, number=1),
        *series(3, number=3, description="localizer"),
    ]
    found = assess(request(images, tmp_path), registry, Fixed())

    assert found.judgement.verdict is Verdict.CLEAR
    assert [item.judgement.reason for item in found.series[1:]] == [
        "Not assessed: no profile for MR (body part not stated) T2.",
        "Not assessed: a localizer.",
    ]


def test_series_over_the_limit_are_said_to_be_left_out(tmp_path: Path, registry: Registry) -> None:
    """The largest series are assessed first; the rest are named, never silently dropped."""
    images = [item for n in range(1, 5) for item in series(3 + n, number=n)]
    detector = Fixed()
    found = assess(request(images, tmp_path, maximum_series=2), registry, detector)

    assert [volume.array.shape[0] for volume in detector.seen] == [7, 6]
    assert [item.judgement.reason for item in found.series[2:]] == [
        "Not assessed: the limit of 2 series was reached."
    ] * 2


def test_voxels_of_the_whole_study_are_limited(tmp_path: Path, registry: Registry) -> None:
    """Two series that fit alone and not together are one assessed and one named."""
    images = [*series(6, number=1), *series(5, number=2)]
    found = assess(request(images, tmp_path, maximum_voxels=1200), registry, Fixed())

    assert found.series[0].finding is not None
    assert found.series[1].judgement.reason == (
        "Not assessed: the limit of 1,200 voxels for the study was reached."
    )


def test_a_series_too_large_by_itself_is_unreadable(tmp_path: Path, registry: Registry) -> None:
    """A scan over the limit gets a verdict, not a crash."""
    found = assess(request(series(6), tmp_path, maximum_voxels=1000), registry, Fixed())

    assert found.judgement.verdict is Verdict.UNREADABLE
    assert found.judgement.reason == "Too large: 1,152 voxels are declared and 1,000 are allowed."


def test_a_time_course_of_a_profiled_contrast_is_not_assessed(
    tmp_path: Path, registry: Registry
) -> None:
    """Five volumes in one series are no scan that the reference knows."""
    images = [
        image(5 * n + k, position=(0, 0, 2 * k), TemporalPositionIdentifier=n + 1)
        for n in range(5)
        for k in range(4)
    ]
    found = assess(request(images, tmp_path), registry, Fixed())

    assert found.judgement.reason == "Not assessed: 5 volumes in one series."


def test_two_echoes_of_a_profiled_contrast_are_assessed_each(
    tmp_path: Path, registry: Registry
) -> None:
    """Each volume of a series is shown to the detector by itself."""
    images = [
        image(4 * n + k, position=(0, 0, 2 * k), EchoTime=3 + n) for n in range(2) for k in range(4)
    ]
    detector = Fixed()
    found = assess(request(images, tmp_path), registry, detector)

    assert len(detector.seen) == len(found.series) == 2


def test_a_study_of_reports_alone_holds_no_image_series(tmp_path: Path, registry: Registry) -> None:
    """Objects that are no images are listed and judged by nobody."""
    report = image(0, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", PixelData=None)
    found = assess(request([report], tmp_path), registry, Fixed())

    assert found.judgement.reason == "Not assessed: the study holds no image series."
    assert found.series[0].judgement.reason == "Not assessed: Basic Text SR Storage."


def test_the_evidence_says_what_the_verdict_rests_on(tmp_path: Path, registry: Registry) -> None:
    """The kept summary is plain JSON with each series' reason, and no patient data."""
    images = [*series(5, number=1), *series(4, number=2, description="t2_tra")]
    found = assess(request(images, tmp_path), registry, Fixed(0.02))
    kept = evidence(found)
    text = json.dumps(kept, allow_nan=False)

    assert deciding_finding(found) is found.series[0].finding
    assert kept["series"][0]["p_value"] == 0.02
    assert kept["series"][0]["profile"] == "mr-brain-t1"
    assert kept["series"][0]["grid"] == {"shape": [5, 16, 12], "spacing_mm": [2.0, 1.5, 1.0]}
    assert kept["series"][1]["protocol"] == "MR (body part not stated) T2"
    assert "Doe" not in text
    assert "TEST" not in text


def test_a_profile_may_have_a_rate_of_its_own(tmp_path: Path, registry: Registry) -> None:
    """It is judged by that, and states it; a rate of another profile changes nothing."""
    asked = request(series(5), tmp_path, false_hold_rates={"MR/BRAIN/T1": 0.02})
    found = assess(asked, registry, Fixed(0.04))
    (only,) = found.series
    assert (found.judgement.verdict, found.rate_of(only)) == (Verdict.CLEAR, 0.02)
    assert evidence(found)["series"][0]["false_hold_rate"] == 0.02

    asked = request(series(5), tmp_path, false_hold_rates={"MR/BRAIN/FLAIR": 0.02})
    found = assess(asked, registry, Fixed(0.04))
    (only,) = found.series
    assert (found.judgement.verdict, found.rate_of(only)) == (Verdict.SUSPECT, 0.05)
