"""Pages of other terms: tried on past studies, in shadow, and put in force; and hold rates."""

from __future__ import annotations

from pathlib import Path

from support.pages import Pages, text_of
from support.past import Archive
from support.waiting import until

from gatekeeper.backtest import shadowing
from gatekeeper.configuration import policy
from gatekeeper.gate import people
from gatekeeper.settings import Settings
from storage import shadows
from storage.records import ShadowState

HOSTILE = "<script>alert(1)</script>\u202e"
RATE = {"kind": "rate", "rate": "0.02"}


def test_a_shadow_is_begun_reported_and_put_in_force(pages: Pages, tmp_path: Path) -> None:
    """With a reason, by a physicist; the table has both sides and the paired test."""
    archive = Archive(pages.database, tmp_path)
    form = {"name": "lower <b>", "why": HOSTILE, **RATE}
    assert pages.post("/models/shadows", form, "admin").status_code == 403
    assert pages.post("/models/shadows", form | {"why": ""}, "physicist").status_code == 422
    assert pages.post("/models/shadows", form | {"rate": "7"}, "physicist").status_code == 422
    begun = pages.post("/models/shadows", form, "physicist")
    assert begun.status_code == 303, begun.text
    archive.judge_all((0.01, 0.03, 0.5))
    assert shadowing.catch_up(pages.database, archive.spool, Settings(), 100) == 3

    listed = pages.get("/models/shadows", "viewer")
    assert "<script>alert(1)" not in listed.text
    assert "\u202e" not in listed.text
    shown = pages.get("/models/shadows/lower <b>", "viewer")
    text = text_of(shown.text)
    assert "McNemar p" in text
    assert "Put in force" not in text
    assert "1.2.826.0.1.19.2" in text
    path = "/models/shadows/lower <b>"
    assert pages.post(path, {"do": "activate", "why": ""}, "physicist").status_code == 422
    done = pages.post(path, {"do": "activate", "why": "fewer holds"}, "physicist")
    assert done.status_code == 303, done.text
    with pages.database.read() as tx:
        assert policy.in_force(tx, Settings()).models.false_hold_rate == 0.02
        found = shadows.get(tx, "lower <b>")
    assert found is not None
    assert found.state is ShadowState.ACTIVATED
    assert pages.post(path, {"do": "end"}, "physicist").status_code == 422
    assert pages.get("/models/shadows/none").status_code == 404


def test_past_studies_are_decided_by_other_terms_in_a_thread(pages: Pages, tmp_path: Path) -> None:
    """The page shows how far it is and what would change; another model is a worker's work."""
    Archive(pages.database, tmp_path).judge_all((0.01, 0.03, 0.5))
    assert pages.post("/models/backtest", RATE, "viewer").status_code == 403
    worker = pages.post("/models/backtest", {"kind": "model", "model": "mr-brain-t1"}, "physicist")
    assert worker.status_code == 422
    assert "gatekeeper backtest --model mr-brain-t1" in text_of(worker.text)

    assert pages.post("/models/backtest", RATE, "physicist").status_code == 303
    until(
        lambda: "McNemar p" in pages.get("/models/backtest/latest", "viewer").text,
        60,
        "the backtest has ended",
    )
    text = text_of(pages.get("/models/backtest", "viewer").text)
    assert "3 studies in" in text
    assert "1.2.826.0.1.19.2" in text


def test_rates_and_the_latest_series_stand_beside_what_is_promised(
    pages: Pages, tmp_path: Path
) -> None:
    """Realised with exact interval and n; with too few labels that is said, with enough a curve."""
    archive = Archive(pages.database, tmp_path)
    assert "No series was judged" in text_of(pages.get("/models/rates").text)
    clear = archive.judge_all([0.1 + 0.05 * number for number in range(12)])
    held = archive.judge_all([0.01] * 6, device=HOSTILE)

    rates = pages.get("/models/rates", "viewer")
    assert "<script>alert(1)" not in rates.text
    assert "\u202e" not in rates.text
    assert "0 of 12" in text_of(rates.text)
    card = text_of(pages.get("/models/mr-brain-t1", "viewer").text)
    assert "Too few for a curve: reviewers called 0 abnormal and 0 normal" in card
    with pages.database.begin() as tx:
        for job in range(min(clear), max(held) + 1):
            people.comment(tx, f"1.2.826.0.1.19.{job}", "ben", agrees=True, remark="")
    card = text_of(pages.get("/models/mr-brain-t1", "viewer").text)
    assert "of 6 abnormal and 12 normal" in card
    assert "exact, n = 12" in card
