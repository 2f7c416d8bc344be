"""The lesion model as it is used: patches in, probability of malignancy out, with its calibration.

    model = load(folder)
    found = model.predict(stack)      # float32, (slices, size, size), Hounsfield units

The probability is that of a lesion, from one patch or several of the same lesion: the mean of
their logits through Platt's scaling (Advances in Large Margin Classifiers, 1999), which was fitted
on logits of patients that the network had not seen. Its interval is that of the scaling over
resampled calibration patients; it says how few these were, and nothing of what the network missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.evaluation.reliability import brier, expected_calibration_error
from models.lesion import config as settings
from models.lesion import lesions
from models.lesion.config import Config
from models.lesion.network import Classifier, LesionNetwork
from models.lesion.training import Fitted
from models.manifests import read_manifest
from models.tensors import read_tensors
from models.training import bundle

WEIGHTS = "lesion.safetensors"
DETECTOR = "lesion-vae"
_RESAMPLES = 200
_BINS = 5
_PRIOR_WEIGHT = 1e-2


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt's scaling of one logit a patient.

    Attributes:
        slope, intercept: of the calibrated logit over the raw one.
        draws: the same of resampled patients, (slope, intercept) each.
        patients: benign and malignant patients it was fitted on.
        brier, expected_error: of those patients' probabilities, each patient left out of its own
            scaling: Brier score and expected calibration error.
        low, high: range of the raw logits it was fitted on; beyond, it extrapolates.
    """

    slope: float
    intercept: float
    draws: tuple[tuple[float, float], ...]
    patients: tuple[int, int]
    brier: float
    expected_error: float
    low: float
    high: float

    @property
    def prevalence(self) -> float:
        """The part of malignant patients in it."""
        return self.patients[1] / sum(self.patients)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is said of one lesion.

    Attributes:
        probability: that it is malignant, at `prevalence`.
        low, high: 95 % interval from the calibration patients alone.
        prevalence: the part of malignant lesions for which the probability holds.
        logit: raw, before calibration.
        inside: whether the logit lies within those of the calibration patients.
        calibration: what the probability rests on.
        code: the mean code of the patches, (latent,).
    """

    probability: float
    low: float
    high: float
    prevalence: float
    logit: float
    inside: bool
    calibration: Calibration
    code: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LesionModel:
    """A trained and calibrated lesion model.

    `trial` holds unless the manifest says otherwise; `limits` are what it was not tested on.
    """

    fitted: Fitted
    calibration: Calibration
    name: str = ""
    digest: str = ""
    trial: bool = True
    limits: tuple[str, ...] = ()

    @property
    def config(self) -> Config:
        """Its settings: `slices` and `size` of the patches it takes."""
        return self.fitted.config

    def predict(
        self,
        stacks: NDArray[np.float32] | Sequence[NDArray[np.float32]],
        prevalence: float | None = None,
    ) -> Prediction:
        """Return how likely one lesion is malignant.

        Args:
            stacks: a patch of the lesion, float32, (slices, size, size), Hounsfield units, on the
                pixel size of the manifest's data; or several of the same lesion.
            prevalence: of malignancy among the lesions asked about; None for that of the
                calibration patients. The logit is shifted by the difference of the log odds, which
                holds if benign and malignant lesions look there as they did here.

        Raises:
            NotAssessable: if a patch has another shape, or values that are not finite.
            ModelError: if there is no patch, or the prevalence is not between 0 and 1.
        """
        many = [stacks] if isinstance(stacks, np.ndarray) else list(stacks)
        if not many:
            raise ModelError("a lesion has at least one patch")
        own = self.calibration
        asked = own.prevalence if prevalence is None else prevalence
        if not 0.0 < asked < 1.0:
            raise ModelError("a prevalence lies between 0 and 1")
        patches = lesions.tensor(many, self.config)
        logit = float(self.fitted.logits(patches).mean())
        shift = _log_odds(asked) - _log_odds(own.prevalence)
        spread = [_logistic(slope * logit + start + shift) for slope, start in own.draws]
        low, high = (float(value) for value in np.quantile(spread, (0.025, 0.975)))
        probability = _logistic(own.slope * logit + own.intercept + shift)
        code = self.fitted.codes(patches).mean(0)
        return Prediction(
            probability,
            min(low, probability),
            max(high, probability),
            asked,
            logit,
            own.low <= logit <= own.high,
            own,
            tuple(float(value) for value in code),
        )


def calibrate(logits: NDArray[np.float64], truth: NDArray[np.bool_], seed: int = 0) -> Calibration:
    """Return the scaling of one logit a patient, of patients the network had not seen.

    Raises:
        ModelError: if there are fewer than two benign or two malignant patients.
    """
    benign, malignant = int((~truth).sum()), int(truth.sum())
    if min(benign, malignant) < 2:
        raise ModelError("a calibration needs two benign and two malignant patients")
    slope, intercept = _platt(logits, truth)
    generator = np.random.default_rng(seed)
    sides = [np.flatnonzero(~truth), np.flatnonzero(truth)]
    draws: list[tuple[float, float]] = []
    for _ in range(_RESAMPLES):
        index = np.concatenate([generator.choice(side, len(side)) for side in sides])
        draws.append(_platt(logits[index], truth[index]))
    apart = left_out(logits, truth)
    return Calibration(
        slope,
        intercept,
        tuple(draws),
        (benign, malignant),
        brier(apart, truth),
        expected_calibration_error(apart, truth, _BINS),
        float(logits.min()),
        float(logits.max()),
    )


def left_out(logits: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each patient's probability by the scaling of all other patients, (n,)."""
    found = np.zeros(len(logits))
    for index in range(len(logits)):
        others = np.arange(len(logits)) != index
        slope, intercept = _platt(logits[others], truth[others])
        found[index] = _logistic(slope * float(logits[index]) + intercept)
    return found


