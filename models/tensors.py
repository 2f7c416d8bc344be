"""Weights from disk: verified against their digest before a byte of them is parsed.

Only safetensors is read, a format without code. Pickle and TorchScript are never opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from torch import Tensor

from models.errors import ModelError, TamperedError


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        TamperedError: if the file's SHA-256 is not `sha256`.
        ModelError: if it cannot be read, is not safetensors, or holds a NaN or an infinity.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"weights {path.name} cannot be read") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise TamperedError(f"weights {path.name} are not the published file")
    try:
        tensors = parse(content)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"weights {path.name} are not in safetensors format") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"weights {path.name}: {name} holds values that are not finite")
    return tensors


def take(tensors: Mapping[str, Tensor], name: str, shape: tuple[int | None, ...]) -> Tensor:
    """Return a tensor, having checked its shape; None stands for any size.

    Raises:
        ModelError: if it is missing or of another shape.
    """
    if name not in tensors:
        raise ModelError(f"weights: {name} is missing")
    tensor = tensors[name]
    fits = tensor.ndim == len(shape) and all(
        expected in (None, size) for size, expected in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise ModelError(f"weights: {name} has shape {tuple(tensor.shape)}, expected {shape}")
    return tensor
