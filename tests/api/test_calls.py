"""What programs do by REST: find, decide, pause, configure, and be refused in words."""

from __future__ import annotations

import pytest
from api.conftest import Api
from support.explained import clinical, lesions
from support.objects import mr_slice
from support.passage import Passage
from support.past import Series, evidence
from work.phantoms import encoded

from gatekeeper.identity import tokens as keys
from gatekeeper.identity.permission import Permission
from gatekeeper.settings import Settings
from storage import audit, nodes
from storage.records import Scope

STUDY = "1.2.826.0.1.78.{}"


def held(site: Passage, number: int) -> str:
    study = STUDY.format(number)
    site.receive(study)
    site.complete(study)
    site.judge(study, "SUSPECT", **evidence([Series(0.02)], uid=study))
    return study


def test_scopes_are_the_permissions() -> None:
    """What a page needs, a token can be given, by the same name."""
    assert {one.value for one in Permission} <= {one.value for one in Scope}


def test_a_held_study_is_found_and_released_under_the_name_of_the_token(
    api: Api, site: Passage
) -> None:
    """A second release is refused with the state that it found, and the audit trail says who."""

    study = held(site, 1)
    token = api.token("workflow", Permission.VIEW, Permission.REVIEW)
    [found] = api.call("GET", "/held", token).json()["items"]
    assert (found["study_instance_uid"], found["forwards"][0]["state"]) == (study, "held")
    [listed] = api.call("GET", "/studies?verdict=SUSPECT&held=true", token).json()["items"]
    assert (listed["stage"], listed["held_from"]) == ("done", ["AI"])

    body = {"reason": "it is a clip"}
    done = api.call("POST", f"/studies/{study}/release", token, body)
    assert (done.status_code, [one["state"] for one in done.json()]) == (200, ["sent"])
    again = api.call("POST", f"/studies/{study}/release", token, body)
    assert again.status_code == 409
    assert again.headers["content-type"] == "application/problem+json"
    assert "is not held (AI: sent by token workflow)" in again.json()["detail"]
    blank = api.call("POST", f"/studies/{study}/release", token, {"reason": "  "})
    assert blank.json()["wrong"][0]["place"] == "body.reason"
    whole = api.call("GET", f"/studies/{study}", token).json()
    gated = [one for one in whole["forwards"] if one["gated"]]
    assert [one["decided_by"] for one in gated] == ["token workflow"]
    assert whole["jobs"][0]["outcome"]["verdict"] == "SUSPECT"
    with api.database.read() as tx:
        assert audit.listing(tx, study)[0].actor == "token workflow"


def test_what_explains_a_verdict_is_answered_field_by_field(api: Api, site: Passage) -> None:
    """Lesions and clinical score as on the study's page, and what was not kept once as null."""

    study = STUDY.format(1)
    site.receive(study)
    site.complete(study)
    known = evidence([Series(0.5), Series(0.5)], uid=study)
    known["series"][0] |= {"lesions": lesions(), "clinical": clinical()}
    known["series"][1]["lesions"] = lesions(kept_extent=False)
    site.judge(study, "CLEAR", **known)
    answer = api.call("GET", f"/studies/{study}", api.token("viewing", Permission.VIEW)).json()
    told = answer["jobs"][0]["outcome"]["explanations"]
    first, older = told["lesions"]
    (lesion,) = first["lesions"]
    assert (first["series_instance_uid"], first["trial"]) == (f"{study}.1", True)
    assert (lesion["slices"], lesion["images"], lesion["slice"]) == ([5, 9], [105, 109], 6)
    assert (lesion["probability"], lesion["interval"]) == (0.518, [0.32, 0.657])
    assert [older["lesions"][0][name] for name in ("slices", "size_mm")] == [None, None]
    (score,) = told["clinical"]
    assert round(score["percentile"], 1) == 90.2
    assert [one["name"] for one in score["contributions"]] == ["image", "dlco", "fev1"]
    assert score["missing"] == ["forced expiratory volume in 1 s, percent of predicted"]


def test_a_list_comes_in_pages_that_hold_everything_once(api: Api, site: Passage) -> None:
    """`next` leads on until it is null; a place that is none is refused."""

    studies = [held(site, number) for number in range(5)]
    token = api.token("lister", Permission.VIEW)
    for path in ("/studies", "/held"):
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = api.call("GET", f"{path}?limit=2&after={after}", token).json()
            found += [one["study_instance_uid"] for one in page["items"]]
            after = page["next"]
        assert sorted(found) == sorted(studies)
    refused = api.call("GET", "/studies?after=nonsense", token)
    assert (refused.status_code, refused.json()["type"]) == (
        422,
        "urn:gatekeeper:problem:not-a-place",
    )


def test_a_change_for_another_version_is_refused(api: Api) -> None:
    """With If-Match, what somebody else changed meanwhile is not overwritten."""

    token = api.token("setup", Permission.VIEW, Permission.CONFIGURE)
    body = {"host": "10.0.0.9", "port": 104, "roles": ["archive"]}
    first = api.call("PUT", "/nodes/NEW", token, body)
    assert first.status_code == 200, first.text
    seen = api.call("GET", "/nodes/NEW", token)
    assert seen.headers["etag"] == first.headers["etag"]
    other = api.call("PUT", "/policy/gate.suspect", token, {"value": "forward"})
    assert (other.status_code, other.json()["is_set"]) == (200, True)
    late = api.call("DELETE", "/nodes/NEW", token, If_Match=seen.headers["etag"])
    assert (late.status_code, "not" in late.json()["detail"]) == (412, True)
    now = api.call("GET", "/nodes", token).headers["etag"]
    gone = api.call("DELETE", "/nodes/NEW?why=moved", token, If_Match=now)
    assert gone.status_code == 200
    version = api.call("GET", "/configuration/versions?limit=1", token).json()["items"][0]
    assert (version["who"], version["why"]) == ("token setup", "moved")
    with api.database.read() as tx:
        assert nodes.get(tx, "NEW") is None


