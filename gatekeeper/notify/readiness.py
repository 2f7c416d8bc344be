"""Can a channel be sent to with these settings? The rule that is broken, or nothing."""

from __future__ import annotations

from gatekeeper.errors import ConfigurationError
from gatekeeper.notify.address import mail_address, webhook_target
from gatekeeper.settings import NotifySettings
from storage.records import Channel, ChannelKind

SHORTEST_KEY = 32
"""Characters of the key that signs webhooks; fewer are refused."""


def check_mail(settings: NotifySettings) -> None:
    """Raise when no e-mail can be sent.

    Raises:
        ConfigurationError: naming the setting.
    """
    if not settings.smtp_host:
        raise ConfigurationError("notify.smtp_host", "not set; e-mail needs a mail server")
    if settings.smtp_user and settings.smtp_tls == "none":
        raise ConfigurationError("notify.smtp_tls", "none, and a password is sent by TLS alone")
    mail_address(settings.from_address, "notify.from_address")


def check_webhook(settings: NotifySettings) -> None:
    """Raise when no webhook can be called.

    Raises:
        ConfigurationError: naming the setting.
    """
    if len(settings.webhook_key) < SHORTEST_KEY:
        raise ConfigurationError(
            "notify.webhook_key", f"webhooks are signed: at least {SHORTEST_KEY} characters"
        )


def problem(channel: Channel, settings: NotifySettings) -> ConfigurationError | None:
    """Return why a channel cannot be sent to, or None."""
    try:
        if channel.kind is ChannelKind.EMAIL:
            check_mail(settings)
        else:
            check_webhook(settings)
            webhook_target(channel.address, settings.plain_hosts)
    except ConfigurationError as error:
        return error
    return None
