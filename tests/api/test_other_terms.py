"""Other terms by REST: tried on past studies, begun as a shadow, put in force, and refused."""

from __future__ import annotations

from api.conftest import Api
from support.passage import Passage
from support.past import Series, evidence
from support.waiting import until

from gatekeeper.identity.permission import Permission
from storage import policies

STUDY = "1.2.826.0.1.79.1"
STRICTER = {"policy": {"models.false_hold_rate": 0.01}}


def test_other_terms_are_tried_and_put_in_force(api: Api, site: Passage) -> None:
    """A backtest counts what would pass, and a shadow's terms come into force under a name."""
    site.receive(STUDY)
    site.complete(STUDY)
    site.judge(STUDY, "SUSPECT", **evidence([Series(0.02)], uid=STUDY))
    token = api.token("physicist", Permission.VIEW, Permission.JUDGE)
    assert api.call("GET", "/backtests/latest", token).status_code == 404

    begun = api.call("POST", "/backtests", token, STRICTER)
    assert (begun.status_code, begun.json()["who"]) == (202, "token physicist")
    until(
        lambda: api.call("GET", "/backtests/latest", token).json()["seconds"] is not None,
        60,
        "the backtest ends",
    )
    found = api.call("GET", "/backtests/latest", token).json()
    assert found["problem"] == ""
    assert found["report"]["total"]["studies"] == found["report"]["total"]["newly_passed"] == 1
    assert [one["study"] for one in found["report"]["changed"]] == [STUDY]

    body = {**STRICTER, "name": "stricter", "reason": "fewer holds"}
    made = api.call("POST", "/shadows", token, body)
    assert (made.status_code, made.json()["state"]) == (201, "running")
    assert api.call("POST", "/shadows", token, body).status_code == 409
    whole = api.call("GET", "/shadows/stricter", token).json()
    assert whole["report"]["total"]["studies"] == 0
    activate = "/shadows/stricter/activate"
    assert api.call("POST", activate, token, {"reason": "it is right"}).status_code == 204
    assert api.call("POST", activate, token, {"reason": "again"}).status_code == 409
    assert api.call("POST", "/shadows/stricter/end", token).status_code == 409
    with api.database.read() as tx:
        assert policies.values(tx) == {"models.false_hold_rate": 0.01}


def test_terms_that_cannot_be_are_refused_in_words(api: Api) -> None:
    """Neither, both, a key that may not be set, a bundle that there is not."""
    token = api.token("physicist", Permission.JUDGE)
    for terms, rule in (
        ({}, "either values of the policy or a model"),
        ({**STRICTER, "model": "x"}, "either values of the policy or a model"),
        ({"policy": {"listen.port": 1}}, "listen.port"),
        ({"policy": {"models.false_hold_rate": 7}}, "at most"),
        ({"model": "no-such-bundle"}, "no-such-bundle"),
    ):
        answer = api.call("POST", "/shadows", token, {**terms, "name": "x", "reason": "y"})
        assert answer.status_code == 422, terms
        assert rule in answer.json()["detail"]
