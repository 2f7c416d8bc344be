"""LUND-PROBE as it is when unpacked: MR of the pelvis for radiotherapy of the prostate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.scan import Scan
from models.sources.nifti import OnDisk, read_volume
from models.sources.split import on_side

MR = "MR_StorT2"
CT = Path("sCT") / "image_reg2MRI.nii.gz"


def lundprobe(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the T2-weighted scans of LUND-PROBE: ``<patient>/MR_StorT2/image.nii.gz``, by path.

    Rogowski et al. 2025, doi:10.23698/aida/lund-probe, one folder a patient, at any depth. Every
    patient has prostate cancer and no lesion is drawn: the set stands for the usual patient before
    radiotherapy, and in that sense all slices are normal. Companions: ``CT``, the synthetic CT on
    the grid of the MR, and every delineated structure by its name (``BODY``, ``Bladder``,
    ``CTVT_427``, ...), 1 inside; each is read when asked for, as a scan has some 90 million voxels.

    Raises:
        ModelError: if a file cannot be read or lies on another grid than its scan.
    """
    for path in sorted(folder.rglob(f"{MR}/image.nii.gz")):
        patient = path.parent.parent
        if not on_side(patient.name, split):
            continue
        volume = read_volume(path, "MR", "PELVIS", "T2")
        others = {
            mask.name.removeprefix("mask_").removesuffix(".nii.gz"): mask
            for mask in path.parent.glob("mask_*.nii.gz")
            if "fiducials" not in mask.name  # points, not a structure
        }
        if (patient / CT).is_file():
            others["CT"] = patient / CT
        yield Scan(
            patient.name,
            patient.name,
            volume,
            np.ones(len(volume.array), dtype=np.bool_),
            np.zeros(volume.array.shape, dtype=np.bool_),
            site="Lund",
            companions=OnDisk(others, volume),
        )
