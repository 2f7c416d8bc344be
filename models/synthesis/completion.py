"""Completion: a reference set's missing contrast, as a folder that says of itself what it is.

The folder holds a NIfTI file a scan, ``scans.csv`` with the mark of each (`models.sources.nifti`
reads it back), and ``synthetic.json``: the model, its licence and data, and the set.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from models import synthetic_share
from models.errors import ModelError, NotAssessable
from models.scan import Scan
from models.sources.nifti_folder import TABLE
from models.synthesis.model import SynthesisModel, brain_finder

SHEET = "synthetic.json"
_FIELDS: tuple[str, ...] = (
    "file",
    "subject",
    "split",
    "label",
    "modality",
    "body_part",
    "sequence",
    "synthetic",
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a folder of completed scans says of itself.

    Attributes:
        model: name of the synthesis model.
        digest: SHA-256 of its manifest.
        source: contrasts that the scans were made from.
        data: what the model was trained on.
        weights_licence: of the model.
        set: what was completed.
        set_licence: under what that may be used.
    """

    model: str
    digest: str
    source: str
    data: str
    weights_licence: str
    set: str
    set_licence: str


def complete(
    model: SynthesisModel,
    scans: Iterable[Scan],
    out: Path,
    *,
    set_name: str,
    set_licence: str,
    progress: Callable[[str], None] | None = None,
) -> tuple[int, dict[str, int]]:
    """Draw the missing contrast of every scan and write the folder.

    Args:
        model: that draws.
        scans: read one at a time.
        out: folder that must not be there yet.
        set_name: what is completed, in words.
        set_licence: under what that may be used.
        progress: called with the name of each finished scan.

    Returns:
        How many scans were written, and why others were not, counted.

    Raises:
        ModelError: if the folder is there, a scan has the contrast already or lacks an input, or
            no scan could be completed.
    """
    if out.exists():
        raise ModelError(f"{out} exists")
    extractor = brain_finder()
    rows: list[dict[str, str]] = []
    left_out: dict[str, int] = {}
    for scan in scans:
        try:
            made = model.completed(scan, extractor)
        except NotAssessable as error:
            reason = error.reason or "not assessable"
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            out.mkdir(parents=True, exist_ok=True)
            rows.append(_written(made, out))
        if progress is not None:
            progress(scan.name)
    if not rows:
        raise ModelError("no scan could be completed")
    with (out / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    data = model.manifest.get("data", {})
    sheet = {
        "model": model.name,
        "digest": model.digest,
        "source": model.mark.source,
        "data": str(data.get("name", "not stated")),
        "weights_licence": str(model.manifest.get("weights_licence", "not stated")),
        "set": set_name,
        "set_licence": set_licence,
    }
    (out / SHEET).write_text(json.dumps(sheet, indent=1) + "\n", encoding="utf-8")
    return len(rows), left_out


def _written(scan: Scan, out: Path) -> dict[str, str]:
    import nibabel

    if not scan.normal.all() or scan.lesion.any():
        raise ModelError(f"{scan.name}: not all of it stands for normal, as a reference must")
    file = f"{scan.name}.nii.gz"
    # NIfTI is (x, y, z) in RAS; ours is (slice, row, column) in LPS.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.volume.affine[:, [2, 1, 0, 3]]
    image: Any = nibabel.Nifti1Image(scan.volume.array.transpose(2, 1, 0), affine)
    image.header["descrip"] = f"SYNTHETIC {scan.volume.sequence}".encode()
    nibabel.save(image, out / file)
    return {
        "file": file,
        "subject": scan.subject,
        "split": "train",
        "label": "normal",
        "modality": scan.volume.modality,
        "body_part": scan.volume.body_part,
        "sequence": scan.volume.sequence,
        "synthetic": str(scan.synthetic),
    }


def sheet_of(folder: Path) -> Sheet:
    """Return what a folder of completed scans says of itself.

    Raises:
        ModelError: if it says nothing, or not all of it.
    """
    try:
        stated = cast("Mapping[str, Any]", json.loads((folder / SHEET).read_text("utf-8")))
        return Sheet(**{name: str(value) for name, value in stated.items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{folder}: completed scans come with {SHEET}, as `model synthesis complete` writes it"
        ) from error


def share(
    folder: Path, statements: Mapping[str, Any], drawn: Sequence[str], real: Sequence[str]
) -> dict[str, Any]:
    """Return what the manifest of a bundle says of the synthetic scans that it was fitted on.

    Args:
        folder: of the completed scans.
        statements: of the bundle's profile.
        drawn: whose each synthetic scan is.
        real: whose each scan of a scanner is that was fitted on too.

    Returns:
        The entry ``synthetic``, with the limits and the licence that follow from it.

    Raises:
        ModelError: as `sheet_of`.
    """
    sheet = sheet_of(folder)
    found = {
        synthetic_share.ENTRY: {
            "scans": len(drawn),
            "subjects": len(set(drawn)),
            "real_scans": len(real),
            "real_subjects": len(set(real)),
            "output": str(statements["profile"]["sequence"]),
            **asdict(sheet),
        }
    }
    limit = f"{synthetic_share.in_words(found)}. What a scanner would have shown is not known"
    licence = f"{statements['weights_licence']}; {sheet.set_licence}; {sheet.weights_licence}"
    return found | {
        "not_tested_on": [*statements["not_tested_on"], limit],
        "weights_licence": licence,
    }
