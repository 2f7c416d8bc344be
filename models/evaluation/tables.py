"""Tables of a report: one row a detector, floors marked, intervals beneath the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import isfinite
from typing import cast

from models.evaluation.intervals import Figure
from models.evaluation.record import Evaluation

NONE = '<span class="none">–</span>'
"""A cell with nothing in it. A column of nothing else is left out."""

Column = tuple[str, Callable[[Evaluation], str]]
"""Heading, and the cell of a detector as HTML."""


def summary(columns: Sequence[Column], rows: Sequence[Evaluation]) -> str:
    """Return a table with a row for each detector."""
    shown = [(name, cell) for name, cell in columns if any(cell(one) != NONE for one in rows)]
    return table(
        ["detector", *(name for name, _ in shown)],
        [(one.floor, [_named(one), *(cell(one) for _, cell in shown)]) for one in rows],
    )


def table(head: Sequence[str], rows: Sequence[tuple[bool, Sequence[str]]], kind: str = "") -> str:
    """Return a table.

    Args:
        head: headings, as text.
        rows: whether the row is a floor's, and its cells as HTML; the first cell names the row.
        kind: CSS class.
    """
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f'<tr{" class=floor" if floor else ""}><th scope="row">{cells[0]}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells[1:])
        + "</tr>"
        for floor, cells in rows
    )
    css = f' class="{kind}"' if kind else ""
    return (
        f'<div class="wide"><table{css}><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def figure(value: Figure | None, signed: bool = False) -> str:
    """Return an estimate with its interval beneath."""
    if value is None or not isfinite(value.value):
        return NONE
    sign = "+" if signed else ""
    shown = f"{value.value:{sign}.3f}"
    if not (isfinite(value.low) and isfinite(value.high)):
        return f"{shown}<small>no interval</small>"
    return f"{shown}<small>{value.low:{sign}.2f} to {value.high:{sign}.2f}</small>"


def number(value: float | None) -> str:
    """Return a number to three digits."""
    return NONE if value is None or not isfinite(value) else f"{value:.3g}"


def p_value(value: float | None) -> str:
    """Return a p-value."""
    if value is None or not isfinite(value):
        return NONE
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def _named(one: Evaluation) -> str:
    return escape(one.detector) + ("<small>floor</small>" if one.floor else "")


def _sensitivity(point: int) -> Callable[[Evaluation], str]:
    return lambda one: figure(one.study[0].points[point].sensitivity if one.study else None)


def _seconds(one: Evaluation) -> str:
    times = sorted(scan.seconds for scan in one.scans if not scan.refused)
    return f"{times[len(times) // 2]:.2f}" if times else NONE


def _pooled(name: str) -> Callable[[Evaluation], str]:
    return lambda one: figure(
        cast("Figure", getattr(one.voxels.pooled, name)) if one.voxels else None
    )


def _patient_mean(name: str) -> Callable[[Evaluation], str]:
    return lambda one: figure(one.voxels.patient_means.get(name) if one.voxels else None)


def _touched(one: Evaluation) -> str:
    counts = [scan.regions for scan in one.scans if scan.regions]
    if not counts:
        return NONE
    touched, total = sum(c.lesions_touched for c in counts), sum(c.lesions for c in counts)
    return f"{touched} of {total}"


def _first(one: Evaluation) -> str:
    counts = [scan.regions for scan in one.scans if scan.regions]
    return f"{sum(c.first_on_lesion for c in counts)} of {len(counts)}" if counts else NONE


STUDY_COLUMNS: tuple[Column, ...] = (
    ("scans assessed", lambda one: f"{len(one.scans) - one.refused} of {len(one.scans)}"),
    ("AUROC", lambda one: figure(one.study[0].auroc if one.study else None)),
    ("AUPRC", lambda one: figure(one.study[0].ap if one.study else None)),
    ("sensitivity at 5 % FPR", _sensitivity(0)),
    ("at 10 % FPR", _sensitivity(1)),
    ("at 20 % FPR", _sensitivity(2)),
    ("abnormal held", lambda one: figure(one.held_abnormal)),
    ("normal held", lambda one: figure(one.held_normal)),
    ("slice AUROC", lambda one: figure(one.slices.auroc if one.slices else None)),
    ("seconds a scan", _seconds),
)
"""Figures of patients and slices."""

VOXEL_COLUMNS: tuple[Column, ...] = (
    ("AUROC", _pooled("auroc")),
    ("AUROC30", _pooled("auroc30")),
    ("AP", _pooled("ap")),
    ("AU PRO", _pooled("aupro")),
    ("AU PRO30", _pooled("aupro30")),
    ("best Dice", _pooled("best_dice")),
    ("frozen Dice", lambda one: number(one.voxels.frozen_dice if one.voxels else None)),
    ("AP, patient mean", _patient_mean("ap")),
    ("frozen Dice, patient mean", _patient_mean("dice")),
    ("lesions touched", _touched),
    ("first region on lesion", _first),
)
"""Figures of voxels and regions."""
