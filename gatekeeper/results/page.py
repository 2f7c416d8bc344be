"""Pages for people: a Structured Report as one self-contained HTML file, and the contact sheet.

Everything that comes out of the report is escaped. The page loads nothing from anywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from gatekeeper.results import codes
from gatekeeper.results.catalogue import Catalogue, english
from gatekeeper.results.sheet import contact_sheet
from gatekeeper.results.style import STYLE
from gatekeeper.results.texts import Text
from gatekeeper.results.tree import (
    children,
    code_of,
    code_parts,
    date_text,
    descendants,
    person_text,
    time_text,
    value_of,
)
from gatekeeper.rules.verdict import Verdict

__all__ = ["contact_sheet", "report_html"]

_GROUP = Code("125007", "DCM", "Measurement Group")
_TRACKING = Code("112039", "DCM", "Tracking Identifier")
_VERDICTS = {code: verdict for verdict, code in codes.VERDICTS.items()}
_LEVEL_COLUMNS = {
    codes.LevelPart.SCORE: Text.PAGE_SCORE,
    codes.LevelPart.MEDIAN: Text.PAGE_MEDIAN,
    codes.LevelPart.P_VALUE: Text.PAGE_P_VALUE,
}
_REGION_COLUMNS = (
    (codes.VOLUME, Text.PAGE_VOLUME),
    (codes.MAP_PEAK, Text.PAGE_PEAK),
    (codes.MAP_MEAN, Text.PAGE_MEAN),
    *zip(codes.CENTRE, (Text.PAGE_LEFT, Text.PAGE_BACK, Text.PAGE_HEAD), strict=True),
)
_HEADLINE = (codes.P_VALUE, codes.HOLD_RATE, codes.REFERENCES, codes.SCORE)


def report_html(
    report: Dataset, picture: bytes | None = None, words: Catalogue | None = None
) -> str:
    """Return a Structured Report as HTML: the verdict on top, then words, numbers, the tree.

    Args:
        report: a report made by `gatekeeper.results.report`; any other SR shows its tree.
        picture: a PNG to show below the words, as `contact_sheet` makes it.
        words: of the report's language; English when not given.
    """
    words = words or english()
    verdict = _verdict(report)
    label = words.verdict(verdict) if verdict else words.say(Text.PAGE_NO_VERDICT)
    lines = [value_of(item) for item in _opening(report)]
    conclusion = lines[0].removeprefix(f"{label}. ") if lines else ""
    parts = [
        f'<header class="verdict {escape((verdict or "none").lower())}">',
        f"<p class=label>{escape(label)}</p>",
        f"<p>{escape(conclusion)}</p></header>",
        _facts(report, words),
        *(f"<p>{escape(line)}</p>" for line in lines[1:]),
    ]
    if picture is not None:
        data = base64.b64encode(picture).decode("ascii")
        parts.append(
            f'<img alt="{_said(words, Text.PAGE_PICTURE)}" src="data:image/png;base64,{data}">'
        )
    groups = [item for item in descendants(report) if code_of(item) == _GROUP]
    parts += [_group(item, words) for item in groups if not _is_region(item)]
    parts += _regions([item for item in groups if _is_region(item)], words)
    parts += _background(report, words)
    parts.append(
        f"<details><summary>{_said(words, Text.PAGE_TREE)}</summary>"
        f"<ul class=tree>{_tree(report)}</ul></details>"
    )
    parts.append(_footer(report, words))
    title = words.say(Text.PAGE_TITLE_NONE)
    if verdict:
        title = words.say(Text.PAGE_TITLE, verdict=verdict)
    return (
        f'<!doctype html>\n<html lang="{escape(words.language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _said(words: Catalogue, text: Text) -> str:
    """Return a text without placeholders, escaped."""
    return escape(words.say(text))


def _name(item: Dataset, words: Catalogue) -> str:
    """Return an item's concept in the page's language, escaped."""
    return _named(code_of(item), words)


def _named(code: Code, words: Catalogue) -> str:
    return escape(words.concept(code.value) or code.meaning)


def _value(item: Dataset) -> Code:
    """Return the code that a CODE item has for its value."""
    return Code(*code_parts(item.ConceptCodeSequence))


def _facts(report: Dataset, words: Catalogue) -> str:
    """Return who and what was scanned."""
    facts = (
        (Text.PAGE_PATIENT, person_text(report.get("PatientName"))),
        (Text.PAGE_PATIENT_ID, report.get("PatientID")),
        (Text.PAGE_BORN, date_text(report.get("PatientBirthDate"))),
        (Text.PAGE_SEX, report.get("PatientSex")),
        (Text.PAGE_STUDY, report.get("StudyDescription")),
        (Text.PAGE_STUDY_DATE, date_text(report.get("StudyDate"))),
        (Text.PAGE_ACCESSION, report.get("AccessionNumber")),
    )
    shown = [(_said(words, name), str(value)) for name, value in facts if value]
    return (
        "<dl class=facts>"
        + "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in shown)
        + "</dl>"
    )


def _group(group: Dataset, words: Catalogue) -> str:
    """Return one measurement group: what it is of, its numbers, its levels, where it lies."""
    numbers = {code_of(item).value: item for item in children(group) if item.ValueType == "NUM"}
    title = _title(group)
    tiles = [numbers.pop(code.value) for code in _HEADLINE if code.value in numbers]
    levels = _levels(numbers, words)
    rows = "".join(
        f"<tr><th>{_name(item, words)}</th><td>{escape(value_of(item))}</td></tr>"
        for item in numbers.values()
    )
    evaluations = "".join(
        f"<tr><th>{_name(item, words)}</th><td>{_named(_value(item), words)}</td></tr>"
        for item in children(group)
        if item.ValueType == "CODE" and item.RelationshipType == "CONTAINS"
    )
    headline = "".join(
        f"<div><dt>{_name(item, words)}</dt><dd>{escape(value_of(item))}</dd></div>"
        for item in tiles
    )
    return (
        f"<section><h2>{escape(title)}</h2>"
        + (f"<dl class=tiles>{headline}</dl>" if headline else "")
        + levels
        + f"<table>{evaluations}{rows}</table></section>"
    )


def _title(group: Dataset) -> str:
    """Return the group's tracking identifier."""
    return next((value_of(item) for item in children(group) if code_of(item) == _TRACKING), "")


