"""UIDs repeat for the same job and change with anything that changes the bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatekeeper.identifiers import Digest, Uid
from gatekeeper.results import uids
from gatekeeper.results.assessment import StudyAssessment


def all_uids(study: StudyAssessment) -> set[str]:
    """Return one UID of each kind."""
    (series,) = study.series
    heatmaps = uids.heatmap_series(study, series)
    return {
        uids.report_series(study),
        uids.report_instance(study),
        heatmaps,
        uids.heatmap_instance(heatmaps, "1.2.3", None),
        uids.heatmap_instance(heatmaps, "1.2.3", 1),
        uids.tracking(study, series, 0),
        uids.tracking(study, series, 1),
        uids.report_instance_as(study, "enhanced"),
        uids.report_instance_as(study, "comprehensive"),
        uids.plain_report_series(study),
        uids.plain_report_instance(study),
        uids.montage_series(study),
        uids.montage_instance(study, series),
        uids.presentation_series(study),
        uids.presentation_instance(study, series),
        uids.key_object_series(study),
        uids.key_object_instance(study, series, ["1.2.3"]),
        uids.key_object_instance(study, series, ["1.2.3", "1.2.4"]),
    }


def test_a_second_run_repeats_every_uid(mni_study: StudyAssessment) -> None:
    """The same job gives the same, distinct, valid UIDs."""
    again = replace(mni_study)

    assert all_uids(again) == all_uids(mni_study)
    assert len(all_uids(mni_study)) == 18
    for uid in all_uids(mni_study):
        assert Uid.parse(uid).startswith("2.25.")


@pytest.mark.parametrize(
    "change",
    [
        {"content_digest": Digest.of(b"other")},
        {"model_digest": "other"},
        {"revision": 2},
        {"created_at": 1.0},
        {"false_hold_rate": 0.01},
        {"ae_title": "OTHER"},
        {"institution": "Clinic"},
        {"series_number": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_bytes_changes_every_uid(
    mni_study: StudyAssessment, change: dict[str, Any]
) -> None:
    """An archive keeps the old object under a known UID, so none may be used twice."""
    changed = replace(mni_study, **change)

    assert all_uids(changed).isdisjoint(all_uids(mni_study))


def test_a_rate_of_a_profile_changes_every_uid_too(mni_study: StudyAssessment) -> None:
    """The objects of the series state it."""
    series = tuple(replace(one, false_hold_rate=0.01) for one in mni_study.series)

    assert all_uids(replace(mni_study, series=series)).isdisjoint(all_uids(mni_study))


def test_heatmaps_follow_their_source_and_their_judge(mni_study: StudyAssessment) -> None:
    """Other slices, another model or another calibration give other heatmaps."""
    (series,) = mni_study.series
    source, finding = series.source, series.finding
    assert finding is not None
    changed = [
        replace(series, finding=replace(finding, calibration_digest="other")),
        replace(series, finding=replace(finding, model_digest="other")),
        replace(series, source=replace(source, headers=source.headers[:-1])),
        series,
    ]

    assert len({uids.heatmap_series(mni_study, one) for one in changed}) == 4


def test_the_device_is_new_when_the_models_are() -> None:
    """Each set of models is a device of its own."""
    assert uids.device("a") == uids.device("a")
    assert uids.device("a") != uids.device("b")


def test_a_version_name_fits_its_attribute() -> None:
    """Implementation Version Name has at most 16 characters (PS3.7 D.3.3.2)."""
    assert len(uids.IMPLEMENTATION_VERSION_NAME) <= 16
