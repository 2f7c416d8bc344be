"""Who may call: tokens, scopes, nodes, and addresses that guess."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from listen.wire import sqlite_only
from support.web import SENDER, Web, multipart, part10, running_web, settings_for

from gatekeeper.web.access import new_token
from gatekeeper.web.throttle import Throttle
from storage import nodes, tokens
from storage.engine import Database
from storage.records import ApiToken, Node, Scope

BODY = multipart([part10("1.2.3.1")])


def status(web: Web, token: str | None, method: str = "GET") -> int:
    headers = {} if token is None else {"Authorization": token}
    return httpx.request(method, web.url + "/studies", headers=headers, timeout=60).status_code


def test_a_token_opens_what_its_scopes_say_and_nothing_else(web: Web) -> None:
    """401 without one that is valid, 403 for what it does not allow."""
    assert status(web, None) == 401
    assert status(web, "Basic eDp5") == 401
    assert status(web, f"Bearer {web.reader}") == 200
    assert status(web, f"bearer {web.reader}") == 200
    assert status(web, f"Bearer {web.reader[:-1]}") == 401
    assert status(web, f"Bearer {web.sender}") == 403
    assert web.stow(BODY, Authorization=f"Bearer {web.reader}").status_code == 403
    assert web.stow(BODY, Authorization="Bearer nonsense").status_code == 401
    assert web.kept("1.2.3.1") == []
    refused = httpx.get(web.url + "/studies", timeout=60)
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="gatekeeper"'


@sqlite_only
def test_a_token_that_is_revoked_or_expired_ends_at_once(web: Web) -> None:
    """With the next request, without a restart."""
    text, token = new_token("short", (Scope.READ,), "")
    with web.database.begin() as tx:
        tokens.add(tx, token, days=-1)
        tokens.revoke(tx, "reader")
    assert status(web, f"Bearer {text}") == 401
    assert status(web, f"Bearer {web.reader}") == 401


@sqlite_only
def test_a_token_sends_only_while_its_node_may(web: Web) -> None:
    """A node that is removed, disabled, or no sender any more takes its token's leave with it."""
    for node in (
        Node(SENDER, "127.0.0.1", 0, may_send=True, enabled=False),
        Node(SENDER, "127.0.0.1", 104, receives_results=True),
    ):
        with web.database.begin() as tx:
            nodes.save(tx, node)
        assert web.stow(BODY).status_code == 403
    with web.database.begin() as tx:
        nodes.remove(tx, SENDER)
    assert web.stow(BODY).status_code == 403
    with web.database.begin() as tx:
        nodes.save(tx, Node(SENDER, "127.0.0.1", 0, may_send=True))
    assert web.stow(BODY).status_code == 200


@sqlite_only
def test_an_address_that_guesses_has_to_wait(tmp_path: Path, database: Database) -> None:
    """After so many failures not even a valid token is looked at; the answer says until when."""
    with running_web(settings_for(tmp_path / "spool", {"failures": 3}), database) as web:
        assert [status(web, "Bearer guess") for _ in range(4)] == [401, 401, 401, 429]
        answer = web.get("/studies")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 301


def test_failures_are_forgotten_after_their_time_and_never_fill_memory() -> None:
    """By a clock of our own: other addresses are free, an IPv6 neighbour is not."""
    now = 0.0
    throttle = Throttle(2, 60.0, lambda: now)
    for _ in range(2):
        throttle.failed("2001:db8::1")
    assert throttle.wait("2001:db8::2") == 60.0
    assert throttle.wait("2001:db8:0:1::1") == 0.0
    assert throttle.wait("192.0.2.1") == 0.0
    now = 59.0
    throttle.failed("2001:db8::1")
    assert throttle.wait("2001:db8::1") == 1.0
    now = 61.0
    assert throttle.wait("2001:db8::1") == 0.0
    for number in range(20_000):
        throttle.failed(f"10.0.{number >> 8}.{number & 255}")
    assert len(throttle._failed) == 10_000  # pyright: ignore[reportPrivateUsage]


@sqlite_only
def test_every_answer_has_the_headers_that_keep_a_browser_out(web: Web) -> None:
    """Found, refused, unknown: nothing is stored, framed, sniffed or told of the server."""
    answers = [
        web.get("/studies"),
        httpx.get(web.url + "/studies", timeout=60),
        httpx.get(f"http://127.0.0.1:{web.port}/no-such-page", timeout=60),
        httpx.get(f"http://127.0.0.1:{web.port}/docs", timeout=60),
        httpx.delete(web.url + "/studies", timeout=60),
    ]
    assert [one.status_code for one in answers] == [200, 401, 404, 404, 405]
    for one in answers:
        assert one.headers["X-Content-Type-Options"] == "nosniff"
        assert one.headers["Cache-Control"] == "no-store"
        assert one.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert one.headers["X-Frame-Options"] == "DENY"
        assert "Server" not in one.headers
        assert "Access-Control-Allow-Origin" not in one.headers


def test_a_new_token_is_long_and_only_its_digest_is_kept() -> None:
    """256 random bits, and no way back from what the database has."""
    text, kept = new_token("name", (Scope.READ,), "")
    other, _ = new_token("name", (Scope.READ,), "")
    assert text != other
    assert len(text) >= 43
    assert text not in json.dumps([kept.name, kept.digest, kept.node])
    assert kept == ApiToken("name", kept.digest, (Scope.READ,))
