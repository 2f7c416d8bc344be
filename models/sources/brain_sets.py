"""Public distributions of brain MR as they are when unpacked: IXI, OASIS-1, WMH and BraTS.

None has a split that fits, so the side of a subject is that of `split.split_of`. Each reader
yields by path, one scan at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.errors import ModelError
from models.scan import Scan
from models.sources.marks import normal_slices
from models.sources.nifti import OnDisk, read_like, read_volume
from models.sources.split import on_side
from models.sources.tables import table
from models.volume import Volume

NIFTI = (".nii.gz", ".nii")


def ixi(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the T1-weighted scans of IXI: ``IXI<number>-<site>-<scan>-T1.nii.gz``, at any depth.

    Healthy volunteers of three London hospitals (brain-development.org/ixi-dataset): Guys (1.5 T),
    HH (3 T) and IOP (1.5 T). With the skull; all slices stand for normal. The T2- and PD-weighted
    images of the set are on other grids and not read.

    Raises:
        ModelError: if a file is not named so or cannot be read.
    """
    for path in sorted(folder.rglob("IXI*-T1.nii*")):
        parts = re.fullmatch(r"(IXI\d+)-([A-Za-z]+)-[^-]*-T1\.nii(?:\.gz)?", path.name)
        if parts is None:
            raise ModelError(f"{path}: a scan of IXI is named IXI<number>-<site>-<scan>-T1.nii.gz")
        if on_side(parts[1], split):
            volume = read_volume(path, "MR", "BRAIN", "T1")
            yield _normal(path.name.partition(".")[0], parts[1], volume, site=parts[2])


