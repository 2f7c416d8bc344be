"""`gatekeeper tls`: the certificate that we present, and those that we trust."""

from __future__ import annotations

import typer

from gatekeeper import certificates
from gatekeeper.certificates import Expiry
from gatekeeper.cli.output import emit_rows, moment
from gatekeeper.cli.site import AsJson, site_of

app = typer.Typer(help="TLS: our certificate and the CAs we trust.", no_args_is_help=True)


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show subject, names, fingerprint and expiry of each certificate in use, ours first."""
    found = certificates.in_use(site_of(context).settings.tls)
    emit_rows(
        "Certificates",
        found,
        {
            "setting": lambda one: one.key,
            "subject": lambda one: one.certificate.subject,
            "names": lambda one: ", ".join(one.certificate.names),
            "SHA-256": lambda one: one.certificate.fingerprint,
            "expires": _expires,
        },
        as_json=as_json,
        empty="No certificates; `tls.certificate`, `tls.key` and `tls.ca` name them.",
    )


def _expires(one: Expiry) -> str:
    return f"{moment(one.certificate.not_after)} ({one.days} days)"
