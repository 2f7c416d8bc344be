"""OpenID Connect: who somebody is, as another server says (OpenID Connect Core 1.0).

Authorization code with PKCE (RFC 7636, S256), state and nonce. What the browser keeps between
asking and answer is one cookie, so that nothing is kept here for somebody who never comes back.
The ID token is verified by the provider's keys, fetched anew when it names one that is not known:
issuer, audience, authorized party, nonce and times, with a stated tolerance for clocks.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import httpx
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gatekeeper.errors import ConfigurationError, GatekeeperError
from gatekeeper.settings import AccountSettings
from storage.records import AccountRole

ASKED_SECONDS = 600.0
"""How long somebody has to sign in there."""
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""By public keys alone: never `none`, and none by a shared secret."""
_LARGEST_ANSWER = 1 << 20
_FRESH_SECONDS = 3600.0
_KEYS_AGAIN_SECONDS = 10.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ProviderRefused(GatekeeperError):
    """Somebody who is not let in by what the provider says, or does not say; says why."""


class ProviderDown(GatekeeperError):
    """A provider that does not answer, or not as it should."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What the browser keeps while somebody signs in there.

    Attributes:
        state, nonce, verifier: random texts.
        next: path of ours to go on with.
        at: when it was asked, seconds since 1970.
    """

    state: str
    nonce: str
    verifier: str
    next: str
    at: float

    @classmethod
    def anew(cls, next: str) -> Asking:
        """Return a new one."""
        texts = [secrets.token_urlsafe(32) for _ in range(3)]
        return cls(texts[0], texts[1], texts[2], next, time.time())

    @property
    def text(self) -> str:
        """It as a cookie's text."""
        fields = [self.state, self.nonce, self.verifier, self.next, self.at]
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()

    @classmethod
    def read(cls, cookie: str | None) -> Asking:
        """Return what a cookie holds.

        Raises:
            ProviderRefused: if it is none, or too old.
        """
        try:
            fields = json.loads(base64.urlsafe_b64decode((cookie or "").encode()))
            state, nonce, verifier, path, at = fields
            asking = cls(str(state), str(nonce), str(verifier), str(path), float(at))
        except (ValueError, TypeError):
            raise ProviderRefused(
                "this browser did not ask to sign in, or too long ago: begin again"
            ) from None
        if not 0 <= time.time() - asking.at <= ASKED_SECONDS:
            raise ProviderRefused("signing in took too long: begin again")
        return asking


@dataclass(frozen=True, slots=True)
class Person:
    """Who somebody is.

    Attributes:
        subject: issuer and subject, a blank between: the same for the same person for ever.
        name: as the claim of the settings says; it may change.
        roles: of the claim; None where the settings name no claim.
    """

    subject: str
    name: str
    roles: tuple[AccountRole, ...] | None


