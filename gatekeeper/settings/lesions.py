"""Settings of lesions: what says how likely one is malignant, and of how many."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting


@dataclass(frozen=True, slots=True)
class LesionSettings:
    """Lesions that came with a study or that a detector found; without a bundle none is scored."""

    bundle: str = setting(
        "",
        "folder of the lesion bundle (`gatekeeper model lesion train`) that says how likely each "
        "lesion of a chest CT is malignant, beside its verdict, and decides nothing; empty means "
        "none",
    )
    maximum: int = setting(
        20,
        "lesions of one series that are scored; what is beyond is named and not scored",
        minimum=1,
        maximum=200,
    )
