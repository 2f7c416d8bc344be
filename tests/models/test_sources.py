"""Sources: every public form of a set is recognised and read, the right way round."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import h5py
import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nibabel.spm2analyze import Spm2AnalyzeHeader, Spm2AnalyzeImage
from numpy.typing import NDArray

from models.errors import ModelError
from models.scan import Scan
from models.sources import SOURCES, open_source, split_of
from models.sources.nifti import read_like, read_volume

SHAPE = (20, 24, 28)
"""Voxels of a small scan along x, y and z of RAS."""


def small(spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Any:
    """Return a RAS image of noise with a bright block right of, before and above the centre."""
    array = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    array[14:18, 15:20, 18:25] += 100.0
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-10.0, -20.0, -30.0)
    return Nifti1Image(array, affine)


def mask(*boxes: tuple[int, int, int], value: int = 1) -> Any:
    """Return a RAS mask like `small` with a voxel set at each index."""
    array = np.zeros(SHAPE, dtype=np.uint8)
    for box in boxes:
        array[box] = value
    return Nifti1Image(array, small().affine)


def save(image: Any, path: Path) -> Path:
    """Save an image, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def everything(folder: Path, form: str | None = None) -> list[Scan]:
    """Return all scans of a folder whose form is recognised or given."""
    return list(open_source(folder, form).read(folder, "all"))


def bright_centre(array: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the patient coordinates of the centre of the bright block."""
    index = np.argwhere(array > 50.0).mean(axis=0)
    return (affine @ np.array([*index, 1.0]))[:3]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "ASR", "SPL", "IRP", "PIR", "LSA"])
@pytest.mark.parametrize(
    ("spacing", "layout"),
    [
        ((1.0, 1.0, 1.0), ("S", "P", "L")),
        ((1.0, 1.0, 3.0), ("S", "P", "L")),
        ((0.9, 3.0, 0.9), ("P", "I", "L")),
        ((1.2, 0.9, 0.9), ("L", "I", "P")),
    ],
)
def test_a_block_lies_at_its_patient_coordinates_however_the_file_is_stored(
    tmp_path: Path, codes: str, spacing: tuple[float, float, float], layout: tuple[str, ...]
) -> None:
    """Axis order and direction of the file change nothing in patient coordinates (LPS)."""
    image = small(spacing)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes)))
    path = save(image.as_reoriented(turn), tmp_path / "scan.nii.gz")

    volume = read_volume(path, "MR", "BRAIN", "T1")

    ras = image.affine @ np.array([15.5, 17.0, 21.0, 1.0])
    expected = (-ras[0], -ras[1], ras[2])
    np.testing.assert_allclose(bright_centre(volume.array, volume.affine), expected, atol=1e-3)
    as_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    assert nibabel.orientations.aff2axcodes(as_ras) == layout
    assert volume.spacing[0] == pytest.approx(max(spacing))
    assert (volume.array > 50.0).sum() == 4 * 5 * 7
    assert volume.array.dtype == np.float32
    assert volume.array.flags.c_contiguous


def test_a_mask_stored_otherwise_falls_on_the_scan(tmp_path: Path) -> None:
    """A companion in another axis order is turned to the scan's grid; another grid is refused."""
    volume = read_volume(save(small(), tmp_path / "scan.nii.gz"), "MR")
    image = mask((15, 17, 21))
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(("I", "R", "P")))
    path = save(image.as_reoriented(turn), tmp_path / "mask.nii.gz")

    found = read_like(path, volume)

    assert np.argwhere(found > 0).tolist() == [[21, 24 - 1 - 17, 20 - 1 - 15]]
    moved = Nifti1Image(np.asarray(image.dataobj), image.affine + np.eye(4, k=3) * 2.0)
    with pytest.raises(ModelError, match=r"moved\.nii\.gz: lies on another grid .* 2\.0 mm"):
        read_like(save(moved, tmp_path / "moved.nii.gz"), volume)


