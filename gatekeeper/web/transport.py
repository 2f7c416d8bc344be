"""https by the house's certificate; plain http on a loopback address, or when a setting says so."""

from __future__ import annotations

import dataclasses
import ipaddress
import ssl

from gatekeeper.errors import ConfigurationError
from gatekeeper.settings import Settings
from gatekeeper.tls import Credentials


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what to serve https with, None for plain http.

    Raises:
        ConfigurationError: if plain http is not allowed on this address, or a file of `tls` cannot
            be used.
    """
    web = settings.web
    if settings.tls.certificate and not web.plain:
        tls = settings.tls
        if not web.require_certificate:
            # A browser would ask its user for a certificate.
            tls = dataclasses.replace(tls, require_certificate=False, ca="")
        return _renewed(
            Credentials(dataclasses.replace(tls, require_certificate=web.require_certificate))
        )
    if not web.plain and not _is_loopback(web.host):
        raise ConfigurationError(
            "web.host", f"{web.host}: http would be in the clear; set tls.certificate or web.plain"
        )
    return None


def _renewed(credentials: Credentials) -> ssl.SSLContext:
    """Return a context whose handshakes present the certificate as its file is by then."""

    def renew(
        connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: object
    ) -> None:
        connection.context = credentials.server_context()

    context = credentials.server_context()
    context.set_servername_callback(renew)
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
