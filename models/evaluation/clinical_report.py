"""Clinical report: the statistics of a cohort as one HTML page, and as plain values for a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from math import isfinite
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from models.evaluation import clinical_figures
from models.evaluation.association import Correlation, Separation
from models.evaluation.benefit import Improvement
from models.evaluation.clinical import Clinical, Cohort, Decided
from models.evaluation.clinical_classes import Classes
from models.evaluation.page import document, picture
from models.evaluation.plain import finite
from models.evaluation.reliability import BINS
from models.evaluation.tables import figure, number, p_value, table

FEW = 20
"""Patients of one kind under which the page warns."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """A Dice, one a patient, held against an outcome.

    Attributes:
        names: of the Dice and of the outcome.
        dice, outcome: (n,); an outcome of two kinds is 0 and 1.
        separation: for an outcome of two kinds; None for one on a scale.
        correlation: Spearman's rho.
        size_given: the same with the lesion's size held fixed; None without a size.
    """

    names: tuple[str, str]
    dice: NDArray[np.float64]
    outcome: NDArray[np.float64]
    separation: Separation | None
    correlation: Correlation
    size_given: Correlation | None


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a page shows; None for each part that was not asked for.

    Attributes:
        facts: heading -> text: file, columns, rows left out.
        names: of the score and of the older one.
        cohort: the rows; None where there are only classes or only a Dice.
        clinical: their statistics.
        classes: of several classes.
        overlap: of a Dice with an outcome.
    """

    facts: Mapping[str, str]
    names: tuple[str, str] = ("score", "against")
    cohort: Cohort | None = None
    clinical: Clinical | None = None
    classes: Classes | None = None
    overlap: Overlap | None = None


def render(title: str, found: Found) -> str:
    """Return the page as HTML with nothing outside it."""
    parts: list[str] = []
    if found.cohort is not None and found.clinical is not None:
        parts += _binary(found.cohort, found.clinical, found.names)
    if found.classes is not None:
        parts.append(_classes(found.classes))
    if found.overlap is not None:
        parts.append(_overlap(found.overlap))
    return document(title, found.facts, limits(found), "".join(parts))


def limits(found: Found) -> tuple[str, ...]:
    """Return what the rows cannot show, a sentence each."""
    said = ["Intervals are 95 %; p-values are two-sided and not adjusted for several comparisons."]
    cohort, clinical = found.cohort, found.clinical
    if cohort is not None and clinical is not None:
        said.append(
            "Patients have several rows: every interval is from resampled patients."
            if cohort.clustered
            else "Each row is taken for one patient: name the patient's column if that is not so."
        )
        said += [
            f"Only {count} {kind} patients: an interval that spans half its scale says nothing yet."
            for kind, count in zip(("normal", "abnormal"), kinds(cohort), strict=True)
            if count < FEW
        ]
        if clinical.decided is None:
            said.append("No threshold was stated, and none is chosen on the rows it is judged by.")
        elif not clinical.decided.predictive:
            said.append("No prevalence was stated: predictive values of the set would mislead.")
        if clinical.calibrated is None:
            said.append("A score is no probability: nothing is said of calibration or net benefit.")
        if clinical.improved is not None:
            said.append(
                "Net reclassification can be positive for a useless marker when the older model is "
                "miscalibrated (Hilden and Gerds 2014; Pepe 2015): read the AUROCs first."
            )
    if found.classes is not None:
        said.append("Micro averages follow the common classes, macro averages the rare ones.")
    if found.overlap is not None and found.overlap.size_given is None:
        said.append("A Dice is lower for small lesions: without their size, size may be all it is.")
    return tuple(said)


def kinds(cohort: Cohort) -> tuple[int, int]:
    """Return the normal and the abnormal patients; one with rows of both is in both."""
    return cast(
        "tuple[int, int]",
        tuple(
            len({cohort.patients[row] for row in np.flatnonzero(own)})
            for own in (~cohort.truth, cohort.truth)
        ),
    )


