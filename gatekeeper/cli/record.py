"""`gatekeeper study record | verify`: the signed record of what was decided about a study."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gatekeeper import signing
from gatekeeper.cli.output import console, emit_json, fail
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.decision_record import PAYLOAD_TYPE
from gatekeeper.verification import Answer, signed_of, verify_chain, verify_facts
from storage import decision_records

Uid = Annotated[str, typer.Argument(help="Study Instance UID")]


def register(app: typer.Typer) -> None:
    """Add the commands to `gatekeeper study`."""
    app.command()(record)
    app.command()(verify)


def record(
    context: typer.Context,
    uid: Uid,
    out: Annotated[
        Path | None, typer.Option(help="write the signed envelopes there, for `verify --file`")
    ] = None,
) -> None:
    """Print a study's newest decision record, or write all of them with their signatures."""
    with site_of(context).database() as database, database.read() as tx:
        found = decision_records.of_study(tx, uid)
    if not found:
        fail(f"study {uid} has no decision record; `gatekeeper tick` writes them")
    if out is None:
        typer.echo(found[-1].payload)
        return
    envelopes = signing.envelope(signed_of(found), PAYLOAD_TYPE)
    out.write_text(json.dumps(envelopes, indent=1) + "\n", encoding="utf-8")
    console.print(f"Wrote {len(found)} signed records to {out}.")


def verify(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(help="Study Instance UID; empty for that of FILE")] = "",
    file: Annotated[
        Path | None,
        typer.Option(help="envelopes of `study record --out`; needs no site, only --key"),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="public key that is trusted; default: those beside the site's own"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a study's decision records: signatures, order, and whether the facts still agree."""
    site = site_of(context)
    trusted = [signing.read_public(path) for path in key or ()]
    keys = {signing.key_id(one): one for one in trusted}
    if not keys:
        keys = signing.public_keys(site.settings.signing_key)
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            fail(f"{file}: cannot be read")
        signed = signing.read_envelopes(text, PAYLOAD_TYPE)
        _end(list(verify_chain(signed, keys, uid)), as_json=as_json)
        return
    if not uid:
        fail("say which study, or which --file")
    with site.database() as database, database.read() as tx:
        found = decision_records.of_study(tx, uid)
        answers = list(verify_chain(signed_of(found), keys, uid))
        if found and answers[-1].ok:
            answers += verify_facts(tx, site.spool, uid, json.loads(found[-1].payload))
    _end(answers, as_json=as_json)


def _end(answers: list[Answer], *, as_json: bool) -> None:
    whole = all(one.ok for one in answers)
    if as_json:
        emit_json({"ok": whole, "answers": [asdict(one) for one in answers]})
    else:
        for one in answers:
            sign = "[green]ok[/]" if one.ok else "[bold red]NO[/]"
            console.print(f"{sign:>10} {one.what}: {one.text}", highlight=False)
        console.print("Genuine, and as recorded." if whole else "[bold red]Not as recorded.[/]")
    if not whole:
        raise typer.Exit(1)
