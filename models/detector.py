"""Detector: one question to a Volume, one Finding in answer; and how a bundle becomes one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from models import brain_extraction, shared_weights
from models.assessor import Assessor, Member, level_name
from models.calibration import Calibration, Surprise
from models.errors import ModelError
from models.finding import Finding
from models.prepare import GridConfig
from models.registry import BundleInfo, read_bundle
from models.scoring import Example, Scorer
from models.tensors import read_tensors, take
from models.volume import Volume

if TYPE_CHECKING:
    from torch import Tensor

    from models.training.loop import Run

DETECTORS: dict[str, str] = {
    "features": "models.detectors.features",
    "intensity": "models.detectors.intensity",
    "atlas": "models.detectors.atlas",
    "quality": "models.detectors.quality",
    "two-stage": "models.detectors.two_stage",
    "vq-autoregressive": "models.detectors.vq_autoregressive",
    "autoencoder": "models.detectors.autoencoder",
    "siamese": "models.detectors.siamese",
}
"""Name in the manifest -> module, which is a `Method`. A new detector adds one line."""
FLOORS = ("intensity", "atlas")
"""Detectors that learn next to nothing; what does not beat them has learned nothing."""


class Detector(Protocol):
    """What every bundle promises, once loaded."""

    def detect(self, volume: Volume) -> Finding:
        """Return how far `volume` departs from the bundle's reference, calibrated.

        Raises:
            NotAssessable: if the scan cannot be judged; its reason says why.
        """
        ...


class Method(Protocol):
    """What the module of a detector promises.

    `QUESTIONS` has what each level asks, with ``{anatomy}`` for what is judged.
    """

    Config: type[GridConfig]
    ARCHITECTURE: str
    QUESTIONS: dict[str, str]
    LICENSED_WEIGHTS: tuple[str, ...]

    def fit(self, examples: Sequence[Example], config: Any, run: Run) -> dict[str, Tensor]:
        """Return all that the detector learned; `config` is the module's own."""
        ...

    def scorer(self, tensors: Mapping[str, Tensor], config: Any, device: str) -> Scorer:
        """Return the fitted detector.

        Raises:
            ModelError: if a tensor is missing or of the wrong shape.
        """
        ...


def method(name: str) -> Method:
    """Return the module of a detector.

    Raises:
        ModelError: if it is not known, or a package that it needs is not installed.
    """
    if name not in DETECTORS:
        raise ModelError(f"detector {name!r} is not known; there are: {', '.join(DETECTORS)}")
    try:
        return cast("Method", importlib.import_module(DETECTORS[name]))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "models":
            raise
        raise ModelError(
            f"detector {name} needs the package {error.name}: install dicom-gatekeeper[networks]"
        ) from error


def load(info: BundleInfo, device: str = "cpu") -> Assessor:
    """Return the detector of a bundle, its files verified against their digests.

    Args:
        info: the bundle, from `Registry`.
        device: a torch device, ``cpu`` or ``cuda``. Threads are the caller's to set.

    Raises:
        ModelError: if a detector is unknown or a file is missing, tampered with, of the wrong
            shape, or not finite.
    """
    if read_bundle(info.path).digest != info.digest:
        raise ModelError(f"bundle {info.name}: its manifest changed since it was listed")
    for name, sha in info.manifest["shared_weights"].items():
        if shared_weights.digest(name) != sha:
            raise ModelError(f"bundle {info.name}: it was made with other weights of {name}")
    try:
        members = [_member(info, entry, device) for entry in info.manifest["members"]]
        calibrations = [
            calibration_from(entry, info.manifest["deciding"])
            for entry in (info.manifest["calibration"], *info.manifest["site_calibrations"])
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"bundle {info.name}: the manifest is incomplete ({error!r})") from error
    if not members or len({member.grid.anatomy for member in members}) != 1:
        raise ModelError(f"bundle {info.name}: its members judge different anatomy")
    _check(info, members, calibrations)
    network = brain_extraction.from_weights(shared_weights.read(shared_weights.BRAIN_EXTRACTION))
    return Assessor(info, members, calibrations, network.to(device))


def _member(info: BundleInfo, entry: Mapping[str, Any], device: str) -> Member:
    name = str(entry["name"])
    module = method(str(entry["detector"]))
    config = module.Config.from_dict(entry["settings"])
    file = f"{name}.safetensors"
    tensors = read_tensors(info.path / file, str(info.manifest["weights"][file]))
    return Member(
        name=name,
        grid=config,
        scorer=module.scorer(tensors, config, device),
        questions={
            level: question.format(anatomy=config.anatomy)
            for level, question in module.QUESTIONS.items()
        },
        surprise=surprise_from(tensors),
        map_weight=float(entry["map_weight"]),
        normal_map=normal_map_from(tensors, config),
    )


def calibration_from(entry: Mapping[str, Any], deciding: Sequence[str]) -> Calibration:
    """Return the calibration in a manifest."""
    return Calibration(
        {level: tuple(float(v) for v in values) for level, values in entry["scores"].items()},
        str(entry["description"]),
        float(entry["map_threshold"]),
        tuple(str(level) for level in deciding),
        str(entry.get("device", "")),
        str(entry.get("protocol", "")),
    )


def _check(
    info: BundleInfo, members: Sequence[Member], calibrations: Sequence[Calibration]
) -> None:
    levels = {
        level_name(member.name, level, len(members))
        for member in members
        for level in member.questions
    }
    for one in calibrations:
        sizes = {len(values) for values in one.scores.values()}
        if set(one.scores) != levels or len(sizes) != 1 or 0 in sizes:
            raise ModelError(f"bundle {info.name}: the calibration scores are incomplete")
        if not one.deciding or not set(one.deciding) <= levels:
            raise ModelError(f"bundle {info.name}: a level that decides is not there")


def surprise_from(tensors: Mapping[str, Tensor]) -> Surprise:
    """Return the surprise scale in a member's weights, shapes checked."""
    distances = take(tensors, "surprise_distances", (None,)).numpy()
    decades = take(tensors, "surprise_decades", (len(distances),)).numpy()
    return Surprise(distances, decades)


def normal_map_from(tensors: Mapping[str, Tensor], config: GridConfig) -> Any:
    """Return mean and deviation of the map by place, or None; shapes checked."""
    if "map_mean" not in tensors:
        return None
    shape = (config.levels, config.rows // 4, config.columns // 4)
    mean = take(tensors, "map_mean", shape).float().numpy()
    deviation = take(tensors, "map_deviation", shape).float().numpy()
    if not bool((deviation > 0).all()):
        raise ModelError("weights: a deviation of the map is not positive")
    return mean, deviation