class Provider:
    """The provider that the settings name; used from any thread.

    Args:
        settings: with an issuer.

    Raises:
        ConfigurationError: if a setting cannot be used.
    """

    def __init__(self, settings: AccountSettings) -> None:
        checked_url(settings.oidc_issuer)
        if not settings.oidc_client_id:
            raise ConfigurationError("accounts.oidc_client_id", "is missing")
        self._settings = settings
        self._lock = threading.Lock()
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._roles = role_map(settings.oidc_roles)

    def address(self, asking: Asking, callback: str) -> str:
        """Return where the browser is sent to sign in.

        Args:
            asking: kept by the browser.
            callback: our own URL that it comes back to.

        Raises:
            ProviderDown: if the provider does not say where.
        """
        endpoint = self._endpoint("authorization_endpoint")
        digest = hashlib.sha256(asking.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": callback,
            "scope": " ".join(dict.fromkeys(["openid", *self._settings.oidc_scopes])),
            "state": asking.state,
            "nonce": asking.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    def person(self, asking: Asking, answer: Mapping[str, str], callback: str) -> Person:
        """Return who came back.

        Args:
            asking: that the browser kept.
            answer: query of the URL that it came back to.
            callback: that URL, without the query.

        Raises:
            ProviderRefused: if the answer is not one to what was asked, or does not let in.
            ProviderDown: if the provider does not answer.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), asking.state.encode()):
            raise ProviderRefused("the answer is not one to what this browser asked: begin again")
        if answer.get("error"):
            raise ProviderRefused("the provider refused: it was not signed in there")
        issuer = answer.get("iss")
        if issuer is not None and issuer != self._settings.oidc_issuer:
            raise ProviderRefused("the answer is of another provider (RFC 9207)")
        token = self._exchanged(answer.get("code", ""), asking.verifier, callback)
        return self._person(self._verified(token, asking.nonce))

    def _exchanged(self, code: str, verifier: str, callback: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": verifier,
        }
        secret = self._settings.oidc_client_secret
        ways: Sequence[str] = self._read().get(
            "token_endpoint_auth_methods_supported", ("client_secret_basic",)
        )
        authorization = None
        if secret and "client_secret_basic" in ways:
            # Both are form-encoded first (RFC 6749 2.3.1).
            quoted = [urlencode({"": text})[1:] for text in (self._settings.oidc_client_id, secret)]
            authorization = httpx.BasicAuth(quoted[0], quoted[1])
        else:
            form["client_id"] = self._settings.oidc_client_id
            if secret:
                form["client_secret"] = secret
        endpoint = self._endpoint("token_endpoint")
        status, answer = self._ask("POST", endpoint, data=form, auth=authorization)
        if status in (400, 401):
            raise ProviderRefused(
                "the provider takes the code no more, or does not know this server: begin again"
            )
        token = answer.get("id_token")
        if status != 200 or not isinstance(token, str):
            raise ProviderDown(f"the provider gave no ID token (HTTP {status})")
        return token

    def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        try:
            known = self._key_set(again=False)
            if not _is_known(token, known):
                known = self._key_set(again=True)
            decoded = jwt.decode(token, known, algorithms=list(_ALGORITHMS))
            skew = int(self._settings.oidc_skew_seconds)
            registry = jwt.JWTClaimsRegistry(
                leeway=skew,
                iss={"essential": True, "value": self._settings.oidc_issuer},
                sub={"essential": True},
                aud={"essential": True, "value": self._settings.oidc_client_id},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True, "value": nonce},
            )
            registry.validate(decoded.claims)
        except JoseError as error:
            raise ProviderRefused(f"the ID token is not valid: {_in_words(error)}") from None
        except (ValueError, TypeError):
            raise ProviderRefused("the ID token is not valid: it does not parse") from None
        claims = decoded.claims
        party = claims.get("azp")
        if party is not None and party != self._settings.oidc_client_id:
            raise ProviderRefused("the ID token is not valid: it is for another client (azp)")
        return claims

    def _person(self, claims: Mapping[str, Any]) -> Person:
        settings = self._settings
        subject, name = claims["sub"], claims.get(settings.oidc_name_claim)
        if not isinstance(subject, str) or not subject or len(subject) > 255:
            raise ProviderRefused("the ID token names nobody (sub)")
        if not isinstance(name, str) or not name:
            raise ProviderRefused(f"the ID token has no name (claim {settings.oidc_name_claim})")
        roles: tuple[AccountRole, ...] | None = None
        if settings.oidc_roles_claim:
            roles = self._roles_of(claims)
        return Person(f"{settings.oidc_issuer} {subject}", name, roles)

    def _roles_of(self, claims: Mapping[str, Any]) -> tuple[AccountRole, ...]:
        """Return the roles of a claim, which may be within others: ``realm_access.roles``."""
        path = self._settings.oidc_roles_claim
        found: Any = claims.get(path)
        if found is None:
            found = claims
            for part in path.split("."):
                found = cast("dict[str, Any]", found).get(part) if isinstance(found, dict) else None
        values: list[Any] = cast("list[Any]", found) if isinstance(found, list) else [found]
        texts = [value for value in values if isinstance(value, str)]
        roles = {self._roles[value] for value in texts if value in self._roles}
        if not roles:
            raise ProviderRefused(
                "the provider gives no role here: ask whoever looks after accounts there"
            )
        return tuple(role for role in AccountRole if role in roles)

    def _key_set(self, *, again: bool) -> KeySet:
        with self._lock:
            kept = self._keys
        fresh = _KEYS_AGAIN_SECONDS if again else _FRESH_SECONDS
        if kept is not None and time.monotonic() - kept[0] < fresh:
            return kept[1]
        status, answer = self._ask("GET", self._endpoint("jwks_uri"))
        try:
            if status != 200:
                raise ValueError(status)
            found = KeySet.import_key_set(cast("Any", answer))
        except (JoseError, ValueError, TypeError, KeyError):
            raise ProviderDown("the provider's keys cannot be read") from None
        with self._lock:
            self._keys = (time.monotonic(), found)
        return found

    def _endpoint(self, name: str) -> str:
        found = self._read().get(name)
        if not isinstance(found, str):
            raise ProviderDown(f"the provider does not say its {name}")
        try:
            return checked_url(found)
        except ConfigurationError:
            raise ProviderDown(f"the provider's {name} is not https") from None

    def _read(self) -> dict[str, Any]:
        """Return the provider's description of itself (OpenID Connect Discovery 1.0)."""
        with self._lock:
            kept = self._metadata
        if kept is not None and time.monotonic() - kept[0] < _FRESH_SECONDS:
            return kept[1]
        issuer = self._settings.oidc_issuer
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        status, answer = self._ask("GET", address)
        if status != 200 or answer.get("issuer") != issuer:
            raise ProviderDown("the provider does not describe itself as accounts.oidc_issuer")
        with self._lock:
            self._metadata = (time.monotonic(), answer)
        return answer

    def _ask(self, method: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        try:
            with self._client() as client, client.stream(method, url, **more) as answer:
                content = b""
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > _LARGEST_ANSWER:
                        raise ProviderDown("the provider's answer is too large")
                found = json.loads(content)
        except (httpx.HTTPError, OSError):
            raise ProviderDown("the provider does not answer: sign in here, or later") from None
        except (ValueError, RecursionError):
            raise ProviderDown("the provider's answer is not JSON") from None
        if not isinstance(found, dict):
            raise ProviderDown("the provider's answer is not JSON")
        return answer.status_code, cast("dict[str, Any]", found)

    @contextlib.contextmanager
    def _client(self) -> Generator[httpx.Client]:
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.oidc_ca or None)
        with httpx.Client(
            timeout=settings.oidc_seconds,
            verify=context,
            follow_redirects=False,
            headers={"Accept": "application/json"},
        ) as client:
            yield client


def role_map(texts: Sequence[str]) -> dict[str, AccountRole]:
    """Return the role of each value of a claim, from texts such as ``pacs-admins=administrator``.

    Raises:
        ConfigurationError: if one is not VALUE=ROLE.
    """
    found: dict[str, AccountRole] = {}
    for text in texts:
        value, equals, role = text.rpartition("=")
        if not equals or not value or role not in set(AccountRole):
            raise ConfigurationError(
                "accounts.oidc_roles",
                f"{text!r} is not VALUE=ROLE; roles: {', '.join(AccountRole)}",
            )
        found[value] = AccountRole(role)
    return found


def checked_url(url: str) -> str:
    """Return a URL of the provider; http is for this machine alone.

    Raises:
        ConfigurationError: if it is another.
    """
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not safe or not parts.hostname:
        raise ConfigurationError("accounts.oidc_issuer", "must be an https URL")
    return url


def _is_known(token: str, keys: KeySet) -> bool:
    name = jws.extract_compact(token.encode()).headers().get("kid")
    return name is None or any(key.kid == name for key in keys.keys)


def _in_words(error: JoseError) -> str:
    """Return what is wrong, by the library's name for it and the claim, never its whole text."""
    claim = getattr(error, "claim", None)
    return f"{error.error.replace('_', ' ')}{f' ({claim})' if isinstance(claim, str) else ''}"
