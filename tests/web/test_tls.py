"""https by the house's certificate, and never http where others listen."""

from __future__ import annotations

import dataclasses
import hashlib
import ssl
from pathlib import Path

import httpx
import pytest
from listen.wire import sqlite_only
from support.authority import Authority
from support.objects import send_objects, write_slices
from support.web import running_web, settings_for

from gatekeeper.errors import ConfigurationError
from gatekeeper.send.stow import StowTransport, echo
from gatekeeper.settings import Settings, TlsSettings, WebSettings
from gatekeeper.tls import Credentials
from gatekeeper.web.transport import tls_context
from storage.engine import Database
from storage.records import Node


@sqlite_only
def test_our_own_sender_sends_to_our_own_web_by_https(
    tmp_path: Path,
    database: Database,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Certificate verified, token shown, every object listed as stored, byte for byte."""
    tls = authority.settings(authority.issue("127.0.0.1"))
    settings = settings_for(tmp_path / "spool", tls=tls)
    objects = send_objects(write_slices(tmp_path / "objects", 5))
    with running_web(settings, database) as web:
        monkeypatch.setenv("GATEKEEPER_CREDENTIAL_GATE_2", f"bearer {web.sender}")
        node = Node("GATE 2", "127.0.0.1", web.port, url=web.url.replace("http:", "https:"))
        sent = list(StowTransport(settings.send, Credentials(tls)).send(objects, node))
        assert [answer.status for answer in sent] == [0] * 5
        for item in objects:
            [kept] = web.kept(item.sop_instance_uid)
            data = item.path.read_bytes()
            assert data.endswith(web.spool.path(kept.digest).read_bytes()[400:])
        monkeypatch.setenv("GATEKEEPER_CREDENTIAL_GATE_2", f"bearer {web.reader}")
        assert echo(node, settings).status == 200
        context = ssl.create_default_context(cafile=str(authority.file))
        answer = httpx.get(f"https://127.0.0.1:{web.port}/", verify=context, timeout=60)
        assert "max-age" in answer.headers["Strict-Transport-Security"]
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{web.port}/", timeout=60)


@sqlite_only
def test_a_certificate_is_asked_for_when_it_is_set_so(
    tmp_path: Path, database: Database, authority: Authority
) -> None:
    """Without one the handshake fails; with one of our CA it does not."""
    own = authority.issue("127.0.0.1")
    settings = settings_for(
        tmp_path / "spool", {"require_certificate": True}, tls=authority.settings(own)
    )
    bare = ssl.create_default_context(cafile=str(authority.file))
    shown = ssl.create_default_context(cafile=str(authority.file))
    shown.load_cert_chain(own.certificate, own.key)
    with running_web(settings, database) as web:
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"https://127.0.0.1:{web.port}/", verify=bare, timeout=60)
        answer = httpx.get(f"https://127.0.0.1:{web.port}/", verify=shown, timeout=60)
    assert answer.status_code == 303


@sqlite_only
def test_a_renewed_certificate_is_presented_at_once(
    tmp_path: Path, database: Database, authority: Authority
) -> None:
    """No restart: the next handshake has it."""
    own = authority.issue("127.0.0.1")
    settings = settings_for(tmp_path / "spool", tls=authority.settings(own))
    with running_web(settings, database) as web:

        def presented() -> str:
            pem = ssl.get_server_certificate(("127.0.0.1", web.port), timeout=60)
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()

        before = own.fingerprint
        assert presented() == before
        own.write(authority.leaf("127.0.0.1"))
        assert own.fingerprint != before
        assert presented() == own.fingerprint
        assert presented() == own.fingerprint


def test_http_is_for_this_machine_alone_unless_a_setting_says_so() -> None:
    """An address that others reach wants a certificate."""
    for host in ("127.0.0.1", "::1", "localhost"):
        assert tls_context(Settings(web=WebSettings(host=host))) is None
    open_to_all = WebSettings(host="10.1.2.3")
    with pytest.raises(ConfigurationError, match=r"web\.host"):
        tls_context(Settings(web=open_to_all))
    assert tls_context(Settings(web=dataclasses.replace(open_to_all, plain=True))) is None
    with pytest.raises(ConfigurationError, match=r"tls\."):
        tls_context(Settings(web=open_to_all, tls=TlsSettings(certificate="missing.pem")))
