"""E-mail over SMTP (RFC 5321), by TLS from the start or by STARTTLS (RFC 3207), never by neither.

With TLS asked for, a server that offers none is an error, and so is one whose certificate is not
its own. A password is never sent in plain text.
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
from email.message import EmailMessage
from email.utils import formatdate

from gatekeeper.errors import TransportError
from gatekeeper.notify import line
from gatekeeper.notify.readiness import check_mail
from gatekeeper.notify.render import Message
from gatekeeper.settings import NotifySettings


def send(message: Message, address: str, settings: NotifySettings) -> None:
    """Hand a message to the mail server.

    Args:
        message: what to send.
        address: of the recipient.
        settings: ``[notify]``.

    Raises:
        ConfigurationError: if a setting is missing or breaks a rule.
        TransportError: if the server did not take the message.
    """
    check_mail(settings)
    mail = compose(message, address, settings.from_address)
    context = None if settings.smtp_tls == "none" else line.tls_context(settings)
    connection = line.connect(settings.smtp_host, settings.smtp_port, settings)
    try:
        with line.Deadline(connection, settings.attempt_seconds):
            if context is not None and settings.smtp_tls == "tls":
                connection = context.wrap_socket(connection, server_hostname=settings.smtp_host)
            session = _Session(connection, settings)
            with contextlib.closing(session):
                if context is not None and settings.smtp_tls == "starttls":
                    session.starttls(context=context)
                if settings.smtp_user:
                    session.login(settings.smtp_user, settings.smtp_password)
                session.send_message(mail, settings.from_address, [address])
                # The server has the message; how the session ends changes nothing.
                with contextlib.suppress(smtplib.SMTPException, OSError):
                    session.quit()
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise TransportError(_reason(error)) from None
    finally:
        connection.close()


def compose(message: Message, address: str, sender: str) -> EmailMessage:
    """Return the e-mail of a message: automatic (RFC 3834), of one Message-ID for all attempts."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = address
    mail["Subject"] = message.subject
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = f"<{message.delivery_id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    return mail


class _Session(smtplib.SMTP):
    """A session on a connection that is there already."""

    def __init__(self, connection: socket.socket, settings: NotifySettings) -> None:
        self._connection = connection
        super().__init__(
            settings.smtp_host,
            settings.smtp_port,
            # Its default asks the resolver for our own name, and waits for it.
            local_hostname=socket.gethostname(),
            timeout=settings.attempt_seconds,
        )

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002
        return self._connection


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({str(code) for code, _ in error.recipients.values()})
        return f"the mail server refused the recipient: {', '.join(codes)}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"the mail server refused user or password: {error.smtp_code}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the mail server answered {error.smtp_code}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "the mail server offers no STARTTLS, or no log-in, and settings ask for it"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "the mail server closed the connection"
    return f"the mail server: {line.reason(error)}"
