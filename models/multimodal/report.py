"""The report on a cohort as one HTML file with nothing outside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from models.evaluation.association import PERMUTATIONS, Correlation
from models.evaluation.page import STYLE
from models.evaluation.tables import NONE, figure, number, p_value, table
from models.multimodal import figures
from models.multimodal.bundle import PAPER
from models.multimodal.evaluation import Evaluation
from models.multimodal.published import recomputed

_LIMITS = (
    "The cohort is its own reference: atypical means unlike these patients, not ill, not severe.",
    "A percentile of a cohort's own scores calls the same part of every cohort atypical.",
    "Few patients: an interval that spans half its scale says that nothing is known yet.",
)


def render(
    title: str,
    facts: Mapping[str, str],
    found: Evaluation,
    markers: Mapping[str, NDArray[np.float64]],
    *,
    notice: str = "",
    published: bool = False,
    limits: Sequence[str] = (),
) -> str:
    """Return the report as HTML.

    Args:
        title: of the report.
        facts: what was judged, by heading.
        found: the evaluation.
        markers: severity, as it was evaluated.
        notice: that the patients are made up; stands at the top and in every picture.
        published: whether the paper's statistics are given beside.
        limits: what this cohort cannot show, a sentence each.
    """
    notes = "".join(f"<li>{escape(one)}</li>" for one in (*limits, *_LIMITS))
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()
    )
    warned = f'<div class="limits"><h2>{escape(notice)}</h2></div>' if notice else ""
    parts = [
        f"<header><h1>{escape(title)}</h1><dl>{items}</dl></header>",
        warned,
        f'<div class="limits"><h2>What this cannot show</h2><ul>{notes}</ul></div>',
        _thresholds(found),
        _picture(figures.scores(found, notice), "Scores in-sample and cross-fitted."),
        _severity(found),
        _picture(figures.severity(found, dict(markers), notice), "Score against severity."),
        _discordant(found, notice),
        _variables(found),
        _published() if published else "",
        _patients(found),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _thresholds(found: Evaluation) -> str:
    count = len(found.p_values)
    rows = [
        (
            False,
            [
                escape(name),
                number(cut.value) if isfinite(cut.value) else "none: too few patients",
                f"{cut.atypical} of {count}",
            ],
        )
        for name, cut in found.cuts.items()
    ]
    above = found.above_in_sample_cut
    quartiles = {
        "in-sample": np.percentile(found.fitted.in_sample, (50, 25, 75)),
        "cross-fitted": np.percentile(found.fitted.held_out, (50, 25, 75)),
    }
    words = "; ".join(
        f"{name}: median {median:.2f}, interquartile range {low:.2f} to {high:.2f}"
        for name, (median, low, high) in quartiles.items()
    )
    return (
        "<h2>Scores and thresholds</h2>"
        f"<p>{escape(words)}.</p>"
        + table(["threshold", "value", "atypical"], rows)
        + f"<p>The in-sample threshold would call {100 * above.value:.0f} % "
        f"({100 * above.low:.0f} to {100 * above.high:.0f} %) of patients atypical whom the model "
        "has not seen: a new patient belongs against the cross-fitted scores.</p>"
    )


def _severity(found: Evaluation) -> str:
    if not found.associations:
        return ""
    rows = [
        (
            False,
            [
                escape(one.marker),
                str(one.held_out.patients),
                *_cells(one.in_sample),
                *_cells(one.held_out),
                *(_cells(one.without) if one.without else [NONE, NONE]),
            ],
        )
        for one in found.associations
    ]
    exact = all(one.held_out.exact for one in found.associations)
    how = (
        "every order counted"
        if exact
        else f"{PERMUTATIONS:,} random orders: all orders of more than 8 patients cannot be counted"
    )
    return (
        "<h2>Severity</h2>"
        + table(
            ["marker", "n", "in-sample rho", "p", "cross-fitted rho", "p", "marker hidden", "p"],
            rows,
        )
        + f"<p>Spearman's rho with Bonett and Wright's interval; two-sided p by permutation, "
        f"{how}. Not corrected for the number of markers. A score that has seen a marker follows "
        "it in part by construction; with the marker hidden it cannot.</p>"
    )


def _cells(one: Correlation) -> list[str]:
    return [figure(one.rho, signed=True), p_value(one.p_value)]


def _discordant(found: Evaluation, notice: str) -> str:
    picture = figures.discordance(found, notice)
    if picture is None:
        return ""
    return "<h2>Image and function, patient by patient</h2>" + _picture(
        picture,
        "Left: how far the scan alone departs from the cohort (disc) and how impaired function is "
        "(square), as percentiles; black where they lie half the cohort apart. Right: exact "
        "contributions to the cross-fitted score; they and the baseline add up to it.",
    )


def _variables(found: Evaluation) -> str:
    shares = found.fitted.contributions
    rows: list[tuple[bool, list[str]]] = []
    missing = found.cohort.table.missing
    for index, player in enumerate(shares.players):
        own = shares.values[:, index]
        if player not in missing and not found.discordance:
            continue
        explained = found.explained.get(player)
        rows.append(
            (
                False,
                [
                    escape(player),
                    str(missing[player]) if player in missing else "",
                    f"{own.mean():+.2f}",
                    f"{own.std():.2f}",
                    NONE if explained is None else f"{explained:+.2f}",
                ],
            )
        )
    head = ["variable", "not measured", "mean contribution", "spread"]
    note = f"Cross-fitted; baseline {shares.baseline:.2f}."
    if found.explained:
        head.append("explained by the scan")
        note += (
            " Explained: part of the variance that the scan alone explains in patients not seen; "
            "under 0 the cohort's mean is the better guess."
        )
    rows = [(floor, cells[: len(head)]) for floor, cells in rows]
    return f"<h2>Variables</h2>{table(head, rows)}<p>{escape(note)}</p>"


def _published() -> str:
    rows = [
        (False, [escape(one.quantity), escape(one.published), escape(one.ours), escape(one.how)])
        for one in recomputed()
    ]
    return (
        "<h2>The published statistics, computed again</h2>"
        + table(["figure", "published", "ours", "how"], rows)
        + f"<p>{escape(PAPER)}. Only what its figures allow; no patient was published.</p>"
    )


def _patients(found: Evaluation) -> str:
    fitted, shares = found.fitted, found.fitted.contributions
    order = np.argsort(-fitted.held_out, kind="stable")
    gap = None if found.discordance is None else found.discordance.gap
    rows: list[tuple[bool, list[str]]] = []
    for one in order:
        top = np.argsort(-shares.values[one])[:3]
        rows.append(
            (
                False,
                [
                    escape(found.cohort.table.patients[one]),
                    f"{fitted.held_out[one]:.2f}",
                    p_value(float(found.p_values[one])),
                    f"{fitted.in_sample[one]:.2f}",
                    NONE if gap is None or not isfinite(gap[one]) else f"{gap[one]:+.2f}",
                    escape(
                        ", ".join(
                            f"{shares.players[index]} {shares.values[one, index]:+.1f}"
                            for index in top
                            if shares.values[one, index] > 0
                        )
                    ),
                ],
            )
        )
    head = ["patient", "cross-fitted", "p", "in-sample", "image less function", "mostly from"]
    return "<details><summary>Patients</summary>" + table(head, rows, "close") + "</details>"


def _picture(png: bytes | None, caption: str) -> str:
    if png is None:
        return ""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
