"""What is drawn of a series: every slice in order, the map in its place, and why a slice is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from results.conftest import assess_slices
from work.phantoms import encoded, series, stored, values

from gatekeeper.errors import UnreadableSeries
from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.common import to_bytes
from gatekeeper.viewing.drawing import draw
from gatekeeper.viewing.request import Bounds, ResultFile, SourceFile, ViewRequest
from gatekeeper.work.compose import compose
from gatekeeper.work.stages import Stages
from gatekeeper.work.summary import evidence
from storage.spool import Digest

SHAPE = (48, 40)
PEAKS = ((0.5, 0.4, 0.3, 7.5),)


def request_of(
    slices: Sequence[Dataset], folder: Path, study: StudyAssessment | None = None, kinds: str = ""
) -> ViewRequest:
    """Return what is asked for of these images, with results of these kinds."""
    spool = folder / "spool"
    spool.mkdir(exist_ok=True)
    files = [stored(encoded(one), spool) for one in slices]
    results: list[ResultFile] = []
    finding: dict[str, Any] = {}
    if study is not None:
        for kind, made in compose(study, kinds.split(), "rle", Stages()):
            content = to_bytes(made)
            digest = Digest.of(content)
            (spool / digest).write_bytes(content)
            results.append(ResultFile(kind, digest, str(spool / digest)))
        finding = evidence(study)["series"][0]
    return ViewRequest(
        slices[0].StudyInstanceUID,
        slices[0].SeriesInstanceUID,
        tuple(SourceFile(**{name: getattr(one, name) for name in one.__slots__}) for one in files),
        tuple(results),
        finding,
    )


def drawn(request: ViewRequest, folder: Path) -> tuple[dict[str, Any], Path]:
    """Return the manifest of a drawing, and its folder."""
    folder.mkdir()
    draw(request, folder)
    return json.loads((folder / "manifest.json").read_text()), folder


def picture(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path))


def head(count: int = 9, **attributes: Any) -> list[Dataset]:
    return series(count, shape=SHAPE, step=(0.0, 0.0, 3.0), PixelSpacing=[2.0, 2.0], **attributes)


def test_slices_come_by_their_place_in_the_window_that_is_stated(tmp_path: Path) -> None:
    """Neither the order of arrival nor of the numbers says where a slice is."""

    images = head(5, WindowCenter=250, WindowWidth=500)
    for number, one in enumerate(images):
        one.InstanceNumber = 7 - number
    manifest, folder = drawn(request_of(images[::-1], tmp_path), tmp_path / "out")

    assert [one["problem"] for one in manifest["slices"]] == [""] * 5
    assert manifest["window"] == {"centre": 250.0, "width": 500.0, "stated": True}
    means = [float(picture(folder / f"{index}.png").mean()) for index in range(5)]
    assert means == sorted(means)
    expected = np.clip((values(2, SHAPE) - 249.5) / 499 + 0.5, 0, 1) * 255
    assert np.abs(picture(folder / "2.png") - expected).max() <= 1
    assert sorted(one.name for one in folder.iterdir()) == [
        *(f"{index}.png" for index in range(5)),
        "manifest.json",
    ]


def test_the_map_is_over_its_slices_and_regions_are_in_its_pixels(tmp_path: Path) -> None:
    """The highest place of the map is where the ring of its region is."""

    images = head()
    study = assess_slices(images, peaks=PEAKS)
    assert study.series[0].finding is not None
    highest = np.unravel_index(study.series[0].finding.map.argmax(), (9, *SHAPE))
    request = request_of(images, tmp_path, study, "parametric-map heatmap")
    manifest, folder = drawn(request, tmp_path / "out")

    assert manifest["map"]["made_from"] == "parametric-map"
    (region,) = manifest["regions"]
    assert region["slice"] == highest[0]
    assert region["row"] == pytest.approx(highest[1], abs=1)
    assert region["column"] == pytest.approx(highest[2], abs=1)
    scores = [one["score"] for one in manifest["slices"]]
    assert int(np.argmax(scores)) == highest[0]
    assert scores[highest[0]] == pytest.approx((7.5 - 3) / 5, abs=0.1)
    above = picture(folder / f"{highest[0]}-map.png")[..., 3] > 0
    assert np.array_equal(above, study.series[0].finding.map[highest[0]] >= 3.0)


def test_heatmaps_give_the_map_back_to_within_two_steps_of_its_colours(tmp_path: Path) -> None:
    """A site that makes no parametric map sees the same colours in the same places."""

    images = head()
    study = assess_slices(images, peaks=PEAKS)
    exact, first = drawn(request_of(images, tmp_path, study, "parametric-map"), tmp_path / "a")
    manifest, second = drawn(request_of(images, tmp_path, study, "heatmap"), tmp_path / "b")
    assert manifest["map"]["made_from"] == "heatmap"
    for index, (one, other) in enumerate(zip(exact["slices"], manifest["slices"], strict=True)):
        assert one["map"] == other["map"]
        if one["map"]:
            assert one["score"] == pytest.approx(other["score"], abs=0.05)
            colours, read = (
                picture(first / f"{index}-map.png"),
                picture(second / f"{index}-map.png"),
            )
            # The heatmap is larger by a whole factor; its region's edge and number lie over it.
            factor = read.shape[0] // colours.shape[0]
            inside = read[factor // 2 :: factor, factor // 2 :: factor][: SHAPE[0], : SHAPE[1]]
            both = (colours[..., 3] > 0) & (inside[..., 3] > 0)
            assert both.sum() > 0.7 * (colours[..., 3] > 0).sum()
            away = np.abs(colours[both, :3].astype(int) - inside[both, :3]).max(axis=-1)
            assert np.median(away) <= 12


def test_an_unreadable_series_shows_what_decodes_and_says_what_does_not(tmp_path: Path) -> None:
    """One truncated file and one without a place cost themselves and nothing else."""

    images = head(5)
    images[1].PixelData = images[1].PixelData[:100]
    del images[3].ImagePositionPatient
    manifest, folder = drawn(request_of(images, tmp_path), tmp_path / "out")
    problems = [one["problem"] for one in manifest["slices"]]
    assert [bool(one) for one in problems] == [False, True, False, False, False]
    assert problems[1].startswith("Truncated")
    assert "ImagePositionPatient is missing" in manifest["notes"][0]
    assert not (folder / "1.png").exists()
    assert picture(folder / "3.png").shape == SHAPE


def test_a_negative_is_shown_as_a_radiologist_expects_it(tmp_path: Path) -> None:
    """MONOCHROME1 is turned round, in CT by the display alone."""

    for number, modality in enumerate(("MR", "CT")):
        plain = head(3, modality=modality, number=number + 1)
        turned = head(3, modality=modality, number=number + 1)
        for one in turned:
            one.PhotometricInterpretation = "MONOCHROME1"
        _, first = drawn(request_of(plain, tmp_path), tmp_path / f"a{number}")
        _, second = drawn(request_of(turned, tmp_path), tmp_path / f"b{number}")
        one, other = picture(first / "1.png").astype(int), picture(second / "1.png").astype(int)
        assert np.abs(255 - one - other).max() <= 3


def test_limits_are_said_and_nothing_to_show_is_refused(tmp_path: Path) -> None:
    """More slices than are drawn are left out in a sentence; too many voxels are no picture."""

    request = request_of(head(6), tmp_path)
    few = ViewRequest(
        request.study_instance_uid,
        request.series_instance_uid,
        request.files,
        (),
        {},
        Bounds(4, 1_000_000, 10.0),
    )
    manifest, _ = drawn(few, tmp_path / "few")
    assert len(manifest["slices"]) == 4
    assert manifest["notes"] == ["Of 6 slices the first 4 are shown."]
    assert few.key != request.key

    small = ViewRequest(
        request.study_instance_uid,
        request.series_instance_uid,
        request.files,
        (),
        {},
        Bounds(10, 1000, 10.0),
    )
    with pytest.raises(UnreadableSeries, match="Too large"):
        drawn(small, tmp_path / "small")
    report = head(1)[0]
    del report.PixelData
    with pytest.raises(UnreadableSeries, match="nothing to show"):
        drawn(request_of([report], tmp_path), tmp_path / "nothing")
