"""Sources: the sets packed for this project are read as their tables describe them."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelError
from models.scan import Scan
from models.sources import SOURCES, open_source
from models.sources.nifti import read_volume

FORMS = {
    "brain_t1_healthy_oasis": ("MR", "BRAIN", "T1"),
    "brain_flair_lgg": ("MR", "BRAIN", "FLAIR"),
    "brain_ms_ljubljana": ("MR", "BRAIN", "FLAIR"),
    "brain_glioma_brats2013": ("MR", "BRAIN", "FLAIR"),
    "chest_ct_iqoth": ("CT", "CHEST", ""),
}


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def first(data: Path, name: str, count: int, split: str = "dev") -> list[Scan]:
    """Return the first scans of a split of a set."""
    return list(islice(SOURCES[name].read(data / name, split), count))


@pytest.mark.parametrize("name", list(FORMS))
def test_every_set_is_recognised_and_its_scans_are_whole(shared_data: Path, name: str) -> None:
    """The form is found by the folder alone, and a scan's arrays fit one another."""
    assert open_source(shared_data / name).name == name
    (scan,) = first(shared_data, name, 1)
    volume = scan.volume
    assert (volume.modality, volume.body_part, volume.sequence) == FORMS[name]
    assert volume.array.dtype == np.float32
    assert scan.lesion.shape == volume.array.shape
    assert scan.normal.shape == volume.array.shape[:1]
    assert scan.lesion.dtype == scan.normal.dtype == np.bool_
    assert volume.array.max() > volume.array.min()
    with pytest.raises(ModelError, match="offers the splits"):
        SOURCES[name].read(shared_data / name, "held out")


def test_healthy_adults_are_all_normal_and_7_scans_of_5_subjects(shared_data: Path) -> None:
    """The dev split of the OASIS set, as its README states it."""
    scans = first(shared_data, "brain_t1_healthy_oasis", 99)
    assert len(scans) == 7
    assert len({scan.subject for scan in scans}) == 5
    assert all(scan.normal.all() and not scan.lesion.any() for scan in scans)
    assert scans[0].volume.spacing == pytest.approx((2.0, 1.0, 1.0))


def test_lgg_lesions_and_normal_slices_agree_with_the_table(shared_data: Path) -> None:
    """Lesion voxels and normal slices of each patient are those that slices.csv counts."""
    table = rows(shared_data / "brain_flair_lgg" / "slices.csv")
    patients = {row["patient"] for row in table if row["split"] == "dev"}
    assert len(patients) == 23
    for scan in first(shared_data, "brain_flair_lgg", 3):
        own = [row for row in table if row["patient"] == scan.name]
        counted = [int(row["lesion_px"]) for row in sorted(own, key=lambda row: int(row["slice"]))]
        assert scan.subject in patients
        assert scan.lesion.sum(axis=(1, 2)).tolist() == counted
        assert scan.normal.sum() == sum(row["normal_ok"] == "1" for row in own)
        assert scan.site == own[0]["institution"]
        assert not scan.volume.spacing_known


def test_multiple_sclerosis_has_its_lesions_by_slice_and_both_companions(shared_data: Path) -> None:
    """8227 lesion voxels of patient 26, each axial slice as the table has it."""
    (scan,) = first(shared_data, "brain_ms_ljubljana", 9)
    table = rows(shared_data / "brain_ms_ljubljana" / "slices.csv")
    assert scan.lesion.sum() == 8227
    assert scan.lesion.sum(axis=(1, 2)).tolist() == [int(row["lesion_vox"]) for row in table]
    brain = (scan.volume.array > 0).sum(axis=(1, 2))
    assert brain.tolist() == [int(row["brain_vox"]) for row in table]
    assert scan.normal.tolist() == [row["normal_ok"] == "1" for row in table]
    assert list(scan.companions) == ["T1", "T2"]
    assert scan.companions["T2"].shape == scan.volume.array.shape


def test_gliomas_of_brats_2013_are_z_scores_over_a_dark_background(shared_data: Path) -> None:
    """Three patients; the 8-bit code is undone in the brain, and nothing is below background."""
    names: list[str] = []
    folder = shared_data / "brain_glioma_brats2013"
    for scan in SOURCES["brain_glioma_brats2013"].read(folder, "dev"):
        names.append(scan.name)
        stored = read_volume(folder / f"{scan.name}_flair.nii.gz", "MR").array
        brain = stored > 0
        code = np.round((scan.volume.array + 4.0) / 10.0 * 254.0) + 1.0
        np.testing.assert_array_equal(code[brain], stored[brain])
        assert (scan.volume.array[~brain] == -4.0).all()
        assert scan.volume.array[brain].mean() == pytest.approx(0.0, abs=0.25)
        assert scan.volume.spacing == pytest.approx((1.0, 1.0, 1.0))
        assert brain[scan.lesion].mean() > 0.99
        assert not scan.normal[scan.lesion.any(axis=(1, 2))].any()
    assert names == [f"brats_2013_pat000{number}_1" for number in (3, 5, 6)]


def test_chest_slices_are_one_scan_each_with_their_class(shared_data: Path) -> None:
    """448 slices of the dev split; only those of the class normal stand for normal."""
    scans = first(shared_data, "chest_ct_iqoth", 999)
    labels = [scan.label for scan in scans]
    assert [labels.count(name) for name in ("normal", "benign", "malignant")] == [59, 61, 328]
    assert all(len(scan.volume.array) == 1 for scan in scans)
    assert all(scan.normal.all() == (scan.label == "normal") for scan in scans)
    train = {
        row["pseudo_patient"]
        for row in rows(shared_data / "chest_ct_iqoth" / "slices.csv")
        if row["split"] == "train"
    }
    assert not train & {scan.subject for scan in scans}
