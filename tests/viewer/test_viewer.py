"""OHIF shows what the product put into the archive, and how it belongs together."""

from __future__ import annotations

import pytest
from viewer.ohif import Viewer
from viewer.study import SPHERE_RADIUS_MM, ViewedStudy


def test_source_heatmaps_and_report_are_listed(viewer: Viewer, study: ViewedStudy) -> None:
    """Each is a series of its own, told apart by modality, and none is refused."""
    listed = {one.modality: one for one in viewer.series()}

    assert {"MR", "OT", "SR"} <= set(listed)
    assert listed["MR"].images == listed["OT"].images == study.slices
    assert study.verdict in listed["SR"].description


def test_scrolling_either_series_scrolls_the_other_to_the_same_place(viewer: Viewer) -> None:
    """The wheel over the scan moves the heatmaps, and the wheel over the heatmaps the scan."""
    viewer.side_by_side(["MR", "OT"])
    start = viewer.positions()
    viewer.synchronise()

    viewer.scroll(0, 3)

    viewer.settle_at(viewer.positions()[0])
    assert viewer.positions()[0] != start[0]

    viewer.scroll(1, -2)

    viewer.settle_at(viewer.positions()[1])
    assert abs(viewer.positions()[0] - start[0]) == pytest.approx(4.0)


def test_the_report_opens_as_outlines_with_values_on_the_scan(
    viewer: Viewer, study: ViewedStudy
) -> None:
    """First the whole series with its score, then the sphere's outline on its own slice."""
    viewer.open_report()

    viewer.wait_for_text("Anomaly score")

    viewer.next_group()

    viewer.wait_for_text("Volume")
    assert viewer.outlines() >= 2
    assert abs(viewer.positions()[0] - study.sphere_mm) < SPHERE_RADIUS_MM