def lines(found: Found) -> list[tuple[str, str]]:
    """Return the main figures as measure and value, for a terminal."""
    rows: list[tuple[str, str]] = []
    if found.clinical is not None:
        rows += _lines(found.clinical)
    if found.classes is not None:
        for name, figures in found.classes.measures.items():
            rows += [(f"{name}, {key}", str(value)) for key, value in figures.items()]
    if (one := found.overlap) is not None:
        rows.append((f"{one.names[0]} and {one.names[1]}, rho", str(one.correlation.rho)))
        if one.separation is not None:
            rows.append((f"{one.names[0]} larger with the outcome", str(one.separation.auroc)))
    return rows


def _lines(found: Clinical) -> list[tuple[str, str]]:
    rows = [("AUROC", str(found.auroc))]
    if (one := found.against) is not None:
        p = f"p {one.p_value:.3f}" if one.p_value >= 0.001 else "p < 0.001"
        rows.append(("AUROC less that of the older model", f"{one.difference}, {p}"))
    if (decided := found.decided) is not None:
        rows.append(("sensitivity", str(decided.sensitivity)))
        rows.append(("specificity", str(decided.specificity)))
        for each in decided.predictive:
            rows.append((f"PPV at a prevalence of {each.prevalence:g}", str(each.positive)))
            rows.append((f"NPV at a prevalence of {each.prevalence:g}", str(each.negative)))
    if found.calibrated is not None:
        rows.append(("Brier score", str(found.calibrated.brier)))
    if (better := found.improved) is not None:
        if better.categories is not None:
            rows.append(("net reclassification, categories", str(better.categories.total)))
        rows.append(("net reclassification, continuous", str(better.continuous.total)))
        rows.append(("integrated discrimination", str(better.discrimination.total)))
    return rows


def as_plain(found: Found) -> dict[str, Any]:
    """Return every figure as plain values; what is undefined is None."""
    plain: dict[str, Any] = {"facts": dict(found.facts), "limits": list(limits(found))}
    if found.clinical is not None:
        plain["statistics"] = asdict(found.clinical)
    if found.classes is not None:
        plain["classes"] = {
            name: {key: asdict(one) for key, one in figures.items()}
            for name, figures in found.classes.measures.items()
        }
    if found.overlap is not None:
        one = found.overlap
        plain["overlap"] = {
            "separation": asdict(one.separation) if one.separation else None,
            "correlation": asdict(one.correlation),
            "size_given": asdict(one.size_given) if one.size_given else None,
        }
    return cast("dict[str, Any]", finite(plain))


def _binary(cohort: Cohort, found: Clinical, names: tuple[str, str]) -> list[str]:
    normal, abnormal = kinds(cohort)
    chance = float(cohort.truth.mean())
    rows = [
        (False, ["AUROC", figure(found.auroc), "0.5"]),
        (False, ["average precision", figure(found.precision), number(chance)]),
    ]
    parts = [
        "<h2>Normal against abnormal</h2>",
        f"<p>{normal} normal and {abnormal} abnormal patients, {len(cohort.truth)} rows.</p>",
        table(["measure", escape(names[0]), "by chance"], rows),
    ]
    if (one := found.against) is not None:
        parts.append(
            table(
                ["AUROC", escape(names[0]), escape(names[1]), "difference", "p"],
                [
                    (
                        False,
                        [
                            "bootstrap over patients" if cohort.clustered else "DeLong, paired",
                            number(one.first),
                            number(one.second),
                            figure(one.difference, signed=True),
                            p_value(one.p_value),
                        ],
                    )
                ],
            )
        )
    parts.append(picture(clinical_figures.roc(cohort, found, names), "ROC over rows.", "small"))
    if found.decided is not None:
        parts.append(decision_tables(found.decided))
    parts.append(_calibration(found))
    if (png := clinical_figures.decision(found, names)) is not None:
        parts += [
            "<h2>Net benefit</h2>",
            picture(
                png,
                "Where a curve is above both others, acting by the probability is worth more than "
                "acting on all or on nobody. In true positives a patient (Vickers and Elkin 2006), "
                f"at the set's own prevalence of {chance:.2g}.",
                "medium",
            ),
        ]
    if (better := found.improved) is not None:
        indices: list[tuple[str, Improvement | None]] = [
            ("net reclassification, categories", better.categories),
            ("net reclassification, continuous", better.continuous),
            ("integrated discrimination", better.discrimination),
        ]
        parts += [
            f"<h2>{escape(names[0])} in place of {escape(names[1])}</h2>",
            table(
                ["improvement", "total", "of abnormal", "of normal", "p"],
                [
                    (
                        False,
                        [
                            name,
                            figure(index.total, signed=True),
                            number(index.events),
                            number(index.nonevents),
                            p_value(index.p_value),
                        ],
                    )
                    for name, index in indices
                    if index is not None
                ],
            ),
        ]
    return parts


