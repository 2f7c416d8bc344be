"""Breakdowns of a report: against the floor, by category, by site, scan by scan."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from models.evaluation.comparison import Comparison
from models.evaluation.record import Evaluation
from models.evaluation.tables import NONE, figure, number, p_value, table
from models.evaluation.versus import against


def comparisons(rows: Sequence[Evaluation], seed: int, resamples: int) -> str:
    """Return each candidate against each floor, on the patients that both assessed."""
    lines: list[tuple[bool, Sequence[str]]] = []
    for one in rows:
        for floor in rows:
            if one.floor or not floor.floor:
                continue
            result = against(one, floor, seed, resamples)
            lines += [
                (False, _comparison(one.detector, floor.detector, measure, comparison))
                for measure, comparison in (
                    ("study AUROC (DeLong)", result.study),
                    ("study AUROC (bootstrap)", result.study_bootstrap),
                    ("voxel AP, patient mean", result.voxel_ap),
                    ("AU PRO30, patient mean", result.voxel_aupro30),
                    ("frozen Dice, patient mean", result.dice),
                )
                if comparison is not None
            ]
    if not lines:
        return ""
    head = ("detector", "floor", "measure", "detector", "floor", "difference", "p", "patients")
    return (
        "<h2>Against the floor</h2><p>Detector minus floor on the same patients. A difference "
        "whose interval holds 0, or whose p is 0.05 or more, is not shown by this set. p-values "
        f"are not adjusted for their number.</p>{table(head, lines)}"
    )


def _comparison(first: str, second: str, measure: str, found: Comparison) -> list[str]:
    difference = found.difference
    shown = found.p_value < 0.05 and (difference.low > 0 or difference.high < 0)
    verdict = ("better" if difference.value > 0 else "worse") if shown else "not shown"
    return [
        escape(first),
        escape(second),
        measure,
        number(found.first),
        number(found.second),
        f"{figure(difference, signed=True)}<small>{verdict}</small>",
        p_value(found.p_value),
        str(found.patients),
    ]


def categories(rows: Sequence[Evaluation]) -> str:
    """Return the figures of each category; nothing where there is only one."""
    lines = [
        (
            one.floor,
            [
                escape(one.detector),
                escape(group.category),
                str(group.patients),
                figure(group.auroc),
                figure(group.ap),
                *(figure(point.sensitivity) for point in group.points),
            ],
        )
        for one in rows
        if len(one.study) > 1
        for group in one.study
    ]
    if not lines:
        return ""
    head = (
        "detector",
        "category",
        "patients",
        "AUROC",
        "AUPRC",
        "sensitivity at 5 % FPR",
        "at 10 % FPR",
        "at 20 % FPR",
    )
    return f"<h2>Categories</h2>{table(head, lines)}"


def sites(rows: Sequence[Evaluation]) -> str:
    """Return the figures of each site; nothing where there is only one."""
    names = sorted({site.site for one in rows for site in one.sites})
    if len(names) < 2:
        return ""
    head = (
        "site",
        "detector",
        "normal",
        "abnormal",
        "refused",
        "AUROC",
        "normal held",
        "abnormal held",
        "voxel AP",
        "frozen Dice",
    )
    lines = [
        (
            one.floor,
            [
                escape(site.site or "not stated"),
                escape(one.detector),
                str(site.normal),
                str(site.abnormal),
                str(site.refused),
                figure(site.auroc),
                figure(site.held_normal if one.calibration_size else None),
                figure(site.held_abnormal if one.calibration_size else None),
                figure(site.voxel_ap),
                figure(site.voxel_dice),
            ],
        )
        for name in names
        for one in rows
        for site in one.sites
        if site.site == name
    ]
    kept = [index for index in range(len(head)) if any(row[index] != NONE for _, row in lines)]
    return (
        "<h2>By site</h2><p>Patients, and refused scans; voxel figures are means over the site's "
        "patients.</p>"
        + table(
            [head[index] for index in kept],
            [(floor, [row[index] for index in kept]) for floor, row in lines],
            "close",
        )
    )


def scans(rows: Sequence[Evaluation]) -> str:
    """Return every scan, folded away."""
    lines = [
        (
            one.floor,
            [
                escape(scan.name),
                escape(scan.site),
                escape(scan.label),
                escape(one.detector),
                number(scan.score),
                p_value(scan.p_value) if one.calibration_size else NONE,
                number(scan.voxels.ap if scan.voxels else None),
                number(scan.dice),
                f"{scan.regions.on_lesion} of {scan.regions.found}" if scan.regions else NONE,
            ],
        )
        for index in range(len(rows[0].scans))
        for one in rows
        for scan in (one.scans[index],)
    ]
    head = (
        "scan",
        "site",
        "label",
        "detector",
        "score",
        "p",
        "voxel AP",
        "frozen Dice",
        "regions on a lesion",
    )
    return f"<details><summary>Every scan</summary>{table(head, lines, 'close')}</details>"
