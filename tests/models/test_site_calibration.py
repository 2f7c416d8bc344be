"""A site's own normal scans calibrate a bundle for one scanner and protocol, and only that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.small_bundle import SHAPE, scan, scans, small_bundle

from models.detector import load
from models.errors import ModelError
from models.manifests import MANIFEST
from models.registry import SHIPPED_BUNDLES, BundleInfo, read_bundle
from models.scan import Scan
from models.training.site_calibration import Origin, SiteCalibration, bumped, calibrate

SKYRA = Origin("SIEMENS SKYRA 3T", "T2_TSE_TRA")
KNOWN = {"device": SKYRA.device, "protocol": SKYRA.protocol}


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """Return a small fitted bundle, made from subject-0 to subject-3."""
    return small_bundle(tmp_path_factory.mktemp("fitted"), default=True)


@pytest.fixture(scope="module")
def found(info: BundleInfo, tmp_path_factory: pytest.TempPathFactory) -> SiteCalibration:
    """Return what comes of calibrating it: one scanner with enough subjects, one without."""
    other = {"device": "GE SIGNA 1.5T", "protocol": "T2"}
    data = [
        *scans(range(10, 15), **KNOWN),
        scan(30, subject="subject-10", **KNOWN),
        *scans(range(20, 22), **other),
        *scans(range(2), **KNOWN),
        scan(40),
        replace(scan(41, **KNOWN), label="glioma"),
    ]
    return calibrate(info, data, tmp_path_factory.mktemp("out"), fewest=5, source="our ward")


def test_each_subject_gives_one_score_the_largest_of_its_scans(
    info: BundleInfo, found: SiteCalibration
) -> None:
    """Scores are those of the bundle itself, subject by subject."""
    (group,) = found.groups
    assessor = load(info)
    own = [assessor.scores(scan(seed).volume) for seed in (10, 30)]

    assert group.origin == SKYRA
    assert group.subjects == tuple(f"subject-{number}" for number in range(10, 15))
    for level, scores in group.scores.items():
        assert scores[0] == pytest.approx(max(one[level] for one in own), abs=1e-6)


def test_what_does_not_count_is_told_with_its_reason(found: SiteCalibration) -> None:
    """Fitted subjects, abnormal scans, unknown scanners, and too small groups."""
    assert found.left_out == {
        "the bundle was made from this subject": 2,
        "scanner or protocol not stated: give them": 1,
        "not stated to be normal": 1,
    }
    assert found.too_small == {Origin("GE SIGNA 1.5T", "T2"): 2}
    assert "no p-value is under 0.167" in found.groups[0].in_words()


def test_the_bundle_becomes_a_new_version_and_the_old_one_stays(
    info: BundleInfo, found: SiteCalibration
) -> None:
    """Same weights, the next version, and where it came from; subjects are not named."""
    manifest = found.info.manifest

    assert read_bundle(info.path).digest == info.digest
    assert (info.version, found.info.version) == ("1.0.0", "1.0.1")
    assert found.info.default
    assert manifest["weights"] == info.manifest["weights"]
    assert manifest["calibration"] == info.manifest["calibration"]
    assert manifest["made_from"] == {"version": "1.0.0", "digest": info.digest}
    (entry,) = manifest["site_calibrations"]
    assert entry["n"] == len(set(entry["subjects"])) == 5
    assert "our ward" in entry["description"]
    assert "subject-10" not in json.dumps(entry)


def test_a_scan_of_the_same_scanner_and_protocol_is_judged_by_it(found: SiteCalibration) -> None:
    """Any other is judged by the bundle's own calibration, as before."""
    assessor = load(found.info)
    normal = scan(50, **KNOWN).volume
    strange = replace(normal, array=np.roll(normal.array, SHAPE[1] // 4, axis=1) * normal.array)

    own = assessor.detect(normal)
    assert own.levels[0].calibration_size == 5
    asked = " ".join(level.question for level in own.levels)
    assert ("body" in asked, "brain" in asked) == (True, False), "a pelvis is judged"
    assert own.p_value > 1 / 6
    assert own.site_calibrated
    assert not assessor.detect(replace(normal, device="OTHER")).site_calibrated
    assert assessor.detect(strange).p_value == pytest.approx(1 / 6)
    assert assessor.detect(replace(normal, protocol="OTHER")).levels[0].calibration_size == 4


def test_about_one_subject_in_ten_shows_a_region(info: BundleInfo, found: SiteCalibration) -> None:
    """At the threshold at most one of five does, and below it more do or it is the lowest."""
    assessor = load(found.info)
    findings = [assessor.detect(scan(seed, **KNOWN).volume) for seed in range(10, 15)]

    assert found.groups[0].map_threshold >= 1.0
    assert sum(bool(finding.regions) for finding in findings) <= 1


def test_calibrating_again_replaces_the_entry_and_keeps_the_version_before(
    found: SiteCalibration,
) -> None:
    """In the same folder; other scanners' entries stay."""
    out = found.info.path.parent
    other = Origin("GE SIGNA 1.5T", "T2")

    second = calibrate(found.info, scans(range(20, 25)), out, fewest=5, given=other)
    third = calibrate(second.info, scans(range(60, 66), **KNOWN), out, fewest=5)

    entries = third.info.manifest["site_calibrations"]
    assert [(entry["device"], entry["n"]) for entry in entries] == [
        (other.device, 5),
        (SKYRA.device, 6),
    ]
    assert third.info.version == "1.0.3"
    kept = sorted(path.name for path in out.iterdir() if path.name.startswith("_"))
    assert [read_bundle(out / name).version for name in kept] == ["1.0.1", "1.0.2"]


def test_scans_of_another_scanner_than_the_given_one_are_left_out(
    info: BundleInfo, tmp_path: Path
) -> None:
    """What a scan states of itself is not overruled."""
    data = [*scans(range(10, 13), **KNOWN), *scans(range(13, 16))]
    found = calibrate(info, data, tmp_path, fewest=3, given=Origin("X", "Y"))

    assert found.left_out == {"of another scanner or protocol": 3}
    assert found.groups[0].subjects == ("subject-13", "subject-14", "subject-15")


def test_equal_names_of_another_set_are_taken_when_that_is_said(
    info: BundleInfo, tmp_path: Path
) -> None:
    """Otherwise they count as the subjects that the bundle was fitted on."""
    found = calibrate(info, scans(range(3), **KNOWN), tmp_path, fewest=3, same_set=False)

    assert len(found.groups[0].subjects) == 3


def test_too_few_subjects_are_refused_with_their_number(info: BundleInfo, tmp_path: Path) -> None:
    """And nothing is written."""
    data: list[Scan] = scans(range(10, 13), **KNOWN)

    with pytest.raises(ModelError, match="3 subjects, fewer than 19"):
        calibrate(info, data, tmp_path)
    with pytest.raises(ModelError, match="no scan was found"):
        calibrate(info, [], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_shipped_bundle_is_never_written_over(info: BundleInfo) -> None:
    """Whatever folder is asked for."""
    before = sorted((path.name, path.stat().st_mtime) for path in SHIPPED_BUNDLES.iterdir())

    with pytest.raises(ModelError, match="shipped"):
        calibrate(info, scans(range(10, 13), **KNOWN), SHIPPED_BUNDLES, fewest=3)
    assert before == sorted((path.name, path.stat().st_mtime) for path in SHIPPED_BUNDLES.iterdir())


@pytest.mark.parametrize(
    ("version", "following"), [("2.0.0", "2.0.1"), ("1.9", "1.10"), ("7", "8"), ("a", "a.1")]
)
def test_the_last_number_of_a_version_is_raised(version: str, following: str) -> None:
    """Whatever came before it."""
    assert bumped(version) == following


def test_the_manifest_stays_under_what_a_registry_reads(found: SiteCalibration) -> None:
    """A calibration adds kilobytes."""
    assert (found.info.path / MANIFEST).stat().st_size < 20_000
