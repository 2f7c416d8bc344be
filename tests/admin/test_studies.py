"""The pages of studies and of what is held: found, told whole, and decided by a person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.explained import clinical, lesions
from support.objects import mr_slice
from support.pages import Pages, running_pages, text_of
from support.passage import EXPLICIT, MR, Passage
from support.past import Series, evidence
from support.web import settings_for
from work.phantoms import encoded

from gatekeeper import study_index
from gatekeeper.admin.timeline import Span, draw
from gatekeeper.settings import IndexSettings
from storage import audit, feedback, instances
from storage.engine import Database
from storage.records import Instance

STUDY = "1.2.826.0.1.77.{}"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Passage:
    return Passage(tmp_path, database)


def come(site: Passage, number: int, name: str, **header: Any) -> str:
    """Receive and complete a study of a patient, and read its header."""
    study = STUDY.format(number)
    image = mr_slice(1)
    image.SOPInstanceUID, image.StudyInstanceUID = f"{study}.1.1", study
    image.SeriesInstanceUID, image.SpecificCharacterSet = f"{study}.1", "ISO_IR 192"
    image.PatientName = name
    for keyword, value in header.items():
        setattr(image, keyword, value)
    kept = site.spool.store(encoded(image))
    given = (str(image.SOPInstanceUID), MR, EXPLICIT, study, f"{study}.1", "MR", kept.digest)
    with site.database.begin() as tx:
        instances.record(tx, Instance(*given, kept.size, "SCANNER"), None)
    site.complete(study)
    study_index.read_due(site.database, site.spool, IndexSettings())
    return study


def judged(site: Passage, number: int, name: str, verdict: str = "SUSPECT", **header: Any) -> str:
    study = come(site, number, name, **header)
    site.judge(study, verdict, **evidence([Series(0.02, device="SKYRA")], uid=study))
    return study


def patients(page: str) -> Sequence[str]:
    return re.findall(r'class="row-link"[^>]*>([^<]*)<', page)


@pytest.fixture
def pages(tmp_path: Path, site: Passage) -> Any:
    """Run the pages on the spool and the database of the site."""
    with running_pages(settings_for(tmp_path / "spool"), site.database) as found:
        yield found


def test_a_study_is_found_by_name_verdict_and_hold(site: Passage, pages: Pages) -> None:
    """What is asked for stands in the form again, and the list holds that and nothing else."""

    judged(site, 1, "Meier^Anna", "CLEAR")
    judged(site, 2, "Sørensen^Kåre")

    assert patients(pages.get("/studies").text) == ["Sørensen Kåre", "Meier Anna"]
    page = pages.get("/studies?text=kare&verdict=SUSPECT&held=yes").text
    assert patients(page) == ["Sørensen Kåre"]
    assert 'value="kare"' in page
    assert patients(pages.get("/studies?held=no").text) == ["Meier Anna"]
    assert "No study has all that is asked for" in pages.get("/studies?text=nobody").text
    assert "there is no such stage" in pages.get("/studies?stage=nonsense").text
    assert "it is no date" in pages.get("/studies?study_from=yesterday").text


def test_a_long_listing_comes_in_pages_that_hold_every_study_once(
    site: Passage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link to older studies leads on, with the same filter; what is known is not sent again."""

    monkeypatch.setattr("gatekeeper.admin.pages.studies.STUDIES_A_PAGE", 2)
    for number in range(5):
        come(site, number, f"P{number}")
    path, found = "/studies?modality=MR", []
    first = pages.get("/studies/list?modality=MR")
    again = pages.get("/studies/list?modality=MR", X_Seen=first.headers["x-seen"])
    assert (first.status_code, again.status_code) == (200, 204)
    while path:
        page = pages.get(path).text
        found += patients(page)
        older = re.search(r'href="(/studies\?modality=MR&amp;after=[^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else ""
    assert found == ["P4", "P3", "P2", "P1", "P0"]


def test_everything_of_a_study_is_on_its_page(site: Passage, pages: Pages) -> None:
    """Header, verdict with its reason and evidence, way, forwards and who decided."""

    study = judged(site, 1, "Meier^Anna", StudyDescription="MR Head", SoftwareVersions="E11")
    said = text_of(pages.get(f"/studies/{study}").text)
    for expected in (
        "Meier Anna",
        "MR Head",
        "E11",
        "SUSPECT",
        "Because SUSPECT.",
        "Is it like the reference?",
        "Waiting for analysis",
        "Held from AI",
        "going on",
        "Held by policy as SUSPECT.",
        "copied at once",
    ):
        assert expected in said
    assert "Audit trail" in said
    assert "Audit trail" not in text_of(pages.get(f"/studies/{study}", "viewer").text)
    assert pages.get("/studies/1.2.3").status_code == 404


def test_lesions_and_the_clinical_score_are_on_the_page_where_a_site_has_them(
    site: Passage, pages: Pages
) -> None:
    """Where, how large, how likely and by whom; what it comes from and lacks; else not a word."""

    plain = judged(site, 1, "Meier^Anna")
    said = text_of(pages.get(f"/studies/{plain}").text)
    assert "Lesions" not in said
    assert "clinical values" not in said
    study = come(site, 2, "Roth^Eva")
    known = evidence([Series(0.5), Series(0.5)], uid=study)
    first, second = known["series"]
    first |= {
        "lesions": lesions(HOSTILE),
        "clinical": clinical(),
        "grid": {"shape": [12, 64, 64], "spacing_mm": [2, 1.4, 1.4]},
    }
    second["lesions"] = lesions(kept_extent=False)
    site.judge(study, "CLEAR", **known, lesion_problems=["Not scored for malignancy: the rest."])
    page = pages.get(f"/studies/{study}").text
    assert HOSTILE not in page
    said = text_of(page)
    for expected in (
        "segment 2 of a segmentation that came with the study",
        "slices 5 to 9 of 12, largest on 6 numbered 105 to 109 by other viewers",
        "14.0 × 15.4 mm 10.0 mm through the slices, 1.59 ml",
        "51.8 % 95 % interval 32.0 to 65.7 %",
        "Extrapolated",
        "holds where 50 % of such lesions are malignant",
        "6 patients with benign and 7 with malignant lesions",
        "not released for patients",
        "Not tested on: Children.",
        "outside the scan.",
        "Not scored for malignancy: the rest.",
        "slice 6 1.59 ml",
        "decides nothing",
        "Score 17.5 13.9 where nothing is known",
        "Percentile 90 of 41 calibration patients",
        "Conformal p-value 0.119",
        "the scan itself +4.50 the images",
        "diffusing capacity for CO, percent of predicted -0.90 a report by DICOM",
        "counted as unknown: forced expiratory volume in 1 s, percent of predicted.",
    ):
        assert expected in said


def test_what_a_scanner_wrote_is_text_and_nothing_else(site: Passage, pages: Pages) -> None:
    """Markup, letters that turn the direction, and long words do nothing on any of the pages."""

    texts = (HOSTILE, "\u202egnp.exe", "W" * 64, "a\N{COMBINING ACUTE ACCENT}")
    for number, text in enumerate(texts):
        given = {"StudyDescription": text, "StationName": text[:16], "PatientID": text}
        study = judged(site, number, text, **given)
        paths = ("/studies", f"/studies/{study}", "/held", f"/held?study={study}")
        for page in (pages.get(path).text for path in paths):
            assert HOSTILE not in page
            assert "\u202e" not in page


def test_a_reviewer_releases_what_is_held_and_the_trail_says_so(
    site: Passage, pages: Pages
) -> None:
    """The account's name and the typed reason stand in the trail; the study is sent on."""

    study = judged(site, 1, "Meier^Anna")
    page = pages.get(f"/held?study={study}", "reviewer").text
    assert 'action="/held/decide"' in page
    form = {"study": study, "decision": "release", "reason": "harmless"}
    answer = pages.post("/held/decide", form, "reviewer")
    assert (answer.status_code, answer.headers["location"]) == (303, "/held")
    assert "Released to AI." in pages.get("/held", "reviewer").text
    assert site.forwards(study) == ["sent"]
    with site.database.read() as tx:
        line = audit.listing(tx, study=study)[0]
    assert (line.actor, line.action, line.detail["reason"]) == ("reviewer", "release", "harmless")


def test_a_decision_without_a_reason_is_told_on_the_form(site: Passage, pages: Pages) -> None:
    """Nothing is decided, what was typed stays, and the study waits as before."""

    study = judged(site, 1, "Meier^Anna")
    form = {"decision": "reject", "node": "AI", "reason": " "}
    answer = pages.post(f"/studies/{study}/decide", form, "reviewer")
    assert answer.status_code == 422
    assert "the reason is empty" in answer.text
    assert site.forwards(study) == ["held"]

    answer = pages.post(f"/studies/{study}/decide", form | {"reason": "moved"}, "reviewer")
    assert answer.status_code == 303
    assert site.forwards(study) == ["rejected"]
    answer = pages.post(f"/studies/{study}/decide", form | {"reason": "moved"}, "reviewer")
    assert answer.status_code == 422
    assert "is not held (AI: rejected by reviewer)" in text_of(answer.text)
    assert "moved" in answer.text


def test_an_opinion_is_kept_beside_the_verdict(site: Passage, pages: Pages) -> None:
    """It counts into the realised false-hold rate, and stands on the page."""

    study = judged(site, 1, "Meier^Anna")
    form = {"opinion": "disagree", "remark": f"only {HOSTILE} motion"}
    assert pages.post(f"/studies/{study}/decide", form).status_code == 303
    with site.database.read() as tx:
        assert feedback.realised(tx).held == 1
    page = pages.get(f"/studies/{study}").text
    assert "anna disagrees with SUSPECT" in text_of(page)
    assert HOSTILE not in page


def test_who_may_not_review_sees_no_form_and_decides_nothing(site: Passage, pages: Pages) -> None:
    """A study is a reviewer's to decide about, not an administrator's."""

    study = judged(site, 1, "Meier^Anna")
    assert "Your decision" not in pages.get(f"/studies/{study}", "admin").text
    for path in ("/held/decide", f"/studies/{study}/decide"):
        form = {"study": study, "decision": "release", "reason": "x"}
        assert pages.post(path, form, "admin").status_code == 403
    assert site.forwards(study) == ["held"]


def test_held_studies_come_in_the_order_in_which_their_holds_end(
    site: Passage, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the least time left is on top, page by page."""

    monkeypatch.setattr("gatekeeper.admin.pages.held.STUDIES_A_PAGE", 2)
    for number in range(3):
        judged(site, number, f"P{number}")
    page = pages.get("/held").text
    assert patients(page) == ["P0", "P1"]
    later = re.search(r'href="(/held\?after=[^"]+)"', page)
    assert later is not None
    assert patients(pages.get(later[1]).text) == ["P2"]
    assert "in 23 h 59 min" in text_of(page)


def test_the_picture_keeps_the_order_of_what_happened() -> None:
    """A second beside a day can be seen, and nothing lies outside the picture."""

    spans = [
        Span("received", 0.0, 1.0, "done"),
        Span("judged", 1.0, 4.0, "done"),
        Span("held", 4.0, None, "held"),
        Span("backwards", 4.0, 3.0, "wait"),
    ]
    lines = draw(spans, 86404.0)
    assert [line.seconds for line in lines] == [1.0, 3.0, 86400.0, 0.0]
    assert all(line.left >= 0 and line.left + line.width <= 1000.1 for line in lines)
    assert lines[0].left + lines[0].width == pytest.approx(lines[1].left)
    assert 0 < lines[0].width < lines[1].width < lines[2].width
    assert draw([], 1.0) == []
