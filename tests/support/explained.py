"""What explains an outcome, made for tests as `gatekeeper.work.summary` keeps it."""

from __future__ import annotations

from typing import Any


def lesions(bundle: str = "nodules", *, kept_extent: bool = True) -> dict[str, Any]:
    """Return what a lesion bundle says of a series with one lesion.

    Args:
        bundle: its name.
        kept_extent: whether slices and size are there, which were not kept at first.
    """
    lesion: dict[str, Any] = {
        "number": 1, "origin": "segmentation", "within": 2, "reference": "1.2.3.4",
        "probability": 0.518, "interval_95": [0.32, 0.657], "inside_calibration": False,
        "patches": 5, "centre_lps_mm": [61.6, 44.8, 12.0], "volume_mm3": 1587.6, "slice": 5,
    }  # fmt: skip
    if kept_extent:
        lesion |= {"slices": [4, 8], "size_mm": [10.0, 15.4, 14.0], "images": [105, 109]}
    return {
        "bundle": bundle, "bundle_digest": "b" * 64, "trial": True,
        "not_tested_on": ["Children."],
        "calibration": {
            "method": "Platt's scaling", "prevalence": 0.5, "benign_patients": 6,
            "malignant_patients": 7, "brier": 0.187, "expected_calibration_error": 0.134,
        },
        "lesions": [lesion],
        "left_out": ["Not scored for malignancy: 1 from a segmentation, outside the scan."],
    }  # fmt: skip


def clinical(bundle: str = "lung-trial") -> dict[str, Any]:
    """Return what a multimodal bundle says of a series: the scan and `dlco` known, `fev1` not."""
    return {
        "bundle": bundle, "bundle_digest": "d" * 64, "simulated": True, "score": 17.5,
        "p_value": 5 / 42, "calibration_size": 41, "atypical": False, "baseline": 13.9,
        "contributions": {"dlco": -0.9, "fev1": 0.0, "image": 4.5},
        "sources": {"dlco": "sr"}, "missing": ["fev1"],
    }  # fmt: skip
