"""Detector: one question to a Volume, one Finding in answer; and how a bundle becomes one."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from models.errors import ModelError
from models.finding import Finding
from models.registry import BundleInfo, read_bundle
from models.volume import Volume

DETECTORS: dict[str, str] = {
    "features": "models.features.detector",
}
"""Name in the manifest -> module with `load(info, device)`. A new detector adds one line."""


class Detector(Protocol):
    """What every detector promises."""

    def detect(self, volume: Volume) -> Finding:
        """Return how far `volume` departs from the bundle's reference, calibrated.

        Raises:
            NotAssessable: if the scan cannot be judged; its reason says why.
        """
        ...


class _Module(Protocol):
    def load(self, info: BundleInfo, device: str) -> Detector: ...


def load(info: BundleInfo, device: str = "cpu") -> Detector:
    """Return the detector of a bundle, its files verified against their digests.

    Args:
        info: the bundle, from `Registry`.
        device: a torch device, ``cpu`` or ``cuda``. Threads are the caller's to set.

    Raises:
        ModelError: if the detector is unknown or a file is missing, tampered with, of the wrong
            shape, or not finite.
    """
    if info.detector not in DETECTORS:
        raise ModelError(f"bundle {info.name}: detector {info.detector!r} is not known here")
    if read_bundle(info.path).digest != info.digest:
        raise ModelError(f"bundle {info.name}: its manifest changed since it was listed")
    module = cast("_Module", importlib.import_module(DETECTORS[info.detector]))
    return module.load(info, device)
