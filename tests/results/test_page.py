"""Pages for people show everything, escape everything, and load nothing."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from results.golden_study import assessed_study

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.capture import heatmap_series
from gatekeeper.results.common import to_bytes
from gatekeeper.results.page import contact_sheet, report_html
from gatekeeper.results.report import report
from gatekeeper.results.tree import descendants, value_of
from models.finding import Level

HOSTILE = '<script>alert("x")</script>&amp;'


def page_of(study: StudyAssessment, picture: bytes | None = None) -> str:
    """Return the page of a study's report, as read back from its file."""
    dataset = report(study)
    assert dataset is not None
    return report_html(dcmread(io.BytesIO(to_bytes(dataset))), picture)


class _Reader(HTMLParser):
    """Collects text, and checks that every element that is opened is closed."""

    _VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def read(page: str) -> _Reader:
    """Return what a browser would make of a page."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_a_page_says_all_that_the_report_says(mni_study: StudyAssessment) -> None:
    """Every value of the content tree is in the page's text, the verdict first."""
    dataset = report(mni_study)
    assert dataset is not None
    text = " ".join(read(page_of(mni_study)).text)

    for item in descendants(dataset):
        assert value_of(item) in text
    assert text.index("SUSPECT") < text.index("Research: not for diagnostic use")
    assert "Yamada, Tarou / 山田, 太郎" in text


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=80)


def level_rows(page: str) -> list[list[str]]:
    """Return the text of each cell of the table of levels, row by row, heads first."""
    table = page.split('<table class="levels by-level">')[1].split("</table>", maxsplit=1)[0]
    return [
        re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)
    ]


def with_levels(study: StudyAssessment, names: Sequence[str]) -> StudyAssessment:
    """Return the study with these levels, whose numbers tell which is which."""
    (series,) = study.series
    assert series.finding is not None
    levels = tuple(
        Level(name, "Is it?", place + 0.25, (place + 1) / 128, 19, place + 0.5)
        for place, name in enumerate(names)
    )
    finding = replace(series.finding, levels=levels, regions=())
    return replace(study, series=(replace(series, finding=finding),))


def test_levels_of_members_keep_their_names_and_numbers() -> None:
    """Names too long for a code value, alike in their first letters, have a row each."""
    names = ("features.geometry", "features.global", "features.focal", "quality.artefacts")

    rows = level_rows(page_of(with_levels(assessed_study(), names)))

    assert rows == [
        ["Level", "Score", "Reference median", "p-value"],
        *(
            [name, f"{place + 0.25:.4g}", f"{place + 0.5:.4g}", f"{(place + 1) / 128:.4g}"]
            for place, name in enumerate(names)
        ),
    ]


@settings(max_examples=8, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=12, unique=True))
def test_every_level_has_a_row_of_its_own(names: list[str]) -> None:
    """Whatever the levels are called: score, median and p-value of each, in its order."""
    rows = level_rows(page_of(with_levels(assessed_study(), names)))[1:]

    assert len({row[0] for row in rows}) == len(names)
    assert [row[1:] for row in rows] == [
        [f"{place + 0.25:.4g}", f"{place + 0.5:.4g}", f"{(place + 1) / 128:.4g}"]
        for place in range(len(names))
    ]


def test_what_comes_from_outside_is_escaped(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """A header full of markup shows as text and runs nothing."""
    slices = [deepcopy(one) for one in mni_slices[:3]]
    for one in slices:
        one.SeriesDescription = HOSTILE
        one.StudyDescription = HOSTILE
        one.PatientID = HOSTILE
        one.PatientName = HOSTILE
    for study in (assess(slices), assess(slices, p_value=None, reason=HOSTILE)):
        reader = read(page_of(study))

        assert "script" not in reader.tags
        assert HOSTILE in "".join(reader.text)


def test_a_page_loads_nothing(mni_study: StudyAssessment) -> None:
    """No address, no script: the page is one file, its picture inside."""
    sheet = contact_sheet(heatmap_series(mni_study, mni_study.series[0]))
    page = page_of(mni_study, sheet)

    assert re.findall(r"(?:https?:|src=\"(?!data:)|href=|url\(|@import)", page) == []
    assert "data:image/png;base64," in page


def test_a_text_report_has_a_page_too(mni_slices: Sequence[Dataset], assess: Any) -> None:
    """What was not assessed shows its reason under its verdict, and no tables."""
    reader = read(page_of(assess(mni_slices, p_value=None, reason="Not assessed: no profile.")))
    text = " ".join(reader.text)

    assert "UNCALIBRATED" in text
    assert "Not assessed: no profile." in text
    assert "table" not in reader.tags


def test_any_report_shows_its_tree() -> None:
    """A report that is not ours has no verdict, and its tree is shown."""
    root = Dataset()
    root.ValueType = "CONTAINER"
    root.ContentSequence = [Dataset()]
    root.ContentSequence[0].ValueType = "TEXT"
    root.ContentSequence[0].RelationshipType = "CONTAINS"
    root.ContentSequence[0].TextValue = "Nothing of ours."
    text = " ".join(read(report_html(root)).text)

    assert "No verdict" in text
    assert "Nothing of ours." in text


@pytest.mark.parametrize("peaks", [((0.5, 0.5, 0.5, 7.0),), ()], ids=["suspect", "flat"])
def test_a_contact_sheet_is_a_picture_of_the_slices(
    mni_slices: Sequence[Dataset], assess: Any, peaks: Any
) -> None:
    """The sheet is a PNG with slices and legend, and the same on a second run."""
    study = assess(mni_slices, peaks=peaks)
    images = heatmap_series(study, study.series[0])

    sheet = contact_sheet(images)

    picture = np.asarray(Image.open(io.BytesIO(sheet)))
    assert picture.shape[1] > 1000
    assert picture.std() > 20
    assert contact_sheet(images) == sheet


def test_each_series_has_its_part_of_the_sheet(
    mni_study: StudyAssessment, pelvis_slices: Sequence[Dataset], assess: Any
) -> None:
    """Heatmaps of two series are shown one above the other, each with its legend."""
    other = assess(pelvis_slices[:6])
    one = heatmap_series(mni_study, mni_study.series[0])
    two = heatmap_series(other, other.series[0])

    heights = [Image.open(io.BytesIO(contact_sheet(part))).height for part in (one, two)]
    both = Image.open(io.BytesIO(contact_sheet([*one, *two]))).height

    assert both == sum(heights)


def test_a_sheet_of_nothing_is_refused() -> None:
    """There is no picture of no heatmap."""
    with pytest.raises(ValueError, match="at least one heatmap"):
        contact_sheet([])
