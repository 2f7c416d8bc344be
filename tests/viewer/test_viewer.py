"""OHIF shows what the product put into the archive, and how it belongs together."""

from __future__ import annotations

import pytest
from viewer.ohif import Viewer
from viewer.study import SPHERE_RADIUS_MM, ViewedStudy

REPORT = 9100
"""SeriesNumber of the report; the heatmaps have the next."""
MARKS, KEY_OBJECTS = REPORT + 50, REPORT + 60
"""SeriesNumbers of the presentation state and of the key objects."""


def test_source_heatmaps_and_report_are_listed(viewer: Viewer, study: ViewedStudy) -> None:
    """Each is a series of its own, told apart by modality, and none is refused."""
    listed = {one.number: one for one in viewer.series()}

    scan, report, heatmaps = listed[1], listed[REPORT], listed[REPORT + 1]
    assert [one.modality for one in (scan, report, heatmaps)] == ["MR", "SR", "OT"]
    assert scan.images == heatmaps.images == study.slices
    assert study.verdict in report.description


def test_scrolling_either_series_scrolls_the_other_to_the_same_place(viewer: Viewer) -> None:
    """The wheel over the scan moves the heatmaps, and the wheel over the heatmaps the scan."""
    viewer.scan_and_heatmaps()
    start = viewer.positions()
    viewer.synchronise()

    viewer.scroll(0, 3)

    viewer.settle_at(viewer.positions()[0])
    assert viewer.positions()[0] != start[0]

    viewer.scroll(1, -2)

    viewer.settle_at(viewer.positions()[1])
    assert abs(viewer.positions()[0] - start[0]) == pytest.approx(4.0)


def test_the_heatmap_of_the_odd_place_is_in_colour_beside_the_grey_scan(
    viewer: Viewer, study: ViewedStudy
) -> None:
    """Both fill their panes; only the heatmap has colour, at the slice of the sphere."""
    viewer.scan_and_heatmaps()
    viewer.synchronise()

    viewer.jump(0, study.sphere_mm)

    viewer.settle_at(viewer.positions()[0])
    scan, heatmap = viewer.drawn()
    assert scan.lit > 0.2
    assert heatmap.lit > 0.2
    assert scan.coloured == 0
    assert heatmap.coloured > 0.01


def test_the_report_opens_as_outlines_with_values_on_the_scan(
    viewer: Viewer, study: ViewedStudy
) -> None:
    """First the whole series with its score, then the sphere's outline on its own slice."""
    viewer.open_report(REPORT)

    viewer.wait_for_text("Anomaly score")

    viewer.next_group()

    viewer.wait_for_text("Volume")
    assert viewer.outlines() >= 2
    assert abs(viewer.positions()[0] - study.sphere_mm) < SPHERE_RADIUS_MM


def test_the_segmentation_opens_voxel_for_voxel(viewer: Viewer, study: ViewedStudy) -> None:
    """Every image has exactly the voxels that the SEG object states for its place."""
    if not study.segmented:
        pytest.skip("the study has no segmentation")

    viewer.open_segmentation()

    assert viewer.segmented() == study.segmented


def test_marks_and_key_objects_are_listed_and_disturb_nothing(
    viewer: Viewer, study: ViewedStudy
) -> None:
    """OHIF says that it does not support them; opening one leaves the scan in its pane."""
    marks = {MARKS: "PR"} if study.segmented else {}
    kept = {KEY_OBJECTS: "KO"} | marks
    viewer.jump(0, study.sphere_mm)
    before = viewer.positions()

    for number in kept:
        viewer.try_to_open(number)

    assert viewer.unsupported() == set(kept.values())
    assert viewer.positions() == before
    assert viewer.drawn()[0].lit > 0.2
