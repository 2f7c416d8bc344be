"""Receivers of notifications: a mail server and a webhook, real ones that do as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import ssl
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from support.authority import Identity
from support.threads import in_thread

PASSWORD = "a password of the mail server"  # noqa: S105


@dataclass(frozen=True)
class Post:
    """One request to a webhook."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hook:
    """A webhook: what it was told, and what it answers, 200 once `answers` are used up."""

    port: int = 0
    answers: list[int | str] = field(default_factory=list[int | str])
    """Statuses; ``drip`` sends a byte now and then and never an answer."""
    posts: list[Post] = field(default_factory=list[Post])
    ended: threading.Event = field(default_factory=threading.Event)

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}/hook?site=1"


class _Web(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away: some are meant to."""


@contextlib.contextmanager
def webhook(*answers: int | str, identity: Identity | None = None) -> Generator[Hook]:
    """Run a webhook that gives `answers` one after the other, by HTTPS with an identity."""
    hook = Hook(answers=list(answers))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.posts.append(Post(self.path, dict(self.headers.items()), body))
            answer = hook.answers.pop(0) if hook.answers else 200
            if answer == "drip":
                with contextlib.suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
                    while not hook.ended.wait(0.02):
                        self.wfile.write(b"x")
                return
            self.send_response(cast("int", answer))
            if answer == 302:
                self.send_header("Location", f"{self.path}&redirected=1")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"an answer that nobody reads" * 100)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = _Web(("127.0.0.1", 0), Handler)
    hook.port = server.server_address[1]
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.ended.set()
        server.shutdown()
        thread.join(30)
        server.server_close()


@dataclass
class Box:
    """A mail server: what it took, and what it refuses."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list[EmailMessage])
    recipients: list[str] = field(default_factory=list[str])
    users: list[str] = field(default_factory=list[str])
    answers: list[str] = field(default_factory=list[str])
    """What it answers to the next messages, in place of taking them."""

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        content = envelope.original_content or b""
        mail = message_from_bytes(content, _class=EmailMessage, policy=policy.default)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        return "250 taken"

    def authenticate(
        self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = data.password.decode() == PASSWORD
        if good:
            self.users.append(data.login.decode())
        return AuthResult(success=good, handled=False)


@contextlib.contextmanager
def mail_server(identity: Identity | None = None, **options: Any) -> Generator[Box]:
    """Run a mail server; with an identity it offers STARTTLS and a log-in, and wants both.

    Args:
        identity: its certificate and key.
        options: of aiosmtpd's controller.
    """
    box = Box()
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        options = {
            "tls_context": context,
            "require_starttls": True,
            "authenticator": box.authenticate,
            "auth_required": True,
            **options,
        }
    loop = asyncio.new_event_loop()
    controller = UnthreadedController(box, hostname="127.0.0.1", port=0, loop=loop, **options)
    controller.begin()
    box.port = cast("asyncio.Server", controller.server).sockets[0].getsockname()[1]

    def stop() -> None:
        loop.call_soon_threadsafe(loop.stop)

    try:
        with in_thread(loop.run_forever, stop):
            yield box
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        controller.end()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
