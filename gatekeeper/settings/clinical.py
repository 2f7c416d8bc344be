"""Settings of clinical values: what judges them, and when they belong to a study."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting


@dataclass(frozen=True, slots=True)
class ClinicalSettings:
    """Clinical values beside the images; without a bundle they are kept and not used."""

    bundle: str = setting(
        "",
        "folder of the multimodal bundle (`gatekeeper model multimodal fit`) whose score explains "
        "a study beside its verdict, and decides nothing; empty means none",
    )
    window_days: float = setting(
        90.0,
        "how far from a study a value of its patient may have been observed to be used for it",
        unit="d",
        minimum=0,
        maximum=3650,
    )
