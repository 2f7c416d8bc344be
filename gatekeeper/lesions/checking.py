"""What `gatekeeper check` says of the lesion bundle."""

from __future__ import annotations

from pathlib import Path

from models.errors import ModelError


def bundle_answer(folder: str) -> tuple[bool, str]:
    """Return whether a bundle can be used, and what there is to say of it."""
    from models.lesion.model import load

    try:
        model = load(Path(folder))
    except ModelError as error:
        return False, str(error)
    benign, malignant = model.calibration.patients
    trial = "; a TRIAL bundle, not released for patients" if model.trial else ""
    return True, f"{model.name}, calibrated on {benign} benign and {malignant} malignant{trial}"
