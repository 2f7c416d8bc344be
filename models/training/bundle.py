"""Bundles written: weights, then the manifest that names their digests. Same input, same bytes."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from models.manifests import MANIFEST

_PACKAGES = ("numpy", "safetensors", "scikit-learn", "scipy", "torch")


def write(folder: Path, files: Mapping[str, dict[str, Tensor]], manifest: dict[str, Any]) -> None:
    """Write each file's tensors, and the manifest with their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    digests: dict[str, str] = {}
    for file, tensors in files.items():
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        (folder / file).write_bytes(content)
        digests[file] = hashlib.sha256(content).hexdigest()
    write_manifest(folder, manifest | {"weights": digests})


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest, keys sorted."""
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def attach_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Put what was measured with a bundle into its manifest: a new model digest."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    write_manifest(folder, manifest | {"metrics": metrics})


def packages() -> dict[str, str]:
    """Return the versions that the bytes depend on."""
    return {name: metadata.version(name) for name in _PACKAGES} | {
        "python": platform.python_version()
    }