def oasis1(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the scans of OASIS-1: ``OAS1_<subject>_MR<n>/PROCESSED/MPRAGE/T88_111``, at any depth.

    The averaged, bias-corrected, skull-stripped T1-weighted image in Talairach space, 1 mm
    (``*_t88_masked_gfc``; Marcus et al. 2007), as an Analyze pair or NIfTI. Analyze states no
    affine: the layout is that of its ``orient`` field. A second session (MR2) is the same subject.

    100 of the 416 subjects have dementia. The Clinical Dementia Rating is read from the session's
    ``.txt`` or from a table ``oasis_cross-sectional*.csv`` (columns ID, CDR) in the folder; over
    0, no slice stands for normal and the label is ``CDR <rating>``. An empty rating, given to the
    young who were not rated, is normal.

    Raises:
        ModelError: if a session has not exactly one such image, its rating cannot be found, or a
            file cannot be read.
    """
    ratings: dict[str, str] = {}
    for path in sorted(folder.glob("oasis_cross-sectional*.csv")):
        ratings |= {row["ID"]: row["CDR"] for row in table(path, frozenset({"ID", "CDR"}))}
    for session in sorted(path for path in folder.rglob("OAS1_*_MR?") if path.is_dir()):
        subject = session.name.rpartition("_")[0]
        if not on_side(subject, split):
            continue
        images = session / "PROCESSED" / "MPRAGE" / "T88_111"
        found = [
            path
            for ending in (".hdr", *NIFTI)
            for path in sorted(images.glob(f"*_t88_masked_gfc{ending}"))
        ]
        if len(found) != 1:
            raise ModelError(f"{images}: holds {len(found)} images *_t88_masked_gfc, not one")
        rating = _dementia_rating(session, ratings)
        volume = read_volume(found[0], "MR", "BRAIN", "T1")
        if rating:
            yield _diseased(session.name, subject, volume, label=f"CDR {rating:g}")
        else:
            yield _normal(session.name, subject, volume)


def wmh(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the FLAIR scans of the WMH challenge: ``<site>/<subject>/pre/FLAIR.nii.gz``.

    White matter hyperintensities of presumed vascular origin (Kuijf et al. 2019;
    wmh.isi.uu.nl), from any folder of the release: the site is the folder above the subject, and
    the subject the path from `folder`. The preprocessed (bias-corrected) FLAIR is read, with
    ``pre/T1.nii.gz`` as a companion where it is. In ``wmh.nii.gz`` 1 is lesion; 2 is other
    pathology, no lesion here but to be left out of every count: the companion ``ignored`` is 1
    there. Slices three or more from both stand for normal.

    Raises:
        ModelError: if a subject has no mask, the mask has another label, or a file cannot be read.
    """
    for path in sorted(folder.rglob("pre/FLAIR.nii.gz")):
        case = path.parent.parent
        subject = "-".join(case.relative_to(folder).parts)
        if not on_side(subject, split):
            continue
        volume = read_volume(path, "MR", "BRAIN", "FLAIR")
        labels = read_like(_existing(case / "wmh.nii.gz", "the mask of the lesions"), volume)
        if not np.isin(labels, (0, 1, 2)).all():
            raise ModelError(f"{case / 'wmh.nii.gz'}: the labels are 0, 1 and 2")
        t1 = path.with_name("T1.nii.gz")
        others = {"ignored": (labels == 2).astype(np.float32)}
        yield Scan(
            subject,
            subject,
            volume,
            normal_slices(labels > 0),
            labels == 1,
            site=case.parent.name,
            label="white matter hyperintensities",
            companions=others | ({"T1": read_like(t1, volume)} if t1.exists() else {}),
        )


_BRATS_NAMES = (
    ("_flair", "_seg", {"T1": "_t1", "T1C": "_t1ce", "T2": "_t2"}),
    ("-t2f", "-seg", {"T1": "-t1n", "T1C": "-t1c", "T2": "-t2w"}),
)
"""Endings of the FLAIR, the segmentation and the other contrasts: to 2021, and from 2023."""


def brats(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the FLAIR scans of a BraTS training set, 2017 to 2023: ``<case>/<case>_flair.nii.gz``
    or ``<case>/<case>-t2f.nii.gz``, at any depth.

    Gliomas and other tumours, skull-stripped, 1 mm, co-registered (Baid et al. 2021). The lesion
    is every label over 0, and slices three or more from it stand for normal. The other contrasts
    are companions (T1, T1C, T2) where they are. A subject is a patient, whose later scans (the
    last number of a case of 2023, or of 2017 to 2019) stay with the first. The site is the
    institution in the names of 2017 to 2019; the label is HGG, LGG or the tumour of 2023.

    Raises:
        ModelError: if a case has no segmentation (the validation sets are not given one) or a file
            cannot be read.
    """
    cases = [
        (path, path.name.removesuffix(flair + ending), ending, seg, others)
        for flair, seg, others in _BRATS_NAMES
        for ending in NIFTI
        for path in folder.rglob(f"*{flair}{ending}")
    ]
    for path, case, ending, seg, others in sorted(cases, key=lambda one: one[0]):
        subject, site, label = _brats_case(case, path.parent.parent.name)
        if not on_side(subject, split):
            continue
        volume = read_volume(path, "MR", "BRAIN", "FLAIR")
        mask = _existing(path.with_name(case + seg + ending), "the segmentation of the case")
        lesion = read_like(mask, volume) > 0
        found = {name: path.with_name(case + mark + ending) for name, mark in others.items()}
        yield Scan(
            case,
            subject,
            volume,
            normal_slices(lesion),
            lesion,
            site=site,
            label=label,
            companions=OnDisk({name: one for name, one in found.items() if one.exists()}, volume),
        )


def _brats_case(case: str, folder: str) -> tuple[str, str, str]:
    """Return the subject, site and label of a case, by its name and the folder above it."""
    if parts := re.fullmatch(r"(BraTS-([A-Z]+)-\d+)-\d+", case):
        return parts[1], "", parts[2]
    label = folder if folder in {"HGG", "LGG"} else ""
    if parts := re.fullmatch(r"(Brats1[789]_([A-Za-z0-9]+)_.+)_\d+", case, re.IGNORECASE):
        return parts[1], parts[2], label
    return case, "", label


def _dementia_rating(session: Path, ratings: dict[str, str]) -> float:
    """Return the Clinical Dementia Rating of an OASIS-1 session; 0 when it was not rated."""
    text = session / f"{session.name}.txt"
    if text.is_file():
        found = re.search(r"^CDR:[ \t]*([^\r\n]*)", text.read_text(errors="replace"), re.MULTILINE)
        stated = None if found is None else found[1].strip()
    else:
        stated = ratings.get(session.name)
    if stated is None:
        raise ModelError(
            f"{session}: neither {text.name} nor oasis_cross-sectional.csv states the dementia "
            "rating (CDR), without which nobody knows whether the scan is normal"
        )
    try:
        return float(stated) if stated not in {"", "N/A"} else 0.0
    except ValueError as error:
        raise ModelError(f"{session}: the dementia rating {stated!r} is not a number") from error


def _normal(name: str, subject: str, volume: Volume, site: str = "") -> Scan:
    normal = np.ones(len(volume.array), dtype=np.bool_)
    none = np.zeros(volume.array.shape, dtype=np.bool_)
    return Scan(name, subject, volume, normal, none, site=site, label="normal")


def _diseased(name: str, subject: str, volume: Volume, label: str) -> Scan:
    normal = np.zeros(len(volume.array), dtype=np.bool_)
    none = np.zeros(volume.array.shape, dtype=np.bool_)
    return Scan(name, subject, volume, normal, none, label=label)


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise ModelError(f"{path}: {what} is missing")
    return path
