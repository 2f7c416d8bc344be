"""Assessment and report: what detectors are worth on scans, each measured in the same voxels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.intensity_floor import IntensityFloor

from models.calibration import conformal_p_value
from models.errors import NotAssessable
from models.evaluation import report
from models.evaluation.assess import evaluate
from models.evaluation.gallery import LARGEST_COUNT, Gallery
from models.evaluation.masks import eroded_head, head
from models.evaluation.record import Evaluation
from models.evaluation.versus import against
from models.finding import Finding, Level
from models.regions import regions
from models.scan import Scan
from models.volume import Volume

SHAPE = (6, 48, 40)
BRIGHT = 2.0


class Blurred:
    """A detector whose map is the image over a threshold; it refuses scans with a marked corner."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def detect(self, volume: Volume) -> Finding:
        if volume.array[0, 0, 0] == 9:
            raise NotAssessable("The corner is marked.")
        values = (np.maximum(volume.array - 1.2, 0) * self.scale).astype(np.float32)
        score = float(values.max())
        p_value = conformal_p_value(score, [0.01 * self.scale * k for k in range(19)])
        return Finding(
            score=score,
            p_value=p_value,
            levels=(Level("focal", "Is anything bright?", score, p_value, 19, 0.1),),
            map=values,
            map_unit="grey levels",
            map_threshold=0.3 * self.scale,
            map_maximum=self.scale,
            regions=regions(volume, values, 0.3 * self.scale, 1),
            display_window=(1.0, 2.0),
            detector="blurred",
            profile="test",
            bundle_version="1",
            model_digest="0" * 64,
            calibration_digest="",
            calibration_description="19 normal scans",
            milliseconds={},
        )


class Nothing(Blurred):
    """A detector that leaves every voxel at 0."""

    def detect(self, volume: Volume) -> Finding:
        from dataclasses import replace

        found = super().detect(volume)
        return replace(found, map=np.zeros_like(found.map), regions=())


def _volume(seed: int) -> NDArray[np.float32]:
    array = np.zeros(SHAPE, dtype=np.float32)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    inside = ((y - 24) / 20) ** 2 + ((x - 20) / 16) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 0.05, SHAPE)
    array[:, inside] = (1 + noise)[:, inside]
    return array


def _scan(index: int, lesion: bool, refused: bool = False) -> Scan:
    array = _volume(index)
    drawn = np.zeros(SHAPE, dtype=np.bool_)
    if lesion:
        drawn[2:4, 20:26, 14 : 20 + index % 3] = True
        array[drawn] = BRIGHT if index % 4 else 1.3
        drawn[0, 0, 1] = True  # outside the head
    if refused:
        array[0, 0, 0] = 9
    affine = np.diag([4.0, 1.0, 1.0, 1.0])
    return Scan(
        f"scan-{index}",
        f"patient-{index // 2 if index < 4 else index}",
        Volume(array, affine, "MR", "BRAIN", "FLAIR"),
        np.full(len(array), not lesion),
        drawn,
        site="north" if index % 2 else "<south>",
        label="" if lesion else "normal",
    )


def _scans() -> Iterator[Scan]:
    yield from (_scan(index, lesion=False) for index in range(8))
    yield from (_scan(index, lesion=True) for index in range(20, 30))
    yield _scan(40, lesion=True, refused=True)


@pytest.fixture(scope="module")
def evaluated() -> tuple[dict[str, Evaluation], Gallery]:
    """Return two detectors and a floor on nineteen scans, with their pictures."""
    gallery = Gallery()
    found = evaluate(
        {
            "double": Blurred(2),
            "single": Blurred(1),
            "nothing": Nothing(1),
            "intensity": IntensityFloor(),
        },
        _scans(),
        floors=("intensity",),
        resamples=100,
        seen=gallery.see,
    )
    return found, gallery