def _platt(logits: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and intercept by Newton's method, with Platt's targets.

    A slope under 0 would turn the order round, so it stays at 0 or above.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, scale = float(logits.mean()), max(float(logits.std()), 1e-6)
    x = np.stack([(logits - centre) / scale, np.ones(len(logits))], axis=1)
    weights = np.zeros(2)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (p - target) + _PRIOR_WEIGHT * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + _PRIOR_WEIGHT * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step
        if float(np.abs(step).max()) < 1e-8:
            break
    if weights[0] <= 0:
        return 0.0, _log_odds(float(target.mean()))
    slope = float(weights[0]) / scale
    return slope, float(weights[1]) - slope * centre


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + exp(-value)) if value >= 0 else exp(value) / (1.0 + exp(value))


def _log_odds(probability: float) -> float:
    return log(probability / (1.0 - probability))


def save(model: LesionModel, folder: Path, statements: Mapping[str, Any]) -> None:
    """Write the model: weights in safetensors, and a manifest with their digest.

    Args:
        model: what is written.
        folder: that receives both files.
        statements: further entries of the manifest: data, licence, limits, metrics.
    """
    tensors: dict[str, Tensor] = {
        f"{part}.{key}": value.contiguous().float()
        for part, module in (
            ("network", model.fitted.network),
            ("classifier", model.fitted.classifier),
        )
        for key, value in module.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    manifest = {
        "name": folder.name,
        "detector": DETECTOR,
        "config": asdict(model.config),
        "calibration": asdict(model.calibration),
        "packages": bundle.packages(),
    }
    bundle.write(folder, {WEIGHTS: tensors}, dict(statements) | manifest)


def load(folder: Path) -> LesionModel:
    """Return the model in a folder, its weights checked against the digest of the manifest.

    Raises:
        TamperedError: if the weights are not those of the manifest.
        ModelError: if something is missing or of the wrong form.
    """
    with read_manifest(folder) as (manifest, digest):
        if manifest["detector"] != DETECTOR:
            raise ModelError(f"{folder.name}: not a lesion model")
        config = settings.from_mapping(manifest["config"])
        stated = dict(manifest["calibration"])
        stated["draws"] = tuple((float(a), float(b)) for a, b in stated["draws"])
        stated["patients"] = tuple(int(n) for n in stated["patients"])
        calibration = Calibration(**stated)
        sha256 = str(manifest["weights"][WEIGHTS])
        limits = tuple(str(one) for one in manifest.get("not_tested_on", ()))
    tensors = read_tensors(folder / WEIGHTS, sha256)
    network, classifier = LesionNetwork(config), Classifier(config)
    for part, module in (("network", network), ("classifier", classifier)):
        own = {
            key.removeprefix(f"{part}."): value
            for key, value in tensors.items()
            if key.startswith(f"{part}.")
        }
        _fill(module, own)
        module.eval()
    trial = manifest.get("trial") is not False
    fitted = Fitted(network, classifier, config)
    return LesionModel(fitted, calibration, str(manifest["name"]), digest, trial, limits)


def _fill(module: LesionNetwork | Classifier, tensors: Mapping[str, Tensor]) -> None:
    expected = {
        key: value.shape
        for key, value in module.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    if {key: value.shape for key, value in tensors.items()} != expected:
        raise ModelError("the weights do not have the shapes of the manifest's settings")
    module.load_state_dict(dict(tensors), strict=False)
