"""Can the audit repository be told with these settings? The rule that is broken, or nothing."""

from __future__ import annotations

from gatekeeper.certificates import parse_fingerprint
from gatekeeper.errors import ConfigurationError, IdentifierError
from gatekeeper.settings import Settings


def problem(settings: Settings) -> ConfigurationError | None:
    """Return why audit messages cannot be sent, or None; also when they are off."""
    audit = settings.audit
    if not audit.enabled or audit.protocol == "udp":
        return None
    if audit.certificate:
        try:
            parse_fingerprint(audit.certificate)
        except IdentifierError as error:
            return ConfigurationError("audit.certificate", str(error))
    if not settings.tls.ca:
        return ConfigurationError("tls.ca", "needed to verify the audit repository")
    return None
