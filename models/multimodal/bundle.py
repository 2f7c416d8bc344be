"""A fitted multimodal model on disk: weights in safetensors, their digest and all else beside.

The folder has `weights.safetensors` and `multimodal.json`; the latter names the SHA-256 of the
former, the settings, the variables with their units and the cross-fitted scores of the cohort.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from models.calibration import conformal_p_value
from models.errors import ModelError
from models.manifests import read_manifest
from models.multimodal.crossfit import CrossFit, conformal_cut
from models.multimodal.embedding import encoder_of
from models.multimodal.model import Cohort, Multimodal, restored
from models.multimodal.network import Config
from models.multimodal.variables import Table, variables_from
from models.tensors import read_tensors
from models.training.bundle import packages

MANIFEST = "multimodal.json"
WEIGHTS = "weights.safetensors"
ARCHITECTURE = (
    "Principal components of a frozen encoder's embedding and standardised clinical variables in "
    "one variational autoencoder; missing values masked and modelled"
)
PAPER = "Medical Sciences 2026, 14(1):76, doi 10.3390/medsci14010076"


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model with what makes its scores comparable.

    Attributes:
        name: of the bundle.
        model: the fitted model.
        calibration: (patients,): cross-fitted scores of its cohort.
        description: of the cohort, in a sentence.
        anatomy: that the image's encoder looks for: ``brain`` or ``body``.
        modality: DICOM Modality of the scans that it may judge.
        body_part: normalised body part of those scans; empty for any.
        simulated: whether the cohort was made up; such a bundle is for trying things out.
        digest: SHA-256 of the manifest.
    """

    name: str
    model: Multimodal
    calibration: NDArray[np.float64]
    description: str
    anatomy: str
    modality: str
    body_part: str
    simulated: bool
    digest: str

    def judge(self, embedding: NDArray[np.float64], values: dict[str, float]) -> Judged:
        """Return what is said of one patient.

        Args:
            embedding: (size,), of NaN where there is no scan.
            values: by variable's name, in the bundle's units; a variable that was not measured is
                left out.

        Raises:
            ModelError: if a value cannot be right, or the embedding is of another encoder.
        """
        variables = self.model.variables
        row = np.array([[values.get(variable.name, np.nan) for variable in variables]])
        cohort = Cohort(Table(("patient",), variables, row), embedding[None])
        score = float(self.model.scores(cohort)[0])
        shares = self.model.contributions(cohort)
        scores = self.calibration.tolist()
        rate = 1 - self.model.config.percentile / 100
        return Judged(
            score,
            conformal_p_value(score, scores),
            score >= conformal_cut(self.calibration, rate).value,
            dict(zip(shares.players, shares.values[0].tolist(), strict=True)),
            shares.baseline,
            tuple(variable.name for variable in variables if variable.name not in values),
            len(scores),
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """What a bundle says of one patient.

    Attributes:
        score: larger is less like the cohort.
        p_value: conformal, against the cohort's cross-fitted scores.
        atypical: whether that is at most the bundle's stated rate.
        contributions: player -> what it adds; with `baseline` they sum to the score.
        baseline: the score of a patient of whom nothing is known.
        missing: variables that were not measured.
        calibration_size: patients behind the p-value.
    """

    score: float
    p_value: float
    atypical: bool
    contributions: dict[str, float]
    baseline: float
    missing: tuple[str, ...]
    calibration_size: int


def write(
    folder: Path,
    fitted: CrossFit,
    description: str,
    *,
    anatomy: str = "body",
    modality: str = "CT",
    body_part: str = "",
    simulated: bool = False,
) -> None:
    """Write a bundle into a new folder, named as the folder. Same model, same bytes.

    Raises:
        ModelError: if the folder exists.
    """
    if folder.exists():
        raise ModelError(f"{folder.name} exists")
    content = save({name: t.contiguous() for name, t in fitted.model.tensors().items()})
    manifest: dict[str, Any] = {
        "name": folder.name,
        "architecture": ARCHITECTURE,
        "paper": PAPER,
        "anatomy": anatomy,
        "encoder": encoder_of(anatomy),
        "modality": modality,
        "body_part": body_part,
        "simulated": simulated,
        "description": description,
        "settings": fitted.model.config.as_dict(),
        "variables": [variable.as_dict() for variable in fitted.model.variables],
        "calibration": [round(score, 6) for score in fitted.held_out.tolist()],
        "weights": {WEIGHTS: hashlib.sha256(content).hexdigest()},
        "packages": packages(),
    }
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(content)
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Bundle:
    """Return the bundle in `folder`, its weights verified before they are parsed.

    Raises:
        TamperedError: if the weights are not the published file.
        ModelError: if the manifest is missing or not one, or names another encoder than ours.
    """
    with read_manifest(folder, MANIFEST) as (manifest, digest):
        config = Config.from_dict(manifest["settings"])
        variables = variables_from(manifest["variables"])
        calibration = np.array([float(one) for one in manifest["calibration"]])
        if not len(calibration) or not np.isfinite(calibration).all():
            raise ModelError(f"bundle {folder.name}: the calibration scores are incomplete")
        if manifest["encoder"] != encoder_of(str(manifest["anatomy"])):
            raise ModelError(f"bundle {folder.name}: it was made with another encoder of images")
        tensors = read_tensors(folder / WEIGHTS, str(manifest["weights"][WEIGHTS]))
        return Bundle(
            str(manifest["name"]),
            restored(tensors, variables, config),
            calibration,
            str(manifest["description"]),
            str(manifest["anatomy"]),
            str(manifest["modality"]),
            str(manifest["body_part"]),
            manifest["simulated"] is not False,
            digest,
        )
