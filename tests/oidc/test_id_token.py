"""ID tokens that are wrong in one thing each, and what people are told of them."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from oidc.provider import CLIENT, WantedProvider, wanted_provider

from gatekeeper.errors import ConfigurationError
from gatekeeper.identity.oidc import (
    ASKED_SECONDS,
    Asking,
    Person,
    Provider,
    ProviderDown,
    ProviderRefused,
    checked_url,
    role_map,
)
from gatekeeper.settings import AccountSettings
from storage.records import AccountRole

CALLBACK = "https://gate.example/sign-in/callback"


def come_back(wanted: WantedProvider, **more: Any) -> Person:
    """Sign in at a provider of which some things are wanted."""
    settings = AccountSettings(oidc_issuer=wanted.issuer, oidc_client_id=CLIENT, **more)
    provider, asking = Provider(settings), Asking.anew("/")
    answer = wanted.sign_in(provider.address(asking, CALLBACK))
    return provider.person(asking, answer, CALLBACK)


def _encoded(fields: Any) -> str:
    return _base64(json.dumps(fields).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"aud": "another"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "azp"),
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"exp": int(time.time()) - 120}, "expired"),
        ({"exp": None}, "exp"),
        ({"iat": int(time.time()) + 3600}, "iat"),
        ({"sub": ""}, "sub"),
        ({"preferred_username": None}, "preferred_username"),
    ],
)
def test_a_token_that_is_wrong_in_one_thing_is_refused(change: dict[str, Any], said: str) -> None:
    """Each with what it is, and no text of the token."""
    with wanted_provider() as wanted:
        wanted.change = change
        with pytest.raises(ProviderRefused, match=said):
            come_back(wanted)


def test_clocks_may_differ_by_as_much_as_is_stated() -> None:
    """A token that is over, or not yet, by less than the tolerance is taken."""
    now = int(time.time())
    with wanted_provider() as wanted:
        for change in ({"exp": now - 20}, {"iat": now + 20, "exp": now + 320}):
            wanted.change = change
            assert come_back(wanted).name == "anna"
            with pytest.raises(ProviderRefused):
                come_back(wanted, oidc_skew_seconds=0.0)


def test_a_token_that_the_provider_did_not_sign_is_refused() -> None:
    """Not signed at all, by another key of the same name, or by the public key as a secret."""

    claims = {"iss": "x", "sub": "1", "aud": CLIENT, "preferred_username": "anna"}
    with wanted_provider() as wanted:
        other = RSAKey.generate_key(2048, {"kid": "one"})
        header = {"alg": "RS256", "kid": "one"}
        by_another = jwt.encode(header, claims, other, algorithms=["RS256"])
        parts = [_encoded({"alg": "HS256", "kid": "one"}), _encoded(claims)]
        secret = wanted.key.as_pem(private=False)
        mac = hmac.digest(secret, ".".join(parts).encode(), "sha256")
        by_public_key = ".".join([*parts, _base64(mac)])
        unsigned = f"{_encoded({'alg': 'none'})}.{_encoded(claims)}."
        for token in (by_another, by_public_key, unsigned, "e30.e30.", "x", "a.b.c"):
            wanted.token = token
            with pytest.raises(ProviderRefused, match="is not valid"):
                come_back(wanted)


def test_a_provider_that_answers_nonsense_is_down_and_not_trusted() -> None:
    """Another issuer, no JSON, too much of it, or an endpoint without TLS elsewhere."""

    discovery = "/.well-known/openid-configuration"
    with wanted_provider() as wanted:
        for path, content in (
            (discovery, b'{"issuer": "https://elsewhere.example"}'),
            (discovery, b"<html>"),
            (discovery, b"[]"),
            (discovery, b" " * (2 << 20)),
            ("/jwks", b'{"keys": [{"kty": "none"}]}'),
            ("/token", b'{"id_token": 1}'),
        ):
            wanted.answers = {path: (200, content)}
            with pytest.raises(ProviderDown):
                come_back(wanted)
        wanted.answers = {"/token": (400, b'{"error": "invalid_grant"}')}
        with pytest.raises(ProviderRefused, match="begin again"):
            come_back(wanted)


def test_what_the_browser_keeps_is_read_or_refused() -> None:
    """Not another's, not nonsense, and not for long."""

    asking = Asking.anew("/held")
    assert Asking.read(asking.text) == asking
    old = Asking("a", "b", "c", "/", time.time() - ASKED_SECONDS - 1)
    for text in (None, "", "x", "e30=", old.text):
        with pytest.raises(ProviderRefused):
            Asking.read(text)


def test_roles_come_from_a_claim_wherever_it_is() -> None:
    """A list or one text, at the top or within others; what is not named counts for none."""

    roles = ("a=administrator", "r=reviewer")

    def told(wanted: WantedProvider, claim: str) -> tuple[AccountRole, ...] | None:
        return come_back(wanted, oidc_roles_claim=claim, oidc_roles=roles).roles

    with wanted_provider() as wanted:
        wanted.change = {"realm_access": {"roles": ["r", "a", 7, "x"]}, "groups": "r"}
        both = (AccountRole.ADMINISTRATOR, AccountRole.REVIEWER)
        assert told(wanted, "realm_access.roles") == both
        assert told(wanted, "groups") == (AccountRole.REVIEWER,)
        assert come_back(wanted).roles is None
        with pytest.raises(ProviderRefused, match="no role"):
            told(wanted, "nothing.here")
    with pytest.raises(ConfigurationError, match="VALUE=ROLE"):
        role_map(["readers=king"])
    with pytest.raises(ConfigurationError):
        checked_url("http://idp.hospital.example")