def _is_region(group: Dataset) -> bool:
    return any(_value(item) == codes.REGION for item in children(group) if item.ValueType == "CODE")


def _regions(groups: Sequence[Dataset], words: Catalogue) -> list[str]:
    """Return all regions as one table; none when there is no region."""
    lines: list[str] = []
    for group in groups:
        values = {code_of(item).value: value_of(item) for item in children(group)}
        cells = [values.get(code.value, "") for code, _ in _REGION_COLUMNS]
        lines.append(
            f"<tr><th>{escape(_title(group))}</th>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    if not lines:
        return []
    names = (Text.PAGE_WHERE, *(name for _, name in _REGION_COLUMNS))
    heads = "".join(f"<th>{_said(words, name)}</th>" for name in names)
    table = f"<table class=levels><tr>{heads}</tr>{''.join(lines)}</table>"
    return [f"<section><h2>{_said(words, Text.PAGE_REGIONS)}</h2>{table}</section>"]


def _levels(numbers: dict[str, Dataset], words: Catalogue) -> str:
    """Take the levels' numbers out of `numbers` and return them as a table, a row each."""
    names: dict[str, str] = {}
    values: dict[tuple[str, codes.LevelPart], str] = {}
    for value, item in list(numbers.items()):
        level = codes.level_of(code_of(item))
        if level is not None:
            names[level.key] = level.name
            values[level.key, level.part] = value_of(numbers.pop(value))
    if not names:
        return ""
    lines = [
        f"<tr><th>{escape(name)}</th>"
        + "".join(f"<td>{escape(values.get((key, part), ''))}</td>" for part in _LEVEL_COLUMNS)
        + "</tr>"
        for key, name in names.items()
    ]
    columns = (Text.PAGE_LEVEL, *_LEVEL_COLUMNS.values())
    heads = "".join(f"<th>{_said(words, column)}</th>" for column in columns)
    return f'<table class="levels by-level"><tr>{heads}</tr>{"".join(lines)}</table>'


def _opening(report: Dataset) -> list[Dataset]:
    """Return the sentences that open the report."""
    found: list[Dataset] = []
    for item in children(report):
        if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS":
            found.append(item)
        elif code_of(item) in (codes.CONCLUSIONS, codes.FINDINGS):
            found += [child for child in children(item) if child.ValueType == "TEXT"]
    return found


def _background(report: Dataset, words: Catalogue) -> list[str]:
    """Return the comments on how it came about, for those who look closer."""
    lines = [
        f"<li>{escape(value_of(child))}</li>"
        for item in children(report)
        if code_of(item) in (codes.QUALITATIVE_EVALUATIONS, codes.PROCEDURE_DESCRIPTIONS)
        for child in children(item)
        if child.ValueType == "TEXT"
    ]
    if not lines:
        return []
    heading = _said(words, Text.PAGE_BACKGROUND)
    return [f"<section><h2>{heading}</h2><ul>{''.join(lines)}</ul></section>"]


def _verdict(report: Dataset) -> Verdict | None:
    """Return the first verdict that the report codes: the study's, or its only series'."""
    for item in (*children(report), *descendants(report)):
        if item.ValueType == "CODE":
            value = _value(item)
            if value in _VERDICTS:
                return _VERDICTS[value]
    return None


def _footer(report: Dataset, words: Catalogue) -> str:
    flags = [
        str(report.get(keyword, ""))
        for keyword in ("CompletionFlag", "VerificationFlag", "PreliminaryFlag")
    ]
    evidence = sum(
        len(series.ReferencedSOPSequence)
        for study in report.get("CurrentRequestedProcedureEvidenceSequence", ())
        for series in study.ReferencedSeriesSequence
    )
    maker = f"{report.get('Manufacturer', '')} {report.get('SoftwareVersions', '')}"
    made = f"{date_text(report.get('ContentDate'))} {time_text(report.get('ContentTime'))}"
    zone = report.get("TimezoneOffsetFromUTC") or "UTC"
    kind = UID(str(report.get("SOPClassUID", ""))).name
    line = words.say(
        Text.PAGE_FOOTER,
        flags=", ".join(flags).lower(),
        kind=kind,
        count=evidence,
        moment=made,
        zone=str(zone),
        maker=maker,
    )
    return (
        f"<footer><p>{escape(line)}</p>"
        f"<p class=uid>{escape(str(report.get('SOPInstanceUID', '')))}</p></footer>"
    )


def _tree(item: Dataset) -> str:
    """Return a content item and what is below it as nested lists."""
    below = "".join(_tree(child) for child in children(item))
    name, value = code_of(item).meaning, value_of(item)
    kind = f"<span class=kind>{escape(str(item.ValueType))}</span> "
    line = kind + escape(name) + (f": <b>{escape(value)}</b>" if value else "")
    return f"<li>{line}{f'<ul>{below}</ul>' if below else ''}</li>"
