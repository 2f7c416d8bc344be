"""SynthesisModel: a trained network with its manifest, and the scans that it completes.

A folder with a manifest and weights in safetensors, as every bundle; it judges nothing, so no
profile names it. The SHA-256 of its manifest is in the mark of every scan that it drew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models import brain_extraction, shared_weights
from models.brain_extraction import BrainNet
from models.errors import ModelError
from models.manifests import read_manifest
from models.prepare import PERCENTILES
from models.scan import Scan, Synthetic
from models.synthesis.config import Config, as_mapping, from_mapping
from models.synthesis.network import SynthesisNetwork
from models.synthesis.pairs import acquired, contrasts
from models.synthesis.training import drawn
from models.tensors import read_tensors
from models.training import bundle

DETECTOR = "synthesis"
"""What the manifest calls it, so that it is taken for no detector."""
WEIGHTS = "synthesis.safetensors"
_BRIGHT = 200.0
"""Intensity of the 99th percentile in a completed scan."""


@dataclass(frozen=True, slots=True, eq=False)
class SynthesisModel:
    """A network that draws one contrast from others.

    Attributes:
        network: trained, in evaluation mode.
        config: its settings.
        manifest: the whole manifest.
        digest: SHA-256 of the manifest's bytes.
    """

    network: SynthesisNetwork
    config: Config
    manifest: Mapping[str, Any]
    digest: str

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.manifest["name"])

    @property
    def mark(self) -> Synthetic:
        """The mark of every scan that it draws."""
        return Synthetic("+".join(self.config.inputs), self.name, self.digest)

    def completed(self, scan: Scan, extractor: BrainNet) -> Scan:
        """Return the missing contrast of a scan on the scan's own grid, marked as synthetic.

        The brain alone is drawn; all else is 0. Intensities are 0 to about 200. The mark of the
        lesions and of what stands for normal are those of the scan.

        Raises:
            ModelError: if the scan is synthetic, has the contrast already or lacks an input.
            NotAssessable: if no brain is found.
        """
        scan.refuse_synthetic("a synthesis network")
        arrays = contrasts(scan)
        config = self.config
        if config.output in arrays:
            raise ModelError(f"{scan.name} has {config.output}: there is nothing to complete")
        own = acquired(scan.volume, arrays, config, extractor)
        grid = own.inputs[0]
        image = drawn(self.network, own.matched(config), grid.brain, config)
        array = grid.to_source(np.where(grid.brain, (image + 1) / 2 * _BRIGHT, 0.0).astype("f4"))
        volume = replace(scan.volume, array=array, sequence=config.output)
        return replace(
            scan, name=f"{scan.name}-synthetic", volume=volume, companions={}, synthetic=self.mark
        )


def save(
    network: SynthesisNetwork, config: Config, folder: Path, statements: Mapping[str, Any]
) -> None:
    """Write a model: weights in safetensors, and a manifest with their digest.

    Args:
        network: trained.
        config: its settings.
        folder: that receives both files; its name is the model's.
        statements: further entries of the manifest: data, licence, limits, recipe, metrics.
    """
    manifest = {
        "name": folder.name,
        "detector": DETECTOR,
        "inputs": list(config.inputs),
        "output": config.output,
        "config": as_mapping(config),
        "shared_weights": {
            shared_weights.BRAIN_EXTRACTION: shared_weights.digest(shared_weights.BRAIN_EXTRACTION)
        },
    }
    bundle.write(folder, {WEIGHTS: dict(network.state_dict())}, dict(statements) | manifest)


def load(folder: Path) -> SynthesisModel:
    """Return the model in a folder, its weights checked against the digest in the manifest.

    Raises:
        TamperedError: if the weights are not those of the manifest.
        ModelError: if something is missing or of the wrong form.
    """
    with read_manifest(folder) as (manifest, digest):
        if manifest["detector"] != DETECTOR:
            raise ModelError(f"{folder.name}: not a synthesis model")
        config = from_mapping(manifest["config"])
        if len(config.landmarks) != len(config.inputs) * len(PERCENTILES):
            raise ModelError(f"{folder.name}: landmarks are {len(PERCENTILES)} for each input")
        sha256 = str(manifest["weights"][WEIGHTS])
        foreign = {
            name: sha
            for name, sha in manifest["shared_weights"].items()
            if shared_weights.digest(name) != sha
        }
        Synthetic.parse(f"from {'+'.join(config.inputs)} by {manifest['name']}@{'0' * 64}")
    if foreign:
        raise ModelError(f"{folder.name}: it was made with other weights of {min(foreign)}")
    tensors = read_tensors(folder / WEIGHTS, sha256)
    network = SynthesisNetwork(config)
    if {key: value.shape for key, value in tensors.items()} != {
        key: value.shape for key, value in network.state_dict().items()
    }:
        raise ModelError("the weights do not have the shapes of the manifest's settings")
    network.load_state_dict(tensors)
    network.eval()
    return SynthesisModel(network, config, manifest, digest)


def brain_finder() -> BrainNet:
    """Return the brain extraction network that every model uses."""
    return brain_extraction.from_weights(shared_weights.read(shared_weights.BRAIN_EXTRACTION))
