"""Page: a backtest or a table of rates as one HTML file that needs no other.

Studies are named by their UID, and scanners by the names of their calibrations: the page is for
the site that made it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from gatekeeper.backtest import figures
from gatekeeper.backtest.comparison import Comparison, Pair
from gatekeeper.backtest.rates import Rate
from gatekeeper.backtest.tables import (
    COLUMNS,
    LIMITS,
    RATE_COLUMNS,
    RATE_LIMITS,
    changed_row,
    comparison_rows,
    rate_row,
)
from models.evaluation.page import STYLE

MOST_CHANGED = 2000
"""Changed studies that the page lists; `--json` has all."""


def of_comparison(comparison: Comparison, title: str) -> str:
    """Return the page of a backtest."""
    total = comparison.total
    parts = [
        _heading(title, {"candidate": comparison.candidate, "studies": f"{total.studies:,}"}),
        _list("limits", "What this can say", (*comparison.problems, *LIMITS)),
        "<h2>Held before and after</h2>",
        _table(COLUMNS, comparison_rows(comparison)),
        _left_out(comparison),
        _picture(
            figures.p_values(comparison),
            "p-values by device and protocol: above what is in force, below the candidate.",
            "",
        ),
        _picture(figures.transitions(comparison), "Verdicts before and after.", "small"),
        f"<h2>Studies that would be decided otherwise ({len(comparison.changed):,})</h2>",
        _table(
            ("study", "device and protocol", "before", "after"),
            [_changed(pair) for pair in comparison.changed[:MOST_CHANGED]],
        ),
    ]
    if len(comparison.changed) > MOST_CHANGED:
        parts.append(f"<p>The first {MOST_CHANGED:,} of them; <code>--json</code> has all.</p>")
    return _page(title, parts)


def of_rates(found: Sequence[Rate], title: str) -> str:
    """Return the page of a table of rates."""
    return _page(
        title,
        [
            _heading(title, {"lines": str(len(found))}),
            _list("limits", "What this can say", RATE_LIMITS),
            _table(RATE_COLUMNS, [rate_row(one) for one in found]),
            _picture(figures.rates(found), "Realised rates and what was promised.", ""),
        ],
    )


def _changed(pair: Pair) -> tuple[str, ...]:
    study, before, after = changed_row(pair)
    return (study, pair.origin.place, before, after)


def _left_out(comparison: Comparison) -> str:
    if not comparison.not_replayable:
        return "<p>Every study could be decided again.</p>"
    found = [f"{count:,}: {reason}" for reason, count in sorted(comparison.not_replayable.items())]
    return _list("limits", "Not replayable", found)


def _heading(title: str, facts: dict[str, str]) -> str:
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()
    )
    return f"<header><h1>{escape(title)}</h1><dl>{listed}</dl></header>"


def _list(kind: str, title: str, sentences: Iterable[str]) -> str:
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<section class="{kind}"><h2>{escape(title)}</h2><ul>{lines}</ul></section>'


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="wide"><table class="close"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _picture(png: bytes | None, caption: str, size: str) -> str:
    if png is None:
        return ""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure class="{size}"><img alt="{escape(caption)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _page(title: str, parts: Sequence[str]) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        + "".join(parts)
        + "</main></body></html>\n"
    )