def test_an_unusable_file_is_refused_with_its_name_and_the_rule(tmp_path: Path) -> None:
    """4-D, tiny, constant, non-finite, damaged and foreign files each name their rule."""
    eye = np.eye(4)
    array = np.asarray(small().dataobj)
    broken = array.copy()
    broken[3, 3, 3] = np.nan
    no_size = Nifti1Image(array, eye)
    no_size.header["pixdim"][1:4] = 0.0
    cases = {
        "time": (np.stack([array, array], axis=-1), "one 3-D image"),
        "tiny": (array[:8, :8], "at least 16 rows and columns"),
        "flat": (np.zeros(SHAPE, np.float32), "same value"),
        "nan": (broken, "finite"),
        "complex": (array.astype(np.complex64), "one real number"),
    }
    for name, (content, rule) in cases.items():
        path = save(Nifti1Image(content, eye), tmp_path / f"{name}.nii")
        with pytest.raises(ModelError, match=rf"{name}\.nii: .*{rule}"):
            read_volume(path, "MR")
    whole = save(small(), tmp_path / "whole.nii.gz").read_bytes()
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "text": b"no image",
        "none": b"",
    }.items():
        path = tmp_path / f"{name}.nii.gz"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"{name}\.nii\.gz: "):
            read_volume(path, "MR")
    with pytest.raises(ModelError, match="absent"):
        read_volume(tmp_path / "absent.nii", "MR")


def test_a_trailing_axis_of_one_is_no_time_axis(tmp_path: Path) -> None:
    """OASIS-1 and others store a 3-D scan with a fourth axis of length 1."""
    array = np.asarray(small().dataobj)[..., None]
    path = save(Nifti1Image(array, np.eye(4)), tmp_path / "scan.nii")
    assert read_volume(path, "MR").array.shape == (28, 24, 20)


def test_a_folder_without_a_table_is_one_normal_scan_a_file(tmp_path: Path) -> None:
    """Every file is a normal scan of a subject named after it, in sorted order."""
    for name in ("b.nii.gz", "a.nii", "more/c.nii.gz", ".hidden.nii"):
        save(small(), tmp_path / name)

    source = open_source(tmp_path)
    scans = list(source.read(tmp_path, "all"))

    assert source.name == "nifti"
    assert [scan.name for scan in scans] == ["a", "b", "more/c"]
    assert [scan.subject for scan in scans] == ["a", "b", "c"]
    assert all(scan.normal.all() and not scan.lesion.any() for scan in scans)


