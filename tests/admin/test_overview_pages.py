"""The overview and the health page: what needs a person is said, and where to deal with it."""

from __future__ import annotations

from support.pages import Pages, text_of

from gatekeeper import queue
from storage import pauses
from storage.queues import Stage


def test_a_quiet_site_is_in_no_trouble(pages: Pages) -> None:
    """Nothing is invented, and where to begin is said."""

    page = text_of(pages.get("/", "viewer").text)
    assert "Nothing is in trouble" in page
    assert "No study has come yet" in page


def test_what_stands_still_is_on_the_overview(pages: Pages) -> None:
    """A paused stage and paused intake, each with where to go."""

    with pages.database.begin() as tx:
        queue.pause(tx, Stage.DELIVERY, "anna", "the PACS is being moved")
        pauses.pause(tx, "disk")
    page = pages.get("/", "viewer").text
    assert "delivery is paused by anna: the PACS is being moved" in text_of(page)
    assert 'href="/watch"' in page
    assert "by the disk since" in text_of(pages.get("/watch", "viewer").text)


def test_the_whole_site_is_checked_from_a_page(pages: Pages) -> None:
    """What `gatekeeper check` says, for whoever operates it."""

    assert pages.get("/watch/check", "viewer").status_code == 403
    assert "Is this site fit to run?" in text_of(pages.get("/watch/check", "admin").text)


def test_the_conformance_statement_is_handed_out(pages: Pages) -> None:
    """As a file, for the running configuration."""

    for kind in ("html", "md"):
        answer = pages.get(f"/watch/conformance.{kind}", "viewer")
        assert "attachment" in answer.headers["content-disposition"]
        assert "GATEKEEPER" in answer.text
