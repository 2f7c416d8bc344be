"""Sources: every form of a reference or test set that can be read, by name.

A `Source` knows how to recognise its form in a folder and reads it one `Scan` at a time, in an
order that depends on the folder alone. Nothing is left out silently: what breaks a rule raises
`ModelError` with the file and the rule. The libraries of the formats (nibabel, h5py, Pillow) are
imported when a file is opened, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError
from models.scan import Scan
from models.sources import brain_sets, fastmri, lundprobe, nifti_folder, shared_sets
from models.sources.split import SPLITS, split_of
from models.sources.tables import has_columns

__all__ = ["SOURCES", "Source", "open_source", "split_of"]

Reader = Callable[[Path, str], Iterator[Scan]]


@dataclass(frozen=True, slots=True)
class Source:
    """A form of a set.

    Attributes:
        name: the form's name.
        describes: what is in the set.
        licence: under what it may be used, as far as its publisher says.
        splits: what `read` takes as the split. ``all`` is every subject, for a set that no model
            was fitted or calibrated on.
        read: yields the scans of one split of a folder, one at a time. Raises `ModelError` at the
            call if the split is not offered or the folder has another form, and when a scan is
            drawn if its files break a rule.
        found_in: whether a folder has this form.
        layout: what a folder of this form contains.
    """

    name: str
    describes: str
    licence: str
    splits: tuple[str, ...]
    read: Reader
    found_in: Callable[[Path], bool]
    layout: str


def open_source(folder: Path, form: str | None = None) -> Source:
    """Return the source that reads a folder.

    Args:
        folder: a set, unpacked.
        form: name of its form; None to recognise it.

    Raises:
        ModelError: if the form is unknown, is not that of the folder, or cannot be recognised.
    """
    if form is not None and form not in SOURCES:
        raise ModelError(f"no form of set is called {form!r}; the known ones are:\n{_forms()}")
    if not folder.is_dir():
        raise ModelError(f"{folder}: a set is a folder; there is none here")
    if form is None:
        for source in SOURCES.values():
            if source.found_in(folder):
                return source
        raise ModelError(f"{folder}: not a set of a known form. The known ones are:\n{_forms()}")
    if not SOURCES[form].found_in(folder):
        raise ModelError(_another_form(folder, form, SOURCES[form].layout))
    return SOURCES[form]


def _forms() -> str:
    return "\n".join(f"  {source.name}: {source.layout}" for source in SOURCES.values())


def _another_form(folder: Path, name: str, layout: str) -> str:
    return f"{folder}: not a set of the form {name}, which contains {layout}"


def _source(
    name: str,
    describes: str,
    licence: str,
    layout: str,
    scans: Reader,
    found_in: Callable[[Path], bool],
    splits: tuple[str, ...] = SPLITS,
) -> Source:
    def read(folder: Path, split: str) -> Iterator[Scan]:
        if split not in splits:
            raise ModelError(f"{name} offers the splits {', '.join(splits)}, not {split!r}")
        if not found_in(folder):
            raise ModelError(_another_form(folder, name, layout))
        return scans(folder, split)

    return Source(name, describes, licence, splits, read, found_in, layout)


def _holds(*patterns: str) -> Callable[[Path], bool]:
    """Return a test for a file, at any depth, that fits one of the patterns."""

    def found_in(folder: Path) -> bool:
        return any(next(folder.rglob(pattern), None) is not None for pattern in patterns)

    return found_in


def _table(name: str, columns: frozenset[str], beside: str) -> Callable[[Path], bool]:
    """Return a test for a table with these columns and a folder beside it."""

    def found_in(folder: Path) -> bool:
        return (folder / beside).is_dir() and has_columns(folder / name, *columns)

    return found_in


def _ljubljana(folder: Path) -> bool:
    return has_columns(folder / "slices.csv", *shared_sets.LJUBLJANA_COLUMNS)


_ALL = (
    _source(
        "brain_t1_healthy_oasis",
        "T1 of healthy adults of OASIS-1 (MICCAI 2012 multi-atlas set), skull-stripped, 8 bit",
        "CC BY-NC; credit OASIS",
        "scans.csv (scan, subject, split) and vol/<scan>.zip of WebP slices",
        shared_sets.oasis,
        _table("scans.csv", shared_sets.OASIS_COLUMNS, "vol"),
        ("train", "dev"),
    ),
    _source(
        "brain_flair_lgg",
        "FLAIR of 110 gliomas of five institutions (Buda et al. 2019), masks, 8 bit, with skull",
        "none stated; to be treated as non-commercial; cite TCGA-LGG and Buda et al.",
        "slices.csv (patient, institution, split, slice, normal_ok) and vol/<patient>.zip of WebP "
        "slices",
        shared_sets.lgg,
        _table("slices.csv", shared_sets.LGG_COLUMNS, "vol"),
        ("train", "dev"),
    ),
    _source(
        "brain_ms_ljubljana",
        "FLAIR, T1 and T2 of multiple sclerosis (Lesjak et al. 2017), consensus masks, MNI space",
        "CC BY",
        "slices.csv (patient, axial_index, normal_ok) and <patient>_{flair,t1,t2,lesions}.nii.gz",
        shared_sets.ljubljana,
        _ljubljana,
        ("dev",),
    ),
    _source(
        "brain_glioma_brats2013",
        "FLAIR of three gliomas of BraTS 2013, z-scores, masks, skull-stripped",
        "CC BY-NC-SA 3.0: evaluation only",
        "brats_2013_pat<n>_1_{flair,tumour}.nii.gz of the patients 3, 5 and 6",
        shared_sets.brats2013,
        _holds(f"{shared_sets.BRATS2013_DEV[0]}_tumour.nii.gz"),
        ("dev",),
    ),
    _source(
        "chest_ct_iqoth",
        "chest CT slices, normal, benign and malignant (IQ-OTH/NCCD); 8-bit grey, not HU",
        "CC BY 4.0 by third parties' word; none stated where it was taken from",
        "slices.csv (file, class, split, pseudo_patient) and img/<file>",
        shared_sets.iqoth,
        _table("slices.csv", shared_sets.IQOTH_COLUMNS, "img"),
        ("train", "dev"),
    ),
    _source(
        "fastmri",
        "MR of the brain and knee (fastMRI), with the findings drawn in fastMRI+",
        "fastMRI data sharing agreement: research; the annotations as microsoft/fastmri-plus says",
        "*.h5 with reconstruction_rss, and brain.csv or knee.csv of fastMRI+, or none",
        fastmri.fastmri,
        _holds("*.h5"),
    ),
    _source(
        "ixi",
        "T1 of some 580 healthy volunteers of three hospitals in London, with skull",
        "CC BY-SA 3.0",
        "IXI<number>-<site>-<scan>-T1.nii.gz",
        brain_sets.ixi,
        _holds("IXI*-T1.nii*"),
    ),
    _source(
        "lundprobe",
        "T2 of the pelvis of 432 patients before radiotherapy of the prostate, with structures",
        "AIDA BY, controlled access (research)",
        "<patient>/MR_StorT2/image.nii.gz with mask_*.nii.gz, and sCT/image_reg2MRI.nii.gz",
        lundprobe.lundprobe,
        _holds("MR_StorT2/image.nii.gz"),
    ),
    _source(
        "wmh",
        "FLAIR and T1 with white matter hyperintensities (WMH challenge), masks, five scanners",
        "the terms at doi:10.34894/AECRSD; cite Kuijf et al. 2019",
        "<site>/<subject>/pre/FLAIR.nii.gz, pre/T1.nii.gz and wmh.nii.gz",
        brain_sets.wmh,
        _holds("pre/FLAIR.nii.gz"),
    ),
    _source(
        "brats",
        "FLAIR, T1, T1C and T2 of brain tumours (BraTS 2017 to 2023), masks, skull-stripped",
        "the terms of the year's challenge; cite Baid et al. 2021",
        "<case>/<case>_flair.nii.gz with _seg, or <case>/<case>-t2f.nii.gz with -seg",
        brain_sets.brats,
        _holds("*_flair.nii*", "*-t2f.nii*"),
    ),
    _source(
        "oasis1",
        "T1 of 416 adults aged 18 to 96, 100 with dementia (OASIS-1), skull-stripped, Talairach",
        "OASIS data use terms: research, credit OASIS",
        "OAS1_<subject>_MR<n>/PROCESSED/MPRAGE/T88_111/*_t88_masked_gfc.{hdr,img} or .nii.gz, and "
        "the ratings in OAS1_<subject>_MR<n>.txt or oasis_cross-sectional.csv",
        brain_sets.oasis1,
        _holds("OAS1_*_MR?/PROCESSED/MPRAGE/T88_111"),
    ),
    _source(
        "nifti",
        "any scans as NIfTI files",
        "yours to know",
        ".nii or .nii.gz files, one a scan, and scans.csv (file, and of subject, split, site, "
        "lesion, label, modality, body_part and sequence those that are known), or none",
        nifti_folder.nifti,
        _holds("*.nii", "*.nii.gz"),
    ),
)

SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
"""The forms by name, in the order in which a folder is tried: the general one last."""
