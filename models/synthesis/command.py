"""Commands: what `gatekeeper model synthesis` does, without the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from models.errors import ModelError
from models.evaluation.intervals import RESAMPLES
from models.evaluation.plain import finite
from models.scan import Scan
from models.synthesis import completion, model, pictures
from models.synthesis.assess import Assessment, assess
from models.synthesis.config import Config
from models.synthesis.model import SynthesisModel
from models.synthesis.pairs import pairs_of
from models.synthesis.training import fit, slices_of
from models.training import bundle
from models.training.loop import Run

FIGURES, PICTURE, COMPLETED = "figures.json", "drawn.png", "completed.png"
_SHOWN = 3


def train(
    scans: Iterable[Scan],
    config: Config,
    run: Run,
    out: Path,
    *,
    set_name: str,
    licence: str,
    command: str,
) -> SynthesisModel:
    """Train a network on all scans that have every contrast, and write it to a folder.

    Args:
        scans: of scanners.
        config: settings.
        run: how.
        out: folder that must not be there yet; its name is the model's.
        set_name: what the scans are, in words.
        licence: under what they may be used; that of the weights.
        command: what was typed.

    Raises:
        ModelError: if the folder is there, a scan lacks a contrast, or training diverges.
    """
    if out.exists():
        raise ModelError(f"{out} exists")
    pairs, settled = pairs_of(scans, config, model.brain_finder())
    slices = slices_of(pairs, settled)
    network = fit(slices, settled, run)
    subjects = sorted({pair.subject for pair in pairs})
    limits = ["any scanner, age and disease but those of the training scans"]
    if len(subjects) == 1:
        limits.append("any other person: it was trained on one")
    statements = {
        "version": "1.0.0",
        "data": {
            "name": set_name,
            "licence": licence,
            "subjects": len(subjects),
            "scans": len(pairs),
            "slices": f"{len(slices.inputs)}, without what lies within {settled.margin_mm:g} mm "
            "of a lesion",
        },
        "weights_licence": f"{licence} (from the data)",
        "intended_use": "Research. Completes a contrast that a reference set lacks. What it draws "
        "is no scan of anybody: detectors may be fitted on it, nothing is calibrated or measured "
        "on it.",
        "not_tested_on": limits,
        "recipe": {
            "command": command,
            "seed": run.seed,
            "steps_scale": run.steps_scale,
            "subjects": subjects,
            "packages": bundle.packages(),
        },
        "metrics": {},
    }
    model.save(network, settled, out, statements)
    return model.load(out)


def complete(
    made: SynthesisModel,
    scans: Iterable[Scan],
    out: Path,
    *,
    set_name: str,
    set_licence: str,
    progress: Callable[[str], None] | None = None,
) -> tuple[int, dict[str, int]]:
    """Complete a set into a folder, with a picture of the first; see `completion.complete`."""
    first: list[Scan] = []

    def seen() -> Iterable[Scan]:
        for scan in scans:
            if not first:
                first.append(scan)
            yield scan

    found = completion.complete(
        made, seen(), out, set_name=set_name, set_licence=set_licence, progress=progress
    )
    drawn = made.completed(first[0], model.brain_finder())
    (out / COMPLETED).write_bytes(pictures.completed(first[0], drawn))
    return found


def evaluate(
    scans: Sequence[Scan],
    config: Config,
    run: Run,
    out: Path,
    *,
    command: str,
    parts: int,
    gap_mm: float,
    resamples: int = RESAMPLES,
) -> Assessment:
    """Measure what a network draws of what it was not trained on; write figures and a picture.

    Raises:
        ModelError: if a scan is synthetic or lacks a contrast, or too little is left to learn from.
    """
    for scan in scans:
        scan.refuse_synthetic("evaluation")
    pairs, settled = pairs_of(scans, config, model.brain_finder())
    by_name = {pair.name: pair for pair in pairs}
    given = [(scan, by_name[scan.name]) for scan in scans if scan.name in by_name]
    found = assess(given, settled, run, count=parts, gap_mm=gap_mm, resamples=resamples)
    out.mkdir(parents=True, exist_ok=True)
    stated = {"command": command, "inputs": settled.inputs, "output": settled.output}
    text = json.dumps(finite(stated | found.as_json()), indent=1)
    (out / FIGURES).write_text(text + "\n", encoding="utf-8")
    (out / PICTURE).write_bytes(pictures.compared(found.drawn[0], settled, _SHOWN))
    return found
