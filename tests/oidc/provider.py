"""Providers of OpenID Connect: a real program, and one that gives whatever ID token is wanted."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

FOLDER = Path(
    os.environ.get("GATEKEEPER_OIDC", Path(__file__).resolve().parents[2] / ".cache" / "oidc")
)
"""Where `fetch-provider.sh` put it."""
CLIENT, SECRET = "gatekeeper", "a secret: 100% & more"
_PROGRAM = Path(__file__).parent / "provider.mjs"


@contextlib.contextmanager
def real_provider(node: str, port: int, callback: str) -> Generator[str]:
    """Run oidc-provider with new keys, and yield its issuer."""
    command = [node, str(_PROGRAM), str(FOLDER / "node_modules"), str(port), callback]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline().strip() == "ready"
            yield f"http://127.0.0.1:{port}"
        finally:
            program.terminate()


def sign_in_there(browser: httpx.Client, address: str, name: str) -> str:
    """Sign in at the provider as a person does, and return where it sends the browser back to.

    The forms are the provider's own: a name with any password, and a consent.
    """
    answer = browser.get(address)
    for _ in range(12):
        while answer.is_redirect:
            there = str(httpx.URL(answer.request.url).join(answer.headers["location"]))
            if "/sign-in/callback" in there:
                return there
            answer = browser.get(there)
        prompt = "login" if 'name="login"' in answer.text else "consent"
        form = {"prompt": prompt, "login": name, "password": "any"}
        answer = browser.post(str(answer.request.url), data=form)
    raise AssertionError(answer.text)


class WantedProvider:
    """A provider whose ID tokens are what a test wants; all else is as it should be."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self.change: Mapping[str, Any] = {}
        """Claims in place of the right ones; None leaves one out."""
        self.token: str | None = None
        """An ID token in place of a signed one."""
        self.answers: dict[str, tuple[int, bytes]] = {}
        """Answers in place of the right ones, by path."""
        self.issuer = ""
        self._nonces: dict[str, str] = {}

    def sign_in(self, address: str) -> dict[str, str]:
        """Sign somebody in without a form, and return the query of the way back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        self._nonces["code"] = query["nonce"]
        return {"code": "code", "state": query["state"]}

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return the answer to a request."""
        if path in self.answers:
            return self.answers[path]
        body: Any = {"error": "not_found"}
        if path == "/.well-known/openid-configuration":
            body = {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/auth",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
            }
        elif path == "/jwks":
            body = KeySet([self.key]).as_dict(private=False)
        elif path == "/token":
            body = {"access_token": "x", "token_type": "Bearer", "id_token": self._signed()}
        return 200, json.dumps(body).encode()

    def _signed(self) -> str:
        if self.token is not None:
            return self.token
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": "1",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": self._nonces["code"],
            "preferred_username": "anna",
            "groups": ["readers"],
        }
        claims |= self.change
        given = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": self.key.kid}
        return jwt.encode(header, given, self.key, algorithms=["RS256"])


@contextlib.contextmanager
def wanted_provider() -> Generator[WantedProvider]:
    """Run a provider that gives whatever ID token is wanted."""
    wanted = WantedProvider()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = wanted.answer(urlsplit(self.path).path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        wanted.issuer = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield wanted
        finally:
            server.shutdown()
            thread.join(10)
