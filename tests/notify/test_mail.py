"""E-mail: by TLS where it is asked for and never without, logged in, and ended at a deadline."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator
from typing import Any

import pytest
from notify.conftest import Site
from support.authority import Authority
from support.ears import PASSWORD, mail_server

from gatekeeper.errors import ConfigurationError
from gatekeeper.notify.address import mail_address
from gatekeeper.notify.events import DeliveryDead
from storage.records import Details, Notification, NotificationState

TO = "mri-desk@hospital.example"
STUDY = "1.2.826.0.1.77.5"
DEAD = DeliveryDead(delivery=4, node="PACS", reason="no connection", study=STUDY)
LOGIN = {"smtp_user": "gate", "smtp_password": PASSWORD}

# The test server's own words on what it will change one day.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd")


def told(site: Site, port: int, **changes: Any) -> Notification:
    """Return what becomes of one attempt to send an e-mail by the server at `port`."""
    site.change(smtp_port=port, **changes)
    site.channel("desk", TO, details=Details.UIDS)
    assert site.announce(DEAD) == 1
    return site.attempt("desk")


def test_an_email_goes_by_starttls_after_a_log_in(site: Site, authority: Authority) -> None:
    """From us, to the one recipient, marked as automatic, under the delivery id."""
    with mail_server(authority.issue("127.0.0.1")) as box:
        found = told(site, box.port, **LOGIN)

    assert (found.state, found.reason) == (NotificationState.SENT, "")
    (mail,) = box.mails
    assert (box.users, box.recipients) == (["gate"], [TO])
    assert mail["From"] == "gatekeeper@hospital.example"
    assert mail["To"] == TO
    assert mail["Subject"] == f"[GATEKEEPER] a delivery is set aside (number {found.id})"
    assert mail["Message-ID"] == f"<{found.delivery_id}@hospital.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_content()
    assert f"Delivery 4 to PACS ({STUDY}) is set aside: no connection." in text
    assert f"gatekeeper notification show {found.id}" in text


def test_without_tls_it_goes_only_where_none_is_asked_for(site: Site) -> None:
    """A mail server beside us, by a setting of its own."""
    with mail_server() as box:
        found = told(site, box.port, smtp_tls="none")

    assert found.state is NotificationState.SENT
    assert len(box.mails) == 1


def test_a_server_without_starttls_gets_nothing(site: Site) -> None:
    """There is no fallback to plain text."""
    with mail_server() as box:
        found = told(site, box.port)

    assert found.state is NotificationState.QUEUED
    assert found.reason.startswith("the mail server offers no STARTTLS")
    assert box.mails == []


def test_a_password_is_never_sent_in_plain_text(site: Site) -> None:
    """The settings that would do so are refused before there is a connection."""
    with mail_server() as box:
        found = told(site, box.port, smtp_tls="none", **LOGIN)

    assert found.reason == "notify.smtp_tls: none, and a password is sent by TLS alone"
    assert box.mails == []


@pytest.mark.parametrize("names", ["another CA", "another host"])
def test_a_wrong_certificate_is_refused_before_the_log_in(
    site: Site, authority: Authority, stranger: Authority, names: str
) -> None:
    """Whoever answers in the mail server's place learns neither password nor facts."""
    issued = (
        stranger.issue("127.0.0.1") if names == "another CA" else authority.issue("mail.example")
    )
    with mail_server(issued) as box:
        found = told(site, box.port, **LOGIN)

    assert found.reason.startswith("the mail server: TLS: its certificate ")
    assert (box.mails, box.users) == ([], [])


def test_a_wrong_password_is_named_and_nothing_is_sent(site: Site, authority: Authority) -> None:
    """The server's code, not its words."""
    with mail_server(authority.issue("127.0.0.1")) as box:
        found = told(site, box.port, smtp_user="gate", smtp_password="wrong")  # noqa: S106

    assert found.reason == "the mail server refused user or password: 535"
    assert box.mails == []


def test_a_refused_message_is_tried_again(site: Site, authority: Authority) -> None:
    """The code of the answer is the reason until an attempt succeeds."""
    with mail_server(authority.issue("127.0.0.1")) as box:
        box.answers.append("451 later, says somebody who knows DOE^JANE")
        found = told(site, box.port, **LOGIN)
        assert found.reason == "the mail server answered 451"
        assert site.attempt("desk").state is NotificationState.SENT

    assert box.mails[0]["Message-ID"] == f"<{found.delivery_id}@hospital.example>"


@contextlib.contextmanager
def silent() -> Generator[int]:
    """Give the port of a server that sends a byte of its greeting now and then."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                while not over.wait(0.02):
                    connection.sendall(b"2")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        thread.join(30)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_server_that_greets_byte_by_byte_is_cut_at_the_deadline(site: Site, tls: str) -> None:
    """Whether it is to speak TLS at once or later."""
    with silent() as port:
        found = told(site, port, smtp_tls=tls, attempt_seconds=0.5)

    assert found.state is NotificationState.QUEUED
    # What is no TLS may be noticed first.
    assert found.reason in ("no answer within 0.5 s", "the mail server: TLS: WRONG_VERSION_NUMBER")


@pytest.mark.parametrize(
    "address", ["nobody", "a@b, c@d", "a@b\r\nBcc: c@d", "Me <a@b>", "ä@b.example", "@b", "a@"]
)
def test_what_is_not_one_address_is_refused(address: str) -> None:
    """Nothing in it may reach a header but the address."""
    with pytest.raises(ConfigurationError, match="not one e-mail address"):
        mail_address(address)
