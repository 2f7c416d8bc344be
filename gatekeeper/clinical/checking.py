"""What `gatekeeper check` says of the multimodal bundle."""

from __future__ import annotations

from pathlib import Path

from gatekeeper.clinical.quantities import named
from gatekeeper.errors import ClinicalRefused
from models.errors import ModelError


def bundle_answer(folder: str) -> tuple[bool, str]:
    """Return whether a bundle can be used, and what there is to say of it."""
    from models.multimodal.bundle import read

    try:
        bundle = read(Path(folder))
    except ModelError as error:
        return False, str(error)
    never: list[str] = []
    for variable in bundle.model.variables:
        try:
            fits = named(variable.name).unit == variable.unit
        except ClinicalRefused:
            fits = False
        if not fits:
            never.append(variable.name)
    if never:
        return False, f"{bundle.name}: no quantity brings {', '.join(never)} in its unit"
    trial = "; fitted to SIMULATED patients, for trials" if bundle.simulated else ""
    return True, f"{bundle.name}, {len(bundle.calibration)} patients{trial}"
