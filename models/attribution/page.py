"""Page: maps with their checks as one HTML file, and every figure as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from models.attribution import drawing, lesions, slices
from models.attribution.localisation import Summary
from models.attribution.sanity import FOLLOWS_UNDER, IGNORES_OVER, Sanity
from models.evaluation.page import document, picture
from models.evaluation.tables import NONE, figure, number, table

_LIMITS = tuple(
    f"""\
A map shows what the answer of this network rests on, not where disease is, and not whether the \
answer is right.
Each map is one way of asking. Two that disagree are two questions, not one right answer.
The sanity check draws the network's layers anew and makes the map again. A rank correlation under \
{FOLLOWS_UNDER} says that the map follows the weights, one over {IGNORES_OVER} that it does not \
depend on what was learned: such a map is struck out. Passing is necessary, not sufficient: a map \
that follows the weights may still mislead.""".splitlines()
)
_LESION_LIMITS = tuple(
    """\
Red speaks for malignant, blue for benign, in units of the logit before calibration; each map has \
its own scale.
Occlusion shows the network an image like none it was trained on: part of what it answers is that.\
""".splitlines()
)
_SLICE_LIMITS = tuple(
    """\
Roll-out follows attention alone: not what was done with what was fetched, and no sign. It does \
not know the network's last layer at all, which the cascade shows.
Tokens were mixed before: the encoder that made them has seen more than their own pixels.\
""".splitlines()
)
_CHECK_NOTE = (
    "How like the trained network's maps those of networks are in which all layers were drawn "
    "anew; means over images and draws, of absolute values. 'Changes at layer': the first, counted "
    "from the output, with which the map falls to a rank correlation of 0.6; what layers nearer to "
    "the output learned is not in the map, whatever the verdict."
)
_PLACE_NOTE = (
    "Share of the map inside the outline, beside the outline's share of the area, which is what a "
    "map that knows nothing has; and how often the highest place is inside. Intervals are 95 %, "
    "over patients."
)


def lesion_page(found: lesions.Explained, facts: Mapping[str, str], most: int) -> str:
    """Return the page of explained patches.

    Args:
        found: the patches.
        facts: what heads the page.
        most: patches drawn.
    """
    checks = {one.name: one.sanity for one in found.methods}
    places = {one.name: one.place for one in found.methods if one.place is not None}
    gap = next((one.gap for one in found.methods if one.gap is not None), 0.0)
    settings = found.settings
    how = (
        f"<p>Occlusion: windows of {settings.window} x {settings.window} pixels of 1.4 mm, every "
        f"{settings.stride}; the fall of the logit when the window shows lung "
        f"({lesions.LUNG_HU:.0f} HU) or its surroundings (blurred, {settings.blur:.0f} pixels). "
        f"Integrated gradients: {settings.steps} points from lung; they miss the change of the "
        f"logit by {gap:.1%} of its mean at most.</p>"
    )
    body = (
        picture(drawing.lesion_picture(found, most), "Patches, each with its maps and their check.")
        + _checked(checks)
        + _placed(places)
        + how
    )
    return document("Lesions: what the answer rests on", facts, [*_LIMITS, *_LESION_LIMITS], body)


def slice_page(found: slices.Explained, facts: Mapping[str, str], most: int) -> str:
    """Return the page of explained slices; see `lesion_page`."""
    seen = sum(one.looked.seen for one in found.slices) / len(found.slices)
    usual = sum(one.looked.seen_even for one in found.slices) / len(found.slices)
    how = (
        f"<p>Judged are the {found.settings.fraction:.0%} most surprising tokens of the brain in "
        f"one slice of each scan. Roll-out is in multiples of even attention: 1 is a place looked "
        f"at as if nothing had been learned. Of what was looked at, {seen:.0%} are "
        f"{escape(found.seen_is)}; even attention would give {usual:.0%}. "
        f"{len(found.slices)} scans, {found.refused} could not be judged.</p>"
    )
    caption = "Slices, each with its maps and their check."
    body = (
        picture(drawing.slice_picture(found, most), caption)
        + _checked(found.checks)
        + _placed(found.places)
        + how
    )
    return document("Tokens: where the transformer looked", facts, [*_LIMITS, *_SLICE_LIMITS], body)


def lesion_json(found: lesions.Explained) -> str:
    """Return every figure of explained patches as JSON."""
    return _json(
        {
            "patches": len(found.lesions),
            "methods": {
                one.name: {
                    "sanity": one.sanity.as_json(),
                    "place": one.place.as_json() if one.place else None,
                    "completeness_gap": one.gap,
                }
                for one in found.methods
            },
        }
    )


def slice_json(found: slices.Explained) -> str:
    """Return every figure of explained slices as JSON."""
    return _json(
        {
            "scans": len(found.slices),
            "refused": found.refused,
            "seen_is": found.seen_is,
            "seen": [round(one.looked.seen, 4) for one in found.slices],
            "seen_even": [round(one.looked.seen_even, 4) for one in found.slices],
            "sanity": {name: one.as_json() for name, one in found.checks.items()},
            "places": {name: one.as_json() for name, one in found.places.items()},
        }
    )


def _checked(checks: Mapping[str, Sanity]) -> str:
    rows = [
        (
            False,
            [
                escape(name),
                number(one.rank),
                number(float(one.whole_ranks.mean(0).max())),
                number(one.structure),
                escape(one.changes_at) or NONE,
                escape(str(one.verdict)),
            ],
        )
        for name, one in checks.items()
    ]
    rank = ("rank correlation, randomised", "of the worst image")
    head = ["map", *rank, "SSIM", "changes at layer", "verdict"]
    drawn = picture(
        drawing.cascade_picture(dict(checks)),
        "What is left as layers are drawn anew. Green: follows the weights; red: does not.",
        "medium",
    )
    return f"<h2>Sanity check</h2><p>{_CHECK_NOTE}</p>" + table(head, rows) + drawn


def _placed(places: Mapping[str, Summary]) -> str:
    if not places:
        return ""
    rows = [
        (
            False,
            [
                escape(name),
                str(one.patients),
                figure(one.mass),
                number(one.area),
                figure(one.excess, signed=True),
                figure(one.hits),
            ],
        )
        for name, one in places.items()
    ]
    head = [
        "map",
        "patients",
        "mass inside",
        "area inside (chance)",
        "mass less area",
        "top inside",
    ]
    return f"<h2>Does it lie in the outline?</h2><p>{_PLACE_NOTE}</p>" + (table(head, rows) or NONE)


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(_plain(record), indent=1)


def _plain(value: Any) -> Any:
    """Return a record without what JSON has no word for: an interval that is none is null."""
    from models.evaluation.plain import finite

    return finite(value)
