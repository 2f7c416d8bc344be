"""What a browser and a program are told of what there is not."""

from __future__ import annotations

import httpx
from support.pages import Pages, text_of

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_a_browser_gets_a_page_and_a_program_json(pages: Pages) -> None:
    """Who is signed in finds the way back; a path of a program is never a page."""
    found = pages.get("/no-such-page", **BROWSER)
    assert found.status_code == 404
    assert found.headers["content-type"].startswith("text/html")
    assert "There is no such page" in text_of(found.text)
    assert 'href="/nodes"' in found.text
    nobody = httpx.get(pages.url + "/<script>", headers=BROWSER)
    assert "Sign in" in text_of(nobody.text)
    assert "<script>" not in nobody.text.partition("<main")[2]
    wrong = httpx.put(pages.url + "/sign-in", headers=BROWSER)
    assert (wrong.status_code, "cannot be done" in text_of(wrong.text)) == (405, True)
    for path in ("/dicom-web/nothing", "/api/nothing"):
        found = httpx.get(pages.url + path, headers=BROWSER)
        assert found.status_code == 404
        assert found.headers["content-type"].endswith("json")
