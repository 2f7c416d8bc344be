"""Report: an evaluation as one HTML file with nothing outside it, for a screen or A4 paper."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from models.evaluation import breakdowns, figures
from models.evaluation.gallery import Gallery
from models.evaluation.intervals import RESAMPLES
from models.evaluation.page import STYLE
from models.evaluation.record import Evaluation
from models.evaluation.tables import (
    STUDY_COLUMNS,
    VOXEL_COLUMNS,
    figure,
    p_value,
    summary,
    table,
)

FEW = 20
"""Patients under which a report warns of its bootstrap intervals."""


@dataclass(frozen=True, slots=True)
class Title:
    """What a report is about.

    Attributes:
        name: the bundle, or what is compared.
        digest: SHA-256 of the bundle's manifest; empty where there is no bundle.
        data_set: the set and its split, in a sentence.
        cannot_show: what the set cannot show, a sentence each.
        facts: further lines, for instance version or licence.
    """

    name: str
    digest: str
    data_set: str
    cannot_show: tuple[str, ...]
    facts: Mapping[str, str] | None = None


def render(
    title: Title,
    evaluations: Mapping[str, Evaluation],
    gallery: Gallery | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> str:
    """Return the report as HTML.

    Args:
        title: what it is about.
        evaluations: as `assess.evaluate` returns them, candidates and floors.
        gallery: with the pictures; none are shown without.
        seed: of the paired comparisons.
        resamples: of the paired comparisons.

    Raises:
        ValueError: if there is no evaluation.
    """
    if not evaluations:
        raise ValueError("a report needs an evaluation")
    rows = sorted(evaluations.values(), key=lambda one: one.floor)
    parts = [
        _heading(title, rows),
        _limits(title, rows),
        "<h2>Patients and slices</h2>",
        _study_note(rows),
        summary(STUDY_COLUMNS, rows),
        "<h2>Voxels</h2>",
        _voxel_note(rows),
        summary(VOXEL_COLUMNS, rows) if any(one.voxels for one in rows) else "",
        breakdowns.comparisons(rows, seed, resamples),
        _curves(rows),
        breakdowns.categories(rows),
        _reliability(rows),
        _scores(rows),
        breakdowns.sites(rows),
        _pictures(rows, gallery),
        _refusals(rows),
        breakdowns.scans(rows),
        _conditions(rows),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation of {escape(title.name)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _heading(title: Title, rows: Sequence[Evaluation]) -> str:
    scans = rows[0].scans
    facts = {
        "Data": title.data_set,
        "Evaluated": f"{len(scans)} scans of {len({scan.subject for scan in scans})} patients",
        **(title.facts or {}),
    }
    if title.digest:
        facts["Digest"] = title.digest
    items = "".join(
        f"<dt>{escape(name)}</dt><dd{' class=digest' if name == 'Digest' else ''}>"
        f"{escape(text)}</dd>"
        for name, text in facts.items()
    )
    return f"<header><h1>Evaluation: {escape(title.name)}</h1><dl>{items}</dl></header>"


def _limits(title: Title, rows: Sequence[Evaluation]) -> str:
    notes = [*title.cannot_show]
    if not any(one.study for one in rows):
        notes.append(
            "The set does not have both normal and abnormal patients: nothing is said of the study "
            "score's sensitivity at a false-positive rate."
        )
    assessed = {frozenset(scan.name for scan in one.scans if not scan.refused) for one in rows}
    if len(assessed) > 1:
        notes.append(
            "The detectors refused different scans, so their rows rest on different patients; only "
            "the comparisons with the floor use the patients that both assessed."
        )
    outside = sum(scan.lesion_voxels_outside for scan in rows[0].scans)
    inside = sum(scan.lesion_voxels for scan in rows[0].scans)
    if outside:
        notes.append(
            f"{100 * outside / (outside + inside):.1f} % of the lesion voxels lie outside the "
            "evaluation mask and are not measured."
        )
    subjects = len({scan.subject for scan in rows[0].scans})
    if subjects < FEW:
        notes.append(
            f"There are only {subjects} patients: bootstrap intervals of so few are too narrow."
        )
    if not any(one.floor for one in rows):
        notes.append("No floor was evaluated: nothing here shows that a detector learned anything.")
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section class="limits"><h2>What this cannot show</h2><ul>{items}</ul></section>'


def _study_note(rows: Sequence[Evaluation]) -> str:
    slices = next((one.slices for one in rows if one.slices), None)
    text = f"Held: p-value at most {rows[0].alert:g}. Seconds: median."
    if slices is not None:
        text += (
            f" Slices: {slices.lesion} with a lesion against {slices.normal} that may stand for "
            f"normal, of {slices.patients} patients."
        )
    return f"<p>{text} Intervals: 95 %.</p>"


def _voxel_note(rows: Sequence[Evaluation]) -> str:
    voxels = next((one.voxels for one in rows if one.voxels), None)
    if voxels is None:
        return "<p>No lesion is drawn in the set: voxels are not measured.</p>"
    return (
        f"<p>{voxels.scans} scans, {voxels.lesion_patients} patients with a lesion in the mask; "
        f"{100 * voxels.prevalence:.2f} % of the voxels are lesion, which is the AP of chance. "
        "AUROC30 and AU PRO30 are areas to a false-positive rate of 0.3, over 0.3; chance is 0.15. "
        "Best Dice chooses its threshold on the truth; frozen Dice uses the detector's own. "
        "Intervals: 95 %, patients resampled.</p>"
    )


def _curves(rows: Sequence[Evaluation]) -> str:
    return _drawing(
        "Curves",
        figures.voxel_curves(rows),
        "Voxels of all scans together. Shaded: false-positive rates up to 0.3. Dashed grey: floor. "
        "Thin grey: chance.",
    ) + _drawing("", figures.study_roc(rows), "One score a patient. Dashed grey: floor.", "small")


def _reliability(rows: Sequence[Evaluation]) -> str:
    own = [(one, one.clean) for one in rows if one.clean is not None]
    if not own:
        return (
            "<h2>Reliability</h2><p>No normal patient outside the calibration is in the set, or no "
            "detector is calibrated: whether the promised false-hold rate comes true was not "
            "checked.</p>"
        )
    lines = [
        (
            one.floor,
            [
                escape(one.detector),
                f"{100 * hold.nominal:g} %",
                f"{hold.held} of {clean.patients}",
                figure(hold.rate),
                "yes" if hold.nominal_inside else "no, above" if hold.exceeds else "no, below",
            ],
        )
        for one, clean in own
        for hold in clean.false_holds
    ]
    uniform = "".join(
        f"<li>{escape(one.detector)}: {clean.patients} clean patients, {one.calibration_size} "
        "calibration patients; Kolmogorov-Smirnov distance from uniform "
        f"{clean.uniformity.distance:.2f}, p {p_value(clean.uniformity.p_value)}; that p-values "
        f"are too small, p {p_value(clean.uniformity.too_small_p_value)}.</li>"
        for one, clean in own
    )
    return (
        _drawing(
            "Reliability",
            figures.reliability(rows),
            "Clean patients held at each nominal rate, with Clopper and Pearson's interval; "
            "clean p-values against the uniform distribution (grey).",
            "medium",
        )
        + table(("detector", "nominal", "held", "rate", "nominal inside the interval"), lines)
        + f"<ul>{uniform}</ul>"
    )


def _scores(rows: Sequence[Evaluation]) -> str:
    return _drawing(
        "Scores",
        figures.score_histograms(rows),
        "Patients by study score (line: the threshold that flags 5 % of the normal patients, "
        "where there are any) and by p-value (line: the alert level); slices by slice score.",
    )


def _pictures(rows: Sequence[Evaluation], gallery: Gallery | None) -> str:
    if gallery is None:
        return ""
    drawings = "".join(
        _drawing(
            "",
            figures.pictures(shown),
            f"{one.detector}: {name}, at most 6. Above the slice, below the map over it "
            f"({one.map_unit or 'unit not stated'}; white line on the bar: the threshold). "
            "Outline: the truth.",
            width=figures.picture_inches(len(shown))[0] / figures.picture_inches(6)[0],
        )
        for one in rows
        if not one.floor
        for name, shown in (
            ("worst misses", gallery.misses(one.detector)),
            ("best hits", gallery.hits(one.detector)),
        )
    )
    return f"<h2>Pictures</h2>{drawings}" if drawings else ""


def _refusals(rows: Sequence[Evaluation]) -> str:
    items = "".join(
        f"<li>{escape(one.detector)}, {escape(scan.name)}: {escape(scan.refused)}</li>"
        for one in rows
        for scan in one.scans
        if scan.refused
    )
    return f"<h2>Refused</h2><ul>{items}</ul>" if items else ""


def _conditions(rows: Sequence[Evaluation]) -> str:
    items = [f"{name.capitalize()}: {text}" for name, text in rows[0].conditions.items()]
    items += [
        f"Calibration of {one.detector}: "
        + (one.calibration if one.calibration_size else "none, so it has no p-value")
        for one in rows
    ]
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<h2>Conditions</h2><ul>{lines}</ul>"


def _drawing(
    heading: str, png: bytes | None, caption: str, size: str = "full", width: float = 1.0
) -> str:
    if png is None:
        return ""
    data = base64.b64encode(png).decode("ascii")
    top = f"<h2>{escape(heading)}</h2>" if heading else ""
    return (
        f'<section>{top}<figure class="{size}">'
        f'<img alt="{escape(caption)}" style="width:{100 * width:.0f}%" '
        f'src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure></section>"
    )
