"""LIDC-IDRI in its own form: folders of DICOM files with the readers' XML among them.

The files are read as every reference scan is (`gatekeeper.reference`): decoded in a limited
process, subjects and scans named by a keyed hash. An annotation names its scan by its
SeriesInstanceUID; that is hashed with the same key, so the two meet without an identifier leaving.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gatekeeper.reference import LeftOut, Limits, dicom_scans, series_mark
from models.errors import ModelError
from models.sources import lidc

if TYPE_CHECKING:
    from models.scan import Scan


def annotated_scans(
    folder: Path, split: str, key: bytes, allowed: Limits, left_out: LeftOut
) -> Iterator[tuple[Scan, lidc.Annotation]]:
    """Yield the scans of one split that readers annotated, each with its annotation.

    Args:
        folder: searched at every depth for DICOM files and ``*.xml``.
        split: ``train``, ``calibration``, ``dev`` or ``all``, of patients.
        key: from `pseudonym.subject_key`.
        allowed: limits of the process that decodes.
        left_out: told what is left out and why; an XML file of another kind is.

    Raises:
        ModelError: if the split is not one, or there is no annotation at all.
    """
    found: dict[str, lidc.Annotation] = {}
    for path in sorted(folder.rglob("*.xml")):
        try:
            one = lidc.read(path)
        except ModelError:
            left_out("an XML file that is no annotation of a CT series")
            continue
        found[series_mark(key, one.series_uid)] = one
    if not found:
        raise ModelError(f"{folder}: no LIDC annotation (XML) in it")
    for scan in dicom_scans(folder, split, None, key, allowed, left_out):
        annotation = found.get(scan.name.partition("-")[2])
        if annotation is None:
            left_out("a series without an annotation")
        else:
            yield scan, annotation