def decision_tables(one: Decided) -> str:
    """Return what a decision is worth as tables."""
    counts = one.table
    rows = [
        (False, ["sensitivity", figure(one.sensitivity)]),
        (False, ["specificity", figure(one.specificity)]),
        (False, ["accuracy, at the set's prevalence", figure(one.accuracy)]),
    ]
    if one.ratios is not None:
        rows.append((False, ["likelihood ratio of a yes", figure(one.ratios.positive)]))
        rows.append((False, ["likelihood ratio of a no", figure(one.ratios.negative)]))
    said = table(["measure", "value"], rows)
    if one.predictive:
        said += table(
            ["stated prevalence", "abnormal if flagged (PPV)", "normal if passed (NPV)"],
            [
                (False, [number(each.prevalence), figure(each.positive), figure(each.negative)])
                for each in one.predictive
            ],
        )
    at = f"At or above {one.threshold:g}" if isfinite(one.threshold) else "As it was decided"
    return (
        f"<h2>Decisions</h2><p>{at}: {counts.tp} abnormal flagged, {counts.fn} passed; "
        f"{counts.fp} normal flagged, {counts.tn} passed.</p>" + said
    )


def _calibration(found: Clinical) -> str:
    one, png = found.calibrated, clinical_figures.reliability(found)
    if one is None or png is None:
        return ""
    parts = one.parts
    rows = [
        (False, ["Brier score", figure(one.brier)]),
        (False, ["reliability (0 is best)", number(parts.reliability)]),
        (False, ["resolution (larger is better)", number(parts.resolution)]),
        (False, ["uncertainty of the set", number(parts.uncertainty)]),
        (False, ["within bins", number(parts.within)]),
        (False, ["skill against the set's prevalence", number(parts.skill)]),
        (False, [f"expected calibration error, {BINS} bins", number(one.error)]),
    ]
    return (
        "<h2>Calibration</h2>"
        + table(["measure", "value"], rows)
        + "<p>Brier score = reliability - resolution + uncertainty + within. The calibration error "
        "is above 0 by chance alone when bins hold few rows.</p>"
        + picture(png, "Stated probabilities, and what came true.", "medium")
    )


def _classes(found: Classes) -> str:
    keys = list(next(iter(found.measures.values())))
    rows = [
        (
            False,
            [
                escape(key)
                + (f"<small>{found.counts[key]} rows</small>" if key in found.counts else ""),
                *(figure(one[key]) for one in found.measures.values()),
            ],
        )
        for key in keys
    ]
    return "<h2>Each class against the rest</h2>" + table(["class", *found.measures], rows)


def _overlap(found: Overlap) -> str:
    rows = [(False, ["Spearman's rho", figure(found.correlation.rho, signed=True),
                     p_value(found.correlation.p_value)])]  # fmt: skip
    if (given := found.size_given) is not None:
        rows.append(
            (
                False,
                ["rho, size held fixed", figure(given.rho, signed=True), p_value(given.p_value)],
            )
        )
    if (one := found.separation) is not None:
        name = "chance that the Dice is larger with the outcome"
        rows.insert(0, (False, [name, figure(one.auroc), p_value(one.p_value)]))
    png = clinical_figures.beside_outcome(
        found.dice, found.outcome, found.names, kinds=found.separation is not None
    )
    return (
        f"<h2>{escape(found.names[0])} and {escape(found.names[1])}</h2>"
        f"<p>{len(found.dice)} patients.</p>"
        + table(["association", "value", "p"], rows)
        + picture(png, "One point a patient.", "small")
    )