def test_clinical_values_are_kept_as_a_whole_or_not_at_all(api: Api, site: Passage) -> None:
    """What is wrong with a row is said with its number, and nothing of it is kept."""

    token = api.token("laboratory", Permission.VIEW, Permission.OPERATE)
    study = held(site, 1)
    good = {"study": study, "name": "fvc", "value": 93, "unit": "%"}
    refused = api.call(
        "POST", "/clinical-values", token, {"rows": [good, {**good, "unit": "parsec"}]}
    )
    assert (refused.status_code, "row 2" in refused.json()["detail"]) == (422, True)
    kept = [api.call("POST", "/clinical-values", token, {"rows": [good]}).json() for _ in range(2)]
    assert kept == [{"new": 1, "known": 0}, {"new": 0, "known": 1}]
    [told] = api.call("GET", f"/studies/{study}/clinical-values", token).json()
    assert (told["given_value"], told["reference"]) == (93, "token laboratory")


def test_what_breaks_a_rule_is_refused_with_the_rule(api: Api) -> None:
    """Nodes, rules, stages, versions, models and policies each say which rule it is."""

    token = api.token("setup", *Permission)
    for method, path, body, status, said in (
        ("PUT", "/nodes/NEW", {"host": "a", "port": 1, "roles": ["giraffe"]}, 422, "not allowed"),
        ("PUT", "/nodes/A\\B", {"host": "a"}, 422, "AE title"),
        ("PUT", "/rules/x", {"then": [{"forward": "NOBODY"}]}, 422, "NOBODY"),
        ("PUT", "/rules/x", {"when": ["Colour is red"], "then": []}, 422, "Colour"),
        ("POST", "/queue/delivery/resume", None, 409, "is not paused"),
        ("POST", "/configuration/versions/99/restore", None, 404, "no version"),
        ("PUT", "/models/active/MR/BRAIN/T1", {"bundle": "none"}, 422, "not installed"),
        ("PUT", "/policy/web.port", {"value": 1}, 422, "not set in the database"),
        ("GET", "/studies/1.2.3", None, 404, "no study"),
        ("GET", "/nowhere", None, 404, "no such"),
        ("PUT", "/held", {}, 405, "method"),
    ):
        answer = api.call(method, path, token, body)
        assert (answer.status_code, answer.headers["content-type"]) == (
            status,
            "application/problem+json",
        ), answer.text
        assert said in answer.json()["detail"]


def test_rules_are_tried_on_a_file_and_on_a_study(api: Api, site: Passage) -> None:
    """Nothing is done; what would be done is told with its tests."""

    study = held(site, 1)
    token = api.token("setup", Permission.VIEW, Permission.CONFIGURE)
    rule = {"when": ["Modality is MR"], "then": [{"priority": "urgent"}]}
    assert api.call("PUT", "/rules/night", token, rule).status_code == 200
    told = api.call("POST", "/trials/study", token, {"study": study}).json()
    assert "priority" in told["on_receipt"]["outcome"][-1]
    answer = api.pages.of("").post(
        api.url + "/trials/file",
        files={"file": encoded(mr_slice(1))},
        data={"verdict": "SUSPECT"},
        headers={"Authorization": f"Bearer {token}"},
    )
    [found] = answer.json()
    assert found["on_receipt"]["matches"][0]["because"] == ["Modality is MR: it is MR"]
    assert found["once_judged"] is not None


def test_the_text_of_a_token_is_told_once_and_ends_when_revoked(api: Api) -> None:
    """It may do what it was made for and nothing else, until it is revoked."""

    token = api.token("chief", Permission.ACCOUNTS)
    made = api.call("POST", "/tokens", token, {"name": "watch", "scopes": ["view"]})
    text = made.json()["token"]
    assert api.call("GET", "/status", text).status_code == 200
    refused = api.call("GET", "/audit", text)
    assert (refused.status_code, "'audit'" in refused.json()["detail"]) == (403, True)
    assert text not in api.call("GET", "/tokens", token).text
    assert api.call("DELETE", "/tokens/watch", token).status_code == 204
    gone = api.call("GET", "/status", text)
    assert (gone.status_code, "Bearer" in gone.headers["www-authenticate"]) == (401, True)
    assert api.call("GET", "/me", token).json()["permissions"] == ["accounts"]


def test_a_browser_calls_with_its_session_and_no_other_site_does(api: Api) -> None:
    """GET needs the cookie; what changes something has to come from a page of ours."""

    browser = api.browser("admin")
    assert browser.get(api.url + "/me").json()["name"] == "admin"
    path = api.url + "/queue/delivery/pause"
    there = {"Sec-Fetch-Site": "cross-site"}
    assert browser.post(path, json={"reason": "x"}, headers=there).status_code == 403
    assert browser.post(path, json={"reason": "x"}).status_code == 200
    assert api.browser("viewer").post(path, json={"reason": "x"}).status_code == 403


def test_the_name_of_a_token_fits_where_reviewers_are_named(api: Api) -> None:
    """The longest one that can be made is taken as the one who decides."""
    with api.database.begin() as tx:
        keys.make(tx, Settings(), "x" * 56, [Scope.REVIEW], "tests")
    with pytest.raises(keys.TokenRefused), api.database.begin() as tx:
        keys.make(tx, Settings(), "x" * 57, [Scope.REVIEW], "tests")