def test_the_head_is_found_with_its_holes() -> None:
    """The mask is the ellipse, dark ventricles included, and erosion takes its outer pixels."""
    array = _volume(0)
    whole = array[0] > 0.5
    array[2:4, 20:26, 18:22] = 0.0
    volume = Volume(array, np.diag([4.0, 1.0, 1.0, 1.0]), "MR")
    assert bool((head(volume)[3] == whole).mean() > 0.99)
    assert head(volume)[3, 22, 20]
    assert eroded_head(3)(volume).sum() < head(volume).sum()
    blank = Volume(np.zeros(SHAPE, np.float32), np.eye(4), "MR")
    assert not head(blank).any()


def test_a_scaled_map_measures_the_same(evaluated: tuple[dict[str, Evaluation], Gallery]) -> None:
    """Twice the map, twice the threshold: the same figures."""
    found, _ = evaluated
    double, single = found["double"], found["single"]
    assert double.voxels is not None
    assert single.voxels is not None
    assert double.voxels.pooled.ap.value == single.voxels.pooled.ap.value
    assert double.voxels.pooled.aupro30.value == single.voxels.pooled.aupro30.value
    assert double.voxels.frozen_dice == single.voxels.frozen_dice
    assert double.slices is not None
    assert single.slices is not None
    assert double.slices.auroc.value == single.slices.auroc.value


def test_every_detector_is_measured_in_the_same_voxels(
    evaluated: tuple[dict[str, Evaluation], Gallery],
) -> None:
    """A map of zeros is chance in all voxels of the mask: what is left at 0 counts."""
    found, _ = evaluated
    nothing = found["nothing"].voxels
    assert nothing is not None
    assert nothing.pooled.auroc.value == 0.5
    assert nothing.pooled.ap.value == pytest.approx(nothing.prevalence)
    assert found["single"].voxels is not None
    assert found["single"].voxels.prevalence == nothing.prevalence
    assert found["single"].voxels.pooled.auroc.value > 0.95
    assert all(scan.lesion_voxels_outside == 1 for scan in found["single"].scans if scan.abnormal)


def test_a_refused_scan_is_named_and_not_measured(
    evaluated: tuple[dict[str, Evaluation], Gallery],
) -> None:
    """The refusal's reason is in the record; the floor, which assessed it, has it."""
    found, _ = evaluated
    last = found["single"].scans[-1]
    assert (last.score, last.voxels, last.refused) == (None, None, "The corner is marked.")
    assert (found["single"].refused, found["intensity"].refused) == (1, 0)
    assert found["single"].study[0].patients == 10
    assert found["intensity"].study[0].patients == 11


def test_patients_count_once(evaluated: tuple[dict[str, Evaluation], Gallery]) -> None:
    """Eight normal scans of six patients are six clean p-values, the smallest of each patient."""
    found, _ = evaluated
    clean = found["single"].clean
    assert clean is not None
    assert clean.patients == 6
    assert [hold.nominal for hold in clean.false_holds] == [0.01, 0.05, 0.10, 0.20]
    assert found["intensity"].clean is None  # not calibrated


def test_sites_add_up(evaluated: tuple[dict[str, Evaluation], Gallery]) -> None:
    """Every patient is at its site, and the site's refusals too."""
    found, _ = evaluated
    sites = found["single"].sites
    assert [site.site for site in sites] == ["<south>", "north"]
    assert sum(site.abnormal for site in sites) == 10
    assert [site.refused for site in sites] == [1, 0]
    assert all(site.auroc is not None and site.voxel_ap is not None for site in sites)


def test_regions_are_counted_against_lesions(
    evaluated: tuple[dict[str, Evaluation], Gallery],
) -> None:
    """A bright lesion is touched by the first region; a faint one by none."""
    found, _ = evaluated
    by_name = {scan.name: scan.regions for scan in found["single"].scans}
    bright, faint = by_name["scan-21"], by_name["scan-24"]
    assert bright is not None
    assert faint is not None
    assert (bright.first_on_lesion, bright.lesions, bright.lesions_touched) == (True, 1, 1)
    assert (faint.found, faint.lesions_touched) == (0, 0)


