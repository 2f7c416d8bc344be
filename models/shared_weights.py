"""Published networks that several detectors share, as safetensors beside their licence."""

from __future__ import annotations

import json

from torch import Tensor

from models.errors import ModelError
from models.registry import SHARED_WEIGHTS
from models.tensors import read_tensors

BRAIN_EXTRACTION = "brain-extraction"
BACKBONE = "efficientnet-lite0"


def digest(name: str) -> str:
    """Return the SHA-256 that the card of a shared network states.

    Raises:
        ModelError: if there is no such network.
    """
    try:
        card = (SHARED_WEIGHTS / name / "card.json").read_text(encoding="utf-8")
        return str(json.loads(card)["sha256"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"shared weights {name}: the card cannot be read") from error


def read(name: str) -> dict[str, Tensor]:
    """Return a shared network's tensors, verified against its card.

    Raises:
        ModelError: if they are missing, tampered with or not finite.
    """
    return read_tensors(SHARED_WEIGHTS / name / "weights.safetensors", digest(name))
