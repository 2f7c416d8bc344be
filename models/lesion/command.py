"""Commands: what `gatekeeper model lesion` does, without the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.lesion import model, page, training, traversal
from models.lesion.assess import Assessment, assess
from models.lesion.config import KINDS, Config
from models.lesion.crossvalidation import FOLDS, cross_validate
from models.lesion.lesions import Lesion, of_nodules, of_slices
from models.lesion.model import LesionModel
from models.scan import Scan
from models.sources.lidc import Annotation
from models.training.loop import Run

REPORT, FIGURES, STRIP, ANIMATION = "report.html", "figures.json", "{}-strip.png", "{}.gif"


@dataclass(frozen=True, slots=True)
class Set:
    """Lesions to train and measure on.

    Attributes:
        describes: the set, in a sentence.
        lesions: benign or malignant.
        unlabelled: patches of other patients.
        limits: what it cannot show, a sentence each.
    """

    describes: str
    lesions: tuple[Lesion, ...]
    unlabelled: tuple[Lesion, ...]
    limits: tuple[str, ...]


SLICES_LIMITS = tuple(
    """\
A class is known for a slice, not where its lesion is: a patch is the most prominent piece of soft \
tissue in the lungs, in benign slices most often vessels at the hilum.
Class and scanner are confounded: what is told apart may be the scanner. The floors that know \
nothing of the lesion show how much.
Patients are guessed from likeness of images: a real patient may be in two folds.
Hounsfield units are inferred from the grey of air, fat and muscle; the pixel size is not known, \
so size in millimetres is not either.
Single slices: nothing is said of 3-D.""".splitlines()
)
"""What `chest_ct_iqoth` cannot show."""
DRAWN_LIMITS = tuple(
    """\
Malignancy is the mean opinion of up to four readers, not pathology; 3 on the mean is left out.
A patient with benign and malignant nodules counts once among each.""".splitlines()
)
"""What LIDC-IDRI cannot show."""


def of_iqoth(read: Callable[[str], Iterable[Scan]], config: Config, most: int) -> Set:
    """Return the lesions of `chest_ct_iqoth`: those of dev, and slices of train without a label.

    Args:
        read: returns the scans of a split.
        config: size of the patches.
        most: candidates of a slice.
    """
    dev = of_slices(read("dev"), config, most)
    labelled = tuple(one for one in dev if one.malignant is not None)
    labelled_patients = {one.patient for one in labelled}
    normal = [one for one in dev if one.malignant is None]
    other = [*normal, *of_slices(read("train"), config, most)]
    unlabelled = tuple(one for one in other if one.patient not in labelled_patients)
    return Set(
        "chest_ct_iqoth, slices of dev; normal slices of train and dev without a label",
        labelled,
        unlabelled,
        SLICES_LIMITS,
    )


def of_lidc(scans: Iterable[tuple[Scan, Annotation]], config: Config) -> Set:
    """Return the nodules of LIDC-IDRI, each slice that shows one a patch.

    Args:
        scans: each with what its readers drew.
        config: size of the patches, Hounsfield units.

    Raises:
        ModelError: if an annotation is of another scan.
    """
    found = [one for scan, drawn in scans for one in of_nodules(scan, drawn, config)]
    return Set(
        "LIDC-IDRI, nodules that half of the readers drew",
        tuple(one for one in found if one.malignant is not None),
        tuple(one for one in found if one.malignant is None),
        DRAWN_LIMITS,
    )


def train(given: Set, config: Config, run: Run, out: Path, folds: int = FOLDS) -> LesionModel:
    """Fit on all patients, calibrate on patients left out fold by fold, and write to a folder.

    Raises:
        ModelError: as `crossvalidation.cross_validate`.
    """
    seen = cross_validate(given.lesions, given.unlabelled, config, run, folds)
    calibration = model.calibrate(seen.joint.logits, seen.joint.truth, run.seed)
    fitted = training.fit(given.lesions, given.unlabelled, config, run)
    made = LesionModel(fitted, calibration, out.name)
    statements: Mapping[str, Any] = {
        "version": "1.0.0",
        "data": {"name": given.describes},
        "not_tested_on": list(given.limits),
        "metrics": {
            "auroc": seen.joint.delong.as_list(),
            "auroc_codes_alone": seen.frozen.delong.as_list(),
            "folds": folds,
            "seed": run.seed,
        },
    }
    model.save(made, out, statements)
    return model.load(out)


def evaluate(
    given: Set,
    config: Config,
    run: Run,
    out: Path,
    command: str,
    **asked: Any,
) -> Assessment:
    """Assess both kinds and write report, figures, strips and animations into a folder."""
    found = assess(given.lesions, given.unlabelled, config, run, **asked)
    out.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, tuple[str, bytes]] = {}
    for name in found.kinds:
        chosen = found.kinds[name].result.chosen
        steps = sorted(one.steps for one in chosen)[len(chosen) // 2]
        own = replace(found.kinds[name].result.config, rounds=0, steps=steps)
        fitted = training.fit(given.lesions, given.unlabelled, own, run)
        pictures |= written(fitted, given.lesions, out, name)
    (out / FIGURES).write_text(page.as_json(found), encoding="utf-8")
    text = page.render(found, given.describes, command, given.limits, pictures)
    (out / REPORT).write_text(text, encoding="utf-8")
    return found


def written(
    fitted: training.Fitted, lesions: Sequence[Lesion], out: Path, name: str
) -> dict[str, tuple[str, bytes]]:
    """Write a strip and an animation of a model's traversals; return both by caption."""
    if not lesions:
        raise ModelError("a traversal needs lesions to start from")
    out.mkdir(parents=True, exist_ok=True)
    title = f"{fitted.config.kind}: from little to much of each number of the code"
    rows = traversal.traverse(fitted, lesions)
    strip, moving = traversal.strip(rows, title), traversal.animation(rows, title)
    (out / STRIP.format(name)).write_bytes(strip)
    (out / ANIMATION.format(name)).write_bytes(moving)
    return {
        f"{name}: numbers of the code by the factor that each follows best; in a picture's corner "
        "the classifier's logit": ("image/png", strip),
        f"{name}, moving": ("image/gif", moving),
    }


__all__ = ["KINDS", "Set", "evaluate", "of_iqoth", "train", "written"]