def test_the_record_is_json_and_repeats(
    evaluated: tuple[dict[str, Evaluation], Gallery],
) -> None:
    """The record holds no NaN and no array, and the same seed gives the same but for seconds."""
    found, _ = evaluated
    text = json.dumps(found["single"].as_json(), allow_nan=False)
    again = evaluate({"single": Blurred(1)}, _scans(), resamples=100)["single"]
    seconds = re.compile(r'"seconds": [0-9.e+-]+')
    assert seconds.sub("", text) == seconds.sub("", json.dumps(again.as_json()))


def test_detectors_are_compared_on_what_both_assessed(
    evaluated: tuple[dict[str, Evaluation], Gallery],
) -> None:
    """A detector against itself scaled: no difference; against nothing: better, on ten patients."""
    found, _ = evaluated
    same = against(found["double"], found["single"], resamples=50)
    assert same.study is not None
    assert same.voxel_ap is not None
    assert (same.study.difference.value, same.voxel_ap.difference.value) == (0.0, 0.0)
    better = against(found["single"], found["nothing"], resamples=50).voxel_ap
    assert better is not None
    assert better.patients == 10
    assert better.p_value < 0.05


def test_the_gallery_keeps_few_and_parts_hits_from_misses(
    evaluated: tuple[dict[str, Evaluation], Gallery],
) -> None:
    """At most six each; hits best first; a map of zeros has no hit."""
    _, gallery = evaluated
    hits, misses = gallery.hits("single"), gallery.misses("single")
    assert len(hits) == LARGEST_COUNT
    assert {picture.scan for picture in misses} == {"scan-20", "scan-24", "scan-28"}
    assert not gallery.hits("nothing")
    assert all(picture.lesion.any() for picture in hits)


def test_a_detector_whose_map_does_not_fit_is_an_error() -> None:
    """A map of another shape, or with NaN in the mask, stops the evaluation by name."""

    class Wrong(Blurred):
        def detect(self, volume: Volume) -> Finding:
            from dataclasses import replace

            return replace(super().detect(volume), map=np.zeros((1, 1, 1), np.float32))

    with pytest.raises(ValueError, match="wrong: the map of scan-0"):
        evaluate({"wrong": Wrong(1)}, _scans(), resamples=5)
    with pytest.raises(ValueError, match="floor"):
        evaluate({}, (), floors=("absent",))


def test_the_report_is_one_file_with_everything_in_it(
    evaluated: tuple[dict[str, Evaluation], Gallery], tmp_path: Path
) -> None:
    """HTML without any outside address; limits, floor, sites and pictures; text is escaped."""
    found, gallery = evaluated
    shown = {name: found[name] for name in ("single", "intensity")}
    title = report.Title("test <bundle>", "ab" * 32, "made up", ("It shows nothing.",))
    (tmp_path / "report.html").write_text(report.render(title, shown, gallery, resamples=50))
    text = (tmp_path / "report.html").read_text()
    without_images = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?://|<script|<link|url\(", without_images)
    assert "test &lt;bundle&gt;" in text
    assert "&lt;south&gt;" in text
    assert "<south>" not in text
    for words in (
        "It shows nothing.",
        "refused different scans",
        "lie outside the evaluation mask",
        "<small>floor</small>",
        "Against the floor",
        "worst misses",
        "The corner is marked.",
        "ab" * 32,
    ):
        assert words in text
    assert text.count("data:image/png") >= 5


def test_a_set_without_lesions_or_normals_still_has_a_report() -> None:
    """One kind of patient: no study figure and no reliability, said in words."""
    found = evaluate(
        {"single": Blurred(1)}, (_scan(index, lesion=True) for index in (21, 22)), resamples=20
    )
    assert found["single"].study == ()
    text = report.render(report.Title("x", "", "y", ()), found, resamples=20)
    assert "does not have both normal and abnormal patients" in text
    assert "No floor was evaluated" in text
    clean = evaluate({"single": Blurred(1)}, (_scan(index, lesion=False) for index in (1, 2)))
    assert clean["single"].voxels is None
    assert clean["single"].slices is None
