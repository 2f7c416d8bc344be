"""What the child is told of lesions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gatekeeper.settings import Settings


@dataclass(frozen=True, slots=True)
class LesionRequest:
    """What scores lesions.

    Attributes:
        bundle: folder of the lesion bundle.
        maximum: lesions of one series that are scored.
    """

    bundle: str
    maximum: int


def lesions_asked(settings: Settings) -> LesionRequest | None:
    """Return what the child is told; None without a bundle."""
    if not settings.lesions.bundle:
        return None
    return LesionRequest(str(Path(settings.lesions.bundle).absolute()), settings.lesions.maximum)
