"""Hostile callers on raw sockets: each is cut at its limit, and others are served meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from listen.wire import encoded, image, sqlite_only
from support.waiting import until
from support.web import (
    BOUNDARY,
    KIND,
    Web,
    multipart,
    outcome,
    part10,
    running_web,
    settings_for,
)

from gatekeeper.ledger import balance
from storage.engine import Database

pytestmark = sqlite_only
SECONDS = 60


@contextmanager
def limited(tmp_path: Path, database: Database, **web: Any) -> Generator[Web]:
    with running_web(settings_for(tmp_path / "spool", web), database) as found:
        yield found


@contextmanager
def connected(web: Web) -> Generator[socket.socket]:
    with socket.create_connection(("127.0.0.1", web.port), timeout=SECONDS) as connection:
        yield connection


def head(web: Web, length: int | None, *more: str) -> bytes:
    lines = [
        "POST /dicom-web/studies HTTP/1.1",
        "Host: gate",
        f"Authorization: Bearer {web.sender}",
        f"Content-Type: {KIND}",
        *([f"Content-Length: {length}"] if length is not None else []),
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(connection: socket.socket) -> bytes:
    """Return everything that comes until the other side closes."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionError:
        return received
    return received


def status(received: bytes) -> int:
    return int(received.split(b" ")[1]) if received.startswith(b"HTTP/1.1 ") else 0


def settled(web: Web) -> None:
    """Wait until nothing is left of what was not kept, and the books balance."""
    until(lambda: not web.unfinished(), SECONDS, "nothing is left")
    assert balance(web.database, web.spool, verify=True).balanced


def test_an_upload_that_breaks_off_leaves_only_what_was_whole(web: Web) -> None:
    """Cut at every kind of place: no answer, no half object, the rest is sent again."""
    # Larger than the blocks in which a body goes to the disk.
    files = [part10(f"1.2.3.{number}", PixelData=bytes(300_000)) for number in (1, 2)]
    body = multipart(files)
    middle = body.index(files[1][132:])
    for end in (10, middle - 200, middle + 250_000, len(body) - 5):
        with connected(web) as connection:
            connection.sendall(head(web, len(body)) + body[:end])
            connection.shutdown(socket.SHUT_WR)
            assert status(answer(connection)) != 200
    settled(web)
    assert len(web.kept("1.2.3.1")) == 1
    assert outcome(web.stow(body))[:2] == (200, ["1.2.3.1", "1.2.3.2"])
    settled(web)


def test_a_body_without_its_boundaries_is_refused(web: Web) -> None:
    """Another boundary than announced, and one that never closes."""
    body = multipart([part10("1.2.3.1")])
    assert web.stow(body.replace(BOUNDARY.encode(), b"another")).status_code == 400
    assert web.stow(body.removesuffix(f"--{BOUNDARY}--\r\n".encode())).status_code == 400
    assert web.stow(b"").status_code == 400
    settled(web)


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path, database: Database) -> None:
    """By its length at once; without a length, once it is over; a part over its own limit, too."""
    large = multipart([part10("1.2.3.1", PixelData=bytes(3 << 20))])
    with limited(tmp_path, database, maximum_request_mib=2) as web:
        with connected(web) as connection:
            connection.sendall(head(web, 1 << 40, "Expect: 100-continue"))
            assert status(answer(connection)) == 413
        assert web.stow(large).status_code == 413
        with connected(web) as connection:
            connection.sendall(head(web, None, "Transfer-Encoding: chunked"))
            chunk = large[: 1 << 20]
            with suppress(ConnectionError):
                for _ in range(8):
                    connection.sendall(b"%x\r\n" % len(chunk) + chunk + b"\r\n")
            assert status(answer(connection)) in {0, 413}
        settled(web)
        assert web.kept("1.2.3.1") == []


def test_a_part_or_a_number_of_parts_over_its_limit_is_refused(
    tmp_path: Path, database: Database
) -> None:
    """413, and nothing of the part that was too large is left."""
    with limited(tmp_path, database, maximum_object_mib=1, maximum_parts=3) as web:
        large = part10("1.2.3.1", PixelData=bytes(2 << 20))
        assert web.stow(multipart([large])).status_code == 413
        assert web.stow(multipart([part10(f"1.2.3.{n}") for n in range(4)])).status_code == 413
        assert web.stow(multipart([part10(f"1.2.3.{n}") for n in range(3)])).status_code == 200
        settled(web)


