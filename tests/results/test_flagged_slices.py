"""Heatmaps of flagged slices alone: which are drawn, and what is said where none is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.capture import heatmap_series, heatmap_slices
from gatekeeper.results.common import to_bytes
from gatekeeper.results.measurements import peak_slice
from gatekeeper.rules.verdict import Judgement, Verdict
from gatekeeper.settings import ResultSettings
from gatekeeper.work.compose import compose
from gatekeeper.work.stages import Stages


def test_the_setting_says_how_many_slices_beside_flagged_ones_are_drawn() -> None:
    """All slices are drawn unless the site says otherwise, whatever the margin."""
    assert ResultSettings(heatmap_margin=5).flagged_margin is None
    assert ResultSettings(heatmap_slices="flagged", heatmap_margin=5).flagged_margin == 5


@pytest.mark.parametrize("margin", [0, 2, 100])
def test_only_flagged_slices_and_their_margin_are_drawn(
    mni_study: StudyAssessment, margin: int
) -> None:
    """They are the same objects, to the byte, as where every slice is drawn."""
    (series,) = mni_study.series
    assert series.finding is not None
    flagged = {peak_slice(series.finding)}
    for region in series.finding.regions:
        flagged.update(range(region.mask_offset[0], region.mask_offset[0] + len(region.mask)))
    wanted = [
        index
        for index in range(len(series.source.slices))
        if any(abs(index - one) <= margin for one in flagged)
    ]
    every = heatmap_series(mni_study, series)
    chosen = replace(mni_study, heatmap_margin=margin)

    assert heatmap_slices(chosen, series) == wanted
    assert [to_bytes(one) for one in heatmap_series(chosen, series)] == [
        to_bytes(every[index]) for index in wanted
    ]
    assert (len(wanted) < len(every)) == (margin < 100)


def test_a_held_series_without_a_region_is_drawn_where_its_map_is_highest(
    mni_study: StudyAssessment,
) -> None:
    """A hold for the whole scan's sake has a slice to look at too."""
    (series,) = mni_study.series
    assert series.finding is not None
    bare = replace(series, finding=replace(series.finding, regions=()))
    peak = peak_slice(series.finding)

    assert heatmap_slices(replace(mni_study, heatmap_margin=1), bare) == [peak - 1, peak, peak + 1]


def test_of_a_series_that_is_not_held_no_slice_is_flagged(mni_study: StudyAssessment) -> None:
    """Its montage shows the slices where the map is highest, and key objects cite no heatmap."""
    (series,) = mni_study.series
    clear = replace(series, judgement=Judgement(Verdict.CLEAR, "Not held."))
    study = replace(mni_study, series=(clear,), judgement=clear.judgement, heatmap_margin=2)
    wanted = ("report", "montage", "heatmap", "segmentation", "key-objects")
    made = dict(compose(study, wanted, "none", Stages()))
    every = dict(compose(replace(study, heatmap_margin=None), wanted, "none", Stages()))

    assert list(made) == ["report", "montage", "segmentation", "key-objects"]
    for kind in ("report", "montage", "segmentation"):
        assert to_bytes(made[kind]) == to_bytes(every[kind])
    assert _cited(every["key-objects"]) - _cited(made["key-objects"]) == {
        "Secondary Capture Image Storage"
    }
    assert made["key-objects"].SOPInstanceUID != every["key-objects"].SOPInstanceUID


def _cited(document: Dataset) -> set[str]:
    """Return the SOP classes that a document's items and its evidence cite."""
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    evidence = [
        one for part in study.ReferencedSeriesSequence for one in part.ReferencedSOPSequence
    ]
    images = [
        one
        for item in document.ContentSequence
        if item.ValueType == "IMAGE"
        for one in item.ReferencedSOPSequence
    ]
    classes = [
        {UID(one.ReferencedSOPClassUID).name for one in found} for found in (evidence, images)
    ]
    assert classes[0] == classes[1]
    return classes[0]
