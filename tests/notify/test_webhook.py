"""Webhooks: signed, verified, by HTTPS, not redirected, and ended at a deadline."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from notify.conftest import KEY, Site
from support.authority import Authority
from support.ears import Hook, webhook

from gatekeeper.errors import ConfigurationError
from gatekeeper.notify.address import webhook_target
from gatekeeper.notify.events import JobDead
from storage.records import Notification, NotificationState

STUDY = "1.2.826.0.1.77.5"
DEAD = JobDead(job=7, study=STUDY, reason="analysis failed: it crashed")


def told(site: Site, url: str, **changes: Any) -> Notification:
    """Return what becomes of one attempt to tell a webhook at `url`."""
    site.change(**changes)
    site.channel("hook", url)
    assert site.announce(DEAD) == 1
    return site.attempt("hook")


def as_documented() -> dict[str, Any]:
    """Return the names that the example in the administrator's guide defines."""
    guide = Path(__file__).parents[2] / "docs" / "administrator.md"
    (example,) = re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102
    return names


def test_a_webhook_is_told_once_in_json_under_the_notifications_delivery_id(site: Site) -> None:
    """The body has what the channel may know, and our own number to look up the rest."""
    with webhook() as hook:
        found = told(site, hook.url())

    assert found.state is NotificationState.SENT
    (post,) = hook.posts
    body = json.loads(post.body)
    assert post.path == "/hook?site=1"
    assert post.headers["Content-Type"] == "application/json"
    assert post.headers["Gatekeeper-Delivery"] == body["id"] == found.delivery_id
    assert (body["event"], body["site"], body["number"]) == ("job-dead", "GATEKEEPER", found.id)
    assert body["facts"] == {"job": 7, "reason": "analysis failed: it crashed"}
    assert body["look_up"] == f"gatekeeper notification show {found.id}"


def test_the_documented_example_tells_a_genuine_request_from_any_other(site: Site) -> None:
    """Body, timestamp and key are all signed, and an old request is refused."""
    with webhook() as hook:
        told(site, hook.url())
    (post,) = hook.posts
    genuine = as_documented()["is_genuine"]
    later = {**post.headers, "Gatekeeper-Timestamp": str(int(time.time()) + 1)}

    assert genuine(post.headers, post.body, KEY, time.time())
    assert not genuine(post.headers, post.body + b" ", KEY, time.time())
    assert not genuine(post.headers, post.body, KEY + "x", time.time())
    assert not genuine(later, post.body, KEY, time.time())
    assert not genuine(post.headers, post.body, KEY, time.time() + 3600)


def test_https_is_taken_from_the_host_that_the_certificate_names(
    site: Site, authority: Authority
) -> None:
    """A certificate of our CA for this very host."""
    with webhook(identity=authority.issue("127.0.0.1")) as hook:
        found = told(site, hook.url("https"))

    assert (found.state, found.reason) == (NotificationState.SENT, "")
    assert len(hook.posts) == 1


@pytest.mark.parametrize("whose", ["stranger", "other host"])
def test_a_wrong_certificate_is_refused_before_anything_is_said(
    site: Site, authority: Authority, stranger: Authority, whose: str
) -> None:
    """Neither a CA that nobody trusts nor another host's certificate will do."""
    issued = {
        "stranger": lambda: stranger.issue("127.0.0.1"),
        "other host": lambda: authority.issue("elsewhere.example"),
    }[whose]()
    with webhook(identity=issued) as hook:
        found = told(site, hook.url("https"))

    assert found.state is NotificationState.QUEUED
    assert found.reason.startswith("the webhook: TLS: its certificate ")
    assert hook.posts == []


def test_a_redirect_is_not_followed(site: Site) -> None:
    """It would take the facts to an address that nobody entered."""
    with webhook(302) as hook:
        found = told(site, hook.url())

    assert found.reason == "the webhook answered 302; redirects are not followed"
    assert len(hook.posts) == 1


def test_a_server_that_answers_byte_by_byte_is_cut_at_the_deadline(site: Site) -> None:
    """Each byte comes in time and the whole never does."""
    with webhook(*["drip"] * 2) as hook:
        found = told(site, hook.url(), attempt_seconds=0.5)

    assert (found.state, found.reason) == (NotificationState.QUEUED, "no answer within 0.5 s")
    assert len(hook.posts) == 1


def test_a_server_that_is_not_there_is_named(site: Site) -> None:
    """A refused connection is a failed attempt."""
    with webhook() as hook:
        pass
    found = told(site, hook.url())

    assert found.state is NotificationState.QUEUED
    assert found.reason == f"no connection to 127.0.0.1:{hook.port}: Connection refused"


def test_without_a_key_nothing_is_sent(site: Site) -> None:
    """An unsigned request would look like anybody's."""
    with webhook() as hook:
        found = told(site, hook.url(), webhook_key="short")

    assert found.reason.startswith("notify.webhook_key: webhooks are signed")
    assert hook.posts == []


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://hook.example/", "https alone"),
        ("https://user:secret@hook.example/", "no user and no password"),
        ("ftp://hook.example/", "not a URL"),
        ("https://hook.example:99999/", "not a URL"),
        ("https:///path", "not a URL"),
        ("https://hook.example/a b", "not a URL"),
        ("https://hook.example/\r\nHost: x", "not a URL"),
    ],
)
def test_a_url_that_breaks_a_rule_is_refused_by_it(url: str, problem: str) -> None:
    """Plain http is for the hosts that the settings name."""
    with pytest.raises(ConfigurationError, match=problem):
        webhook_target(url, ("127.0.0.1",))


def test_a_hook_that_takes_nothing_is_not_told_by_http_unless_named(site: Site) -> None:
    """A setting that is taken back holds for what waits too."""
    hook = Hook(port=9)
    found = told(site, hook.url(), plain_hosts=())

    assert found.reason == "webhook: https alone; notify.plain_hosts names exceptions"