def test_silence_is_cut_wherever_it_comes(tmp_path: Path, database: Database) -> None:
    """Before a request, within its headers, dripping them, within its body, between two."""
    with limited(tmp_path, database, header_seconds=0.5, silence_seconds=0.5) as web:
        with connected(web) as silent, connected(web) as half, connected(web) as dripping:
            half.sendall(head(web, 10)[:40])
            dripping.settimeout(0.05)
            dripped = b"GET / HTTP/1.1\r\n"

            def cut() -> bool:
                nonlocal dripped
                try:
                    dripping.sendall(dripped[:1])
                    dripped = dripped[1:] or b"X-Drip: 1\r\n"
                    return dripping.recv(100) == b""
                except TimeoutError:
                    return False
                except ConnectionError:
                    return True

            until(cut, SECONDS, "the drip is cut")
            assert answer(silent) == b""
            assert answer(half) == b""

        def stalled() -> int:
            with connected(web) as connection:
                connection.sendall(head(web, 1000) + multipart([part10("1.2.3.1")])[:300])
                return status(answer(connection))

        def idle_after_one() -> int:
            with connected(web) as connection:
                connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: gate\r\n\r\n")
                return status(answer(connection))

        # On a busy machine a request may itself come too late.
        until(lambda: stalled() == 408, SECONDS, "a body that stops is told so")
        until(lambda: idle_after_one() == 404, SECONDS, "an answer, and then the end")
        settled(web)


def test_connections_are_capped_and_others_are_served_again(
    tmp_path: Path, database: Database
) -> None:
    """One over the cap is closed at once; when one leaves there is room."""
    caps = {"maximum_connections": 3, "maximum_connections_per_host": 3}
    with limited(tmp_path, database, **caps) as web:

        def asked() -> int:
            with connected(web) as connection:
                try:
                    connection.sendall(
                        b"GET /nothing HTTP/1.1\r\nConnection: close\r\nHost: g\r\n\r\n"
                    )
                except ConnectionError:
                    return 0
                return status(answer(connection))

        until(lambda: asked() == 404, SECONDS, "there is room")
        held = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(3)]
        until(lambda: asked() == 0, SECONDS, "there is none")
        for one in held:
            one.close()
        until(lambda: asked() == 404, SECONDS, "there is room again")


def test_one_upload_too_many_is_asked_to_come_again(tmp_path: Path, database: Database) -> None:
    """503 with Retry-After, while queries are answered; then it is taken."""
    body = multipart([part10("1.2.3.1")])
    with limited(tmp_path, database, uploads=1) as web:
        with connected(web) as slow:
            slow.sendall(head(web, len(body), "Expect: 100-continue"))
            assert status(slow.recv(65536)) == 100  # its body is waited for
            slow.sendall(body[:100])
            refused = web.stow(body)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
            assert web.get("/studies").status_code == 200
        until(lambda: web.stow(body).status_code == 200, SECONDS, "there is room again")


def test_headers_without_end_are_refused(web: Web) -> None:
    """400 within the limit, and nothing of them is answered or logged."""
    with connected(web) as connection:
        with suppress(ConnectionError):
            connection.sendall(b"GET /" + b"x" * (1 << 20))
        assert status(answer(connection)) in {0, 400}


def test_nothing_of_a_patient_reaches_the_log(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither from a query, a path, a header, nor a data set."""
    web.stow(multipart([part10("1.2.3.1")]), "/studies/CANARY^PATH")
    web.stow(multipart([part10("1.2.3.1", meta_of="1.2.3.2")]))
    web.stow(multipart([encoded(image("1.2.3.1"))]), X_Canary="CANARY")
    web.get("/studies", PatientName="CANARY^PATIENT")
    web.get("/studies", Canary="CANARY")
    web.get("/CANARY")
    said = "".join(capsys.readouterr())
    assert "web_refused" in said
    assert "CANARY" not in said
