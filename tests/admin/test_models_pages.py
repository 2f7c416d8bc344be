"""The models' pages: who answers for what, chosen with a reason and taken back."""

from __future__ import annotations

from support.pages import Pages, text_of

from storage import configuration_versions as versions


def test_a_bundle_is_chosen_with_a_reason_and_taken_back(pages: Pages) -> None:
    """By a physicist alone; each time a version with name and reason, as of the command."""
    assert "mr-brain-t1 answers, as the default" in text_of(pages.get("/models", "viewer").text)
    card = text_of(pages.get("/models/mr-brain-t1-atlas", "viewer").text)
    assert "Does not answer for any profile" in card
    assert "Activate" not in card
    form = {"profile": "MR/BRAIN/T1", "why": "quicker <b>here</b>"}
    path = "/models/mr-brain-t1-atlas/activate"
    assert pages.post(path, form, "admin").status_code == 403
    assert pages.post(path, form | {"why": " "}, "physicist").status_code == 422
    refused = pages.post(path, form | {"profile": "CT/CHEST/"}, "physicist")
    assert refused.status_code == 422
    assert "is made for MR/BRAIN/T1" in text_of(refused.text)
    assert "quicker &lt;b&gt;here" in refused.text

    done = pages.post(path, form, "physicist")
    assert done.status_code == 303, done.text
    assert "mr-brain-t1-atlas answers, chosen by" in text_of(pages.get("/models").text)
    assert "quicker <b>here</b>" in text_of(pages.get("/models/history").text)
    assert pages.post("/models/rollback", {"why": ""}, "physicist").status_code == 422
    back = pages.post("/models/rollback", {"why": "it held too much"}, "physicist")
    assert back.status_code == 303
    assert "mr-brain-t1 answers, as the default" in text_of(pages.get("/models").text)
    with pages.database.read() as tx:
        made = [(one.who, one.why) for one in versions.listing(tx, 2)]
    assert made == [("physicist", "it held too much"), ("physicist", "quicker <b>here</b>")]
    nothing = pages.post("/models/rollback", {"why": "again"}, "physicist")
    assert "there is no change to undo" in text_of(nothing.text)
    assert pages.get("/models/no-such-bundle").status_code == 404
