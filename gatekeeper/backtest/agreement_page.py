"""Agreement page: verdicts against reviewers' words as one HTML file that needs no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from math import isfinite
from typing import Any, cast

import numpy as np

from gatekeeper.backtest.agreement import Agreement
from models.evaluation.drawing import OKABE_ITO, label, legend_below, panels, png
from models.evaluation.intervals import Figure
from models.evaluation.page import document, picture
from models.evaluation.plain import finite
from models.evaluation.tables import NONE, figure, number, table

LIMITS = (
    "Intervals are 95 %, and take studies as independent.",
    "A reviewer has seen the verdict: agreement is easier than a diagnosis made without it.",
    "'Corrected' supposes that studies nobody reviewed are like reviewed ones of their verdict.",
    "That correction is Begg and Greenes' (1983), as reviewers look at held studies first.",
    "Review some passed studies, drawn at random: few of them make the corrected figures vague.",
    "Sensitivity here is for what a reviewer notices, not for what a pathologist finds.",
    "Predictive values are at the stated prevalence, from the corrected figures.",
)


def render(found: Sequence[Agreement], since: str = "") -> str:
    """Return the page."""
    facts = {
        "Studies": f"{found[0].words.flagged} held, {found[0].words.passed} passed",
        "Reviewed": f"{_reviewed(found[0])}; as many for as against: {found[0].words.split}",
        **({"Since": since} if since else {}),
    }
    rows = [(False, _row(one)) for one in found]
    head = (
        "detector",
        "abnormal: held of reviewed",
        "normal: held of reviewed",
        "sensitivity",
        "corrected",
        "specificity",
        "corrected",
        "AUROC of the p-value",
    )
    body = "<h2>Held and passed, against what reviewers said</h2>" + table(head, rows)
    if found[0].predictive:
        body += "<h2>At a stated prevalence</h2>" + table(
            ("detector", "prevalence", "abnormal if held (PPV)", "normal if passed (NPV)"),
            [
                (
                    False,
                    [
                        escape(one.detector),
                        number(each.prevalence),
                        figure(each.positive),
                        figure(each.negative),
                    ],
                )
                for one in found
                for each in one.predictive
            ],
        )
    if (drawn := _drawn(found)) is not None:
        body += picture(drawn, "Plain and corrected, with their 95 % intervals.", "medium")
    return document("The gate and its reviewers", facts, LIMITS, body)


def as_plain(found: Sequence[Agreement]) -> list[dict[str, Any]]:
    """Return every figure as plain values; what is undefined is None."""
    return [cast("dict[str, Any]", finite(asdict(one))) for one in found]


def _reviewed(one: Agreement) -> str:
    words = one.words
    return f"{words.tp + words.fp} held, {words.fn + words.tn} passed"


def _row(one: Agreement) -> list[str]:
    words, plain, better = one.words, one.table, one.corrected
    return [
        escape(one.detector),
        f"{words.tp} of {words.tp + words.fn}",
        f"{words.fp} of {words.fp + words.tn}",
        figure(plain.sensitivity) if plain else NONE,
        figure(better.sensitivity) if better else NONE,
        figure(plain.specificity) if plain else NONE,
        figure(better.specificity) if better else NONE,
        figure(one.auroc),
    ]


def _drawn(found: Sequence[Agreement]) -> bytes | None:
    shown = [one for one in found if one.table is not None]
    if not shown:
        return None
    drawing, both = panels(2, (9.0, 1.8 + 0.5 * len(shown)))
    for panel, name in zip(both, ("sensitivity", "specificity"), strict=True):
        for row, one in enumerate(shown):
            for source, marker, colour, shift in (
                (one.table, "o", OKABE_ITO[0], -0.1),
                (one.corrected, "s", OKABE_ITO[1], 0.1),
            ):
                value = cast("Figure | None", getattr(source, name, None))
                if value is not None and isfinite(value.value):
                    ends = np.nan_to_num([value.value - value.low, value.high - value.value])
                    panel.errorbar(
                        [value.value],
                        [row + shift],
                        xerr=np.abs(ends)[:, None],
                        fmt=marker,
                        color=colour,
                        markersize=4,
                        capsize=2.5,
                    )
        label(panel, name, name, "")
        panel.set_yticks(range(len(shown)), [one.detector for one in shown], fontsize=7)
        panel.set_ylim(len(shown) - 0.5, -0.5)
    both[0].plot((), (), "o", color=OKABE_ITO[0], label="of reviewed studies")
    both[0].plot((), (), "s", color=OKABE_ITO[1], label="corrected for the others")
    legend_below(drawing, both[0])
    return png(drawing)