def test_the_table_of_a_folder_states_subject_side_site_lesion_and_label(tmp_path: Path) -> None:
    """Each column of scans.csv reaches the scan; unlisted files are not part of the set."""
    for name in ("one.nii.gz", "two.nii.gz", "three.nii.gz", "unlisted.nii.gz"):
        save(small(), tmp_path / name)
    save(mask((3, 5, 10)), tmp_path / "masks" / "one.nii.gz")
    (tmp_path / "scans.csv").write_text(
        "file,subject,split,site,lesion,label,body_part,sequence\n"
        "two.nii.gz,p2,train,B,,normal,BRAIN,T2\n"
        "one.nii.gz,p1,dev,A,masks/one.nii.gz,tumour,BRAIN,FLAIR\n"
        "three.nii.gz,p1,dev,A,,tumour,,\n"
    )

    source = open_source(tmp_path)
    one, three = source.read(tmp_path, "dev")
    (two,) = source.read(tmp_path, "train")

    assert (one.subject, one.site, one.label, one.volume.sequence) == ("p1", "A", "tumour", "FLAIR")
    assert np.argwhere(one.lesion).tolist() == [[10, 24 - 1 - 5, 20 - 1 - 3]]
    assert np.flatnonzero(~one.normal).tolist() == [8, 9, 10, 11, 12]
    assert not three.normal.any()
    assert two.normal.all()
    assert (two.volume.modality, two.volume.body_part) == ("MR", "BRAIN")


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ("a.nii,p1,train\nb.nii,p1,dev", "p1 is on two sides"),
        ("a.nii,p1,test", "a split is calibration, dev, train or empty"),
        ("a.nii,p1,train\na.nii,p1,train", "file of its own"),
        ("a.nii,p1", "number of values"),
        ("absent.nii,p1,train", "absent.nii"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused(tmp_path: Path, rows: str, rule: str) -> None:
    """A subject on two sides, an unknown split and a missing file are errors, not skipped rows."""
    save(small(), tmp_path / "a.nii")
    (tmp_path / "scans.csv").write_text(f"file,subject,split\n{rows}\n")
    with pytest.raises(ModelError, match=rule):
        everything(tmp_path)


def test_subjects_stay_on_one_side_and_the_sides_have_their_parts() -> None:
    """The side depends on the subject alone; the parts are 70, 15 and 15 %."""
    sides = [split_of(f"subject {n}") for n in range(4000)]
    assert sides == [split_of(f"subject {n}") for n in range(4000)]
    parts = [sides.count(name) / 4000 for name in ("train", "calibration", "dev")]
    np.testing.assert_allclose(parts, (0.7, 0.15, 0.15), atol=0.02)
    assert [split_of(f"subject {n}", salt="other") for n in range(4000)] != sides
    assert split_of("x", (("only", 1.0),)) == "only"
    with pytest.raises(ModelError, match="sum to 1"):
        split_of("x", (("train", 0.5),))
    with pytest.raises(ModelError, match="without a name"):
        split_of("")


def test_the_sides_of_a_set_share_no_subject_and_miss_none(tmp_path: Path) -> None:
    """Train, calibration and dev together are all scans, each once."""
    for number in range(12):
        for scan in ("0001", "0002"):
            save(small(), tmp_path / f"IXI{number:03d}-HH-{scan}-T1.nii.gz")
    source = SOURCES["ixi"]
    sides = {name: list(source.read(tmp_path, name)) for name in ("train", "calibration", "dev")}
    names = [scan.name for scans in sides.values() for scan in scans]
    assert sorted(names) == [scan.name for scan in source.read(tmp_path, "all")]
    subjects = [{scan.subject for scan in scans} for scans in sides.values()]
    assert not any(one & other for one, other in pairwise([*subjects, subjects[0]]))


def test_ixi_takes_subject_and_site_from_the_name(tmp_path: Path) -> None:
    """IXI002-Guys-0828-T1 is subject IXI002 of Guys; T2 is not read; other names are refused."""
    save(small((1.2, 0.9375, 0.9375)), tmp_path / "IXI-T1" / "IXI002-Guys-0828-T1.nii.gz")
    save(small(), tmp_path / "IXI002-Guys-0828-T2.nii.gz")

    assert open_source(tmp_path).name == "ixi"
    (scan,) = everything(tmp_path)

    assert (scan.subject, scan.site, scan.label) == ("IXI002", "Guys", "normal")
    assert scan.name == "IXI002-Guys-0828-T1"
    assert scan.volume.spacing == pytest.approx((1.2, 0.9375, 0.9375))
    save(small(), tmp_path / "IXI3-T1.nii.gz")
    with pytest.raises(ModelError, match=r"IXI3-T1\.nii\.gz: a scan of IXI is named"):
        everything(tmp_path)


def test_wmh_keeps_other_pathology_out_of_the_lesion(tmp_path: Path) -> None:
    """Label 1 is lesion; label 2 is a companion to be ignored, and its slices are not normal."""
    case = tmp_path / "training" / "Amsterdam" / "GE3T" / "100"
    save(small(), case / "pre" / "FLAIR.nii.gz")
    save(small(), case / "pre" / "T1.nii.gz")
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[4, 5, 6], labels[7, 8, 20] = 1, 2
    save(Nifti1Image(labels, small().affine), case / "wmh.nii.gz")

    assert open_source(tmp_path).name == "wmh"
    (scan,) = everything(tmp_path)

    assert (scan.site, scan.subject) == ("GE3T", "training-Amsterdam-GE3T-100")
    assert np.argwhere(scan.lesion).tolist() == [[6, 24 - 1 - 5, 20 - 1 - 4]]
    assert np.argwhere(scan.companions["ignored"]).tolist() == [[20, 24 - 1 - 8, 20 - 1 - 7]]
    assert np.flatnonzero(~scan.normal).tolist() == [4, 5, 6, 7, 8, 18, 19, 20, 21, 22]
    np.testing.assert_array_equal(scan.companions["T1"], scan.volume.array)
    (case / "wmh.nii.gz").unlink()
    with pytest.raises(ModelError, match=r"wmh\.nii\.gz: the mask of the lesions is missing"):
        everything(tmp_path)


@pytest.mark.parametrize(
    ("case", "flair", "seg", "t1c", "subject", "site", "label"),
    [
        ("HGG/Brats18_CBICA_AAB_1", "_flair", "_seg", "_t1ce", "Brats18_CBICA_AAB", "CBICA", "HGG"),
        ("BraTS2021_00000", "_flair", "_seg", "_t1ce", "BraTS2021_00000", "", ""),
        ("BraTS-GLI-00005-001", "-t2f", "-seg", "-t1c", "BraTS-GLI-00005", "", "GLI"),
    ],
)
def test_brats_layouts_of_all_years_are_read(
    tmp_path: Path, case: str, flair: str, seg: str, t1c: str, subject: str, site: str, label: str
) -> None:
    """FLAIR, segmentation and companions are found by each year's names."""
    folder = tmp_path / case
    for mark in (flair, t1c):
        save(small(), folder / f"{folder.name}{mark}.nii.gz")
    save(mask((4, 5, 6), value=4), folder / f"{folder.name}{seg}.nii.gz")

    assert open_source(tmp_path).name == "brats"
    (scan,) = everything(tmp_path)

    assert (scan.name, scan.subject) == (folder.name, subject)
    assert (scan.site, scan.label) == (site, label)
    assert scan.lesion.sum() == 1
    assert list(scan.companions) == ["T1C"]
    assert scan.companions["T1C"].shape == scan.volume.array.shape
    (folder / f"{folder.name}{seg}.nii.gz").unlink()
    with pytest.raises(ModelError, match="the segmentation of the case is missing"):
        everything(tmp_path)


def analyze(orient: int) -> Spm2AnalyzeImage:
    """Return the scan of `small` as big-endian Analyze of 16-bit integers, with a fourth axis."""
    header = Spm2AnalyzeHeader(endianness=">")
    header.set_data_dtype(np.int16)
    array = np.round(np.asarray(small().dataobj)).astype(np.int16)
    array = array[::-1]  # 0: right to left, back to front, feet to head
    if orient == 2:  # back to front, feet to head, right to left
        array = array.transpose(1, 2, 0)
    header.set_data_shape((*array.shape, 1))
    image = Spm2AnalyzeImage(array[..., None], None, header)
    cast("Any", image.header)["orient"] = bytes([orient])
    return image


@pytest.mark.parametrize("orient", [0, 2])
def test_analyze_pairs_of_oasis_1_are_the_right_way_round(tmp_path: Path, orient: int) -> None:
    """The block is right, before and above the centre, by the layout the header states."""
    session = tmp_path / "disc1" / "OAS1_0007_MR2"
    images = session / "PROCESSED" / "MPRAGE" / "T88_111"
    save(analyze(orient), images / "OAS1_0007_MR2_mpr_n4_anon_111_t88_masked_gfc.img")
    (session / "OAS1_0007_MR2.txt").write_text(
        "SESSION ID:   OAS1_0007_MR2\nCDR:          \nSES: 2\n"
    )

    assert open_source(tmp_path).name == "oasis1"
    (scan,) = everything(tmp_path)

    assert (scan.name, scan.subject) == ("OAS1_0007_MR2", "OAS1_0007")
    assert scan.normal.all()
    assert scan.volume.array.shape == (28, 24, 20)
    centre = bright_centre(scan.volume.array, scan.volume.affine)
    expected = (-(15.5 - 9.5), -(17.0 - 11.5), 21.0 - 13.5)
    np.testing.assert_allclose(centre, expected, atol=1.01)  # an Analyze origin is a whole voxel


def test_oasis_1_with_dementia_is_not_normal_and_an_unknown_rating_is_refused(
    tmp_path: Path,
) -> None:
    """The rating comes from the table where the session has no text; without it nothing is read."""
    for number in (1, 2):
        session = tmp_path / f"OAS1_000{number}_MR1"
        name = f"{session.name}_mpr_n4_anon_111_t88_masked_gfc.nii.gz"
        save(small(), session / "PROCESSED" / "MPRAGE" / "T88_111" / name)
    with pytest.raises(ModelError, match=r"OAS1_0001_MR1: neither .* states the dementia rating"):
        everything(tmp_path)
    (tmp_path / "oasis_cross-sectional.csv").write_text(
        "ID,M/F,CDR\nOAS1_0001_MR1,F,0.5\nOAS1_0002_MR1,F,0\n"
    )

    first, second = everything(tmp_path)

    assert (first.label, second.label) == ("CDR 0.5", "normal")
    assert not first.normal.any()
    assert second.normal.all()


def test_lund_probe_structures_and_ct_are_companions_read_when_asked_for(tmp_path: Path) -> None:
    """MR_StorT2/image is the scan; structures by name and the registered CT are companions."""
    patient = tmp_path / "patient_07"
    save(small((0.5, 0.5, 2.5)), patient / "MR_StorT2" / "image.nii.gz")
    affine = small((0.5, 0.5, 2.5)).affine
    bladder = Nifti1Image(np.asarray(mask((4, 5, 6)).dataobj), affine)
    save(bladder, patient / "MR_StorT2" / "mask_Bladder.nii.gz")
    save(bladder, patient / "MR_StorT2" / "mask_MRI_T2_coords_fiducials.nii.gz")
    save(bladder, patient / "MR_StorT2" / "dose_interpolated.nii.gz")
    ct = Nifti1Image(np.full(SHAPE, -1000, dtype=np.int16), affine)
    save(ct, patient / "sCT" / "image_reg2MRI.nii.gz")
    save(ct, patient / "sCT" / "image.nii.gz")

    assert open_source(tmp_path).name == "lundprobe"
    (scan,) = everything(tmp_path)

    assert scan.subject == "patient_07"
    assert (scan.volume.body_part, scan.volume.sequence) == ("PELVIS", "T2")
    assert sorted(scan.companions) == ["Bladder", "CT"]
    assert np.argwhere(scan.companions["Bladder"]).tolist() == [[6, 24 - 1 - 5, 20 - 1 - 4]]
    assert (scan.companions["CT"] == -1000.0).all()
    save(small(), patient / "sCT" / "image_reg2MRI.nii.gz")
    with pytest.raises(ModelError, match=r"image_reg2MRI\.nii\.gz: lies on another grid"):
        everything(tmp_path)


HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <acquisitionSystemInformation><systemModel>Skyra</systemModel></acquisitionSystemInformation>
 <encoding>
  <encodedSpace>
   <matrixSize><x>640</x><y>320</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>440</x><y>220</y><z>7.5</z></fieldOfView_mm>
  </encodedSpace>
  <reconSpace>
   <matrixSize><x>40</x><y>32</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>40</x><y>24</y><z>5</z></fieldOfView_mm>
  </reconSpace>
 </encoding>
</ismrmrdHeader>
"""


def fastmri_file(
    path: Path,
    acquisition: str = "AXFLAIR",
    patient: str = "p1",
    *,
    images: bool = True,
    header: bool = True,
) -> None:
    """Write a fastMRI file whose stored images have a bright block near the lower left corner."""
    array = np.random.default_rng(1).random((12, 40, 32), dtype=np.float32)
    array[4, -10:-6, 3:8] += 100.0
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["acquisition"] = acquisition
        file.attrs["patient_id"] = patient
        if images:
            file["reconstruction_rss"] = array
        if header:
            file["ismrmrd_header"] = HEADER.encode()


COLUMNS = "file,slice,study_level,x,y,width,height,label\n"


def test_fast_mri_boxes_lie_where_they_were_drawn_on_the_flipped_image(tmp_path: Path) -> None:
    """A box is columns x.. and rows y.. from the top of the image turned upside down."""
    fastmri_file(tmp_path / "multicoil_val" / "scan.h5")
    (tmp_path / "brain.csv").write_text(
        COLUMNS + "scan,4,No,3,6,5,4,Mass\nscan,10,No,1,1,2,2,Normal variant\n"
    )

    assert open_source(tmp_path).name == "fastmri"
    (scan,) = everything(tmp_path)

    np.testing.assert_array_equal(scan.lesion, scan.volume.array > 50.0)
    assert scan.lesion.sum() == 20
    assert np.flatnonzero(scan.normal).tolist() == [0, 1, 7]
    assert (scan.subject, scan.site, scan.label) == ("p1", "Skyra", "Mass")
    assert (scan.volume.body_part, scan.volume.sequence) == ("BRAIN", "FLAIR")
    assert scan.volume.spacing == pytest.approx((5.0, 1.0, 0.75))
    assert scan.volume.spacing_known
    left, back, head = np.sign(bright_centre(scan.volume.array, scan.volume.affine))
    assert (left, back, head) == (1, 1, 1)
    front = scan.volume.to_patient((0, 0, 0))
    assert scan.volume.to_patient((0, 39, 0))[1] > front[1]


def test_fast_mri_says_what_was_looked_at(tmp_path: Path) -> None:
    """Nothing found, a finding of the whole study, normal for age and never reviewed differ."""
    for name in ("clean", "aged", "study", "unseen"):
        fastmri_file(tmp_path / f"{name}.h5", patient=name)
    notes = tmp_path / "Annotations"
    notes.mkdir()
    (notes / "brain.csv").write_text(
        COLUMNS + "aged,0,Yes,,,,,Normal for age\nstudy,0,Yes,,,,,Motion artifact\n"
    )
    (notes / "brain_file_list.csv").write_text("clean\naged\nstudy\n")

    scans = {scan.name: scan for scan in everything(tmp_path)}

    assert {name: scan.label for name, scan in scans.items()} == {
        "aged": "normal",
        "clean": "normal",
        "study": "Motion artifact",
        "unseen": "unreviewed",
    }
    assert {name for name, scan in scans.items() if scan.normal.all()} == {"aged", "clean"}
    assert not scans["study"].normal.any()
    assert not scans["unseen"].normal.any()


def test_fast_mri_knees_are_coronal_and_without_a_header_nominal(tmp_path: Path) -> None:
    """Rows run to the feet and slices to the back; an unstated spacing is said to be a guess."""
    fastmri_file(tmp_path / "file1.h5", "CORPDFS_FBK", header=False)
    (scan,) = everything(tmp_path)
    assert (scan.volume.body_part, scan.volume.sequence) == ("KNEE", "PDFS")
    assert not scan.volume.spacing_known
    assert scan.volume.to_patient((1, 0, 0)) == pytest.approx((0.0, 3.0, 0.0))
    assert scan.volume.to_patient((0, 1, 0)) == pytest.approx((0.0, 0.0, -0.5))


def test_unusable_fast_mri_files_and_boxes_are_named(tmp_path: Path) -> None:
    """A test file without images, an unknown acquisition, noise and a box outside are refused."""
    cases: dict[str, tuple[Callable[[Path], object], str]] = {
        "bare": (partial(fastmri_file, images=False), "holds no reconstruction_rss"),
        "other": (partial(fastmri_file, acquisition="SAGX"), "'SAGX' is not one of fastMRI's"),
        "noise": (partial(Path.write_bytes, data=b"noise"), "not a readable fastMRI file"),
        "outside": (fastmri_file, "lies outside the images"),
    }
    (tmp_path / "brain.csv").write_text(COLUMNS + "outside,12,No,3,6,5,4,Mass\n")
    for name, (write, rule) in cases.items():
        path = tmp_path / f"{name}.h5"
        write(path)
        with pytest.raises(ModelError, match=rf"{name}\.h5: .*{rule}"):
            everything(tmp_path)
        path.unlink()


def test_an_unknown_form_is_refused_with_all_known_forms(tmp_path: Path) -> None:
    """The message names every form and what its folder contains."""
    with pytest.raises(ModelError, match="not a set of a known form") as refused:
        open_source(tmp_path)
    for source in SOURCES.values():
        assert f"{source.name}: {source.layout}" in str(refused.value)
    with pytest.raises(ModelError, match="no form of set is called 'ixy'"):
        open_source(tmp_path, "ixy")
    with pytest.raises(ModelError, match="not a set of the form ixi, which contains IXI<number>"):
        open_source(tmp_path, "ixi")
    with pytest.raises(ModelError, match="there is none here"):
        open_source(tmp_path / "absent")


@pytest.mark.parametrize("name", list(SOURCES))
def test_a_split_that_is_not_offered_is_refused_at_the_call(tmp_path: Path, name: str) -> None:
    """Held-out data cannot be asked for, and nothing is read before the refusal."""
    with pytest.raises(ModelError, match="offers the splits"):
        SOURCES[name].read(tmp_path, "heldout")
    with pytest.raises(ModelError, match="not a set of the form"):
        SOURCES[name].read(tmp_path, SOURCES[name].splits[0])


def test_listing_the_forms_imports_no_library_of_a_format() -> None:
    """nibabel, h5py and Pillow are needed where a file of theirs is opened, and only there."""
    code = (
        "import sys, models.sources; print({'nibabel', 'h5py', 'PIL', 'torch'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "set()"
