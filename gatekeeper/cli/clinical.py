"""`gatekeeper clinical`: clinical values brought in by hand, looked at, and forgotten."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import typer

from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment, short
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.clinical import service
from gatekeeper.clinical.quantities import QUANTITIES
from gatekeeper.clinical.reported import of_report
from gatekeeper.clinical.structured import measurements
from gatekeeper.errors import ClinicalRefused
from gatekeeper.pseudonym import patient as pseudonym_of
from gatekeeper.pseudonym import site_key
from storage import clinical_values
from storage.records import ClinicalValue

app = typer.Typer(
    help="Clinical values beside the images: lung function, saturation, age.",
    no_args_is_help=True,
)


@app.command(name="import")
def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV table, or DICOM Structured Report")],
    as_json: AsJson = False,
) -> None:
    """Keep the values of a file, all or none; a second time changes nothing."""
    site = site_of(context)
    try:
        content = file.read_bytes()
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    key = site_key(site.settings.pseudonyms)
    with site.database() as database, database.begin() as tx:
        if content[128:132] == b"DICM":
            values, refused = _of_report(file, key)
            new = clinical_values.add(tx, values)
            kept = service.Kept(new, len(values) - new)
        else:
            refused = ()
            reference = hashlib.sha256(content).hexdigest()
            kept = service.keep(tx, service.rows_of_csv(content), "csv", reference, key)
    if as_json:
        emit_json({"new": kept.new, "known": kept.known, "refused": list(refused)})
        return
    console.print(f"{kept.new} new, {kept.known} known before.", highlight=False)
    for sentence in refused:
        console.print(f"Not taken: {sentence}", highlight=False, markup=False)


def _of_report(file: Path, key: bytes) -> tuple[list[ClinicalValue], tuple[str, ...]]:
    """Return the values of a Structured Report, and why others were not taken."""
    from pydicom import dcmread

    from gatekeeper.work.source import BoundedReader, quiet
    from gatekeeper.work.values import MALFORMED, text

    if file.stat().st_size > service.LARGEST_DOCUMENT:
        raise ClinicalRefused(f"the file is over {service.LARGEST_DOCUMENT >> 20} MiB")
    try:
        with file.open("rb") as opened, quiet():
            report = dcmread(cast("BinaryIO", BoundedReader(opened)), stop_before_pixels=True)
            found = measurements(report)
            names = ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "IssuerOfPatientID")
            study, sop, patient, issuer = (text(cast("Any", report), name) for name in names)
    except MALFORMED as error:
        raise ClinicalRefused(f"the report does not parse ({type(error).__name__})") from None
    if not found.measured:
        reasons = "".join(f"\n{sentence}" for sentence in found.refused)
        raise ClinicalRefused(f"the report has no measurement that is known{reasons}")
    whose = pseudonym_of(key, patient, issuer) if patient else ""
    return of_report(found.measured, study, whose, sop), found.refused


@app.command(name="list")
def list_values(
    context: typer.Context,
    study: Annotated[str, typer.Option(help="only of this Study Instance UID")] = "",
    limit: Annotated[int, typer.Option(help="newest values shown", min=1, max=100000)] = 100,
    as_json: AsJson = False,
) -> None:
    """List the newest values; of a patient the first digits of his pseudonym."""
    with site_of(context).database() as database, database.read() as tx:
        found = clinical_values.listing(tx, study, limit)
    emit_rows(
        "Clinical values",
        found,
        {
            "study": lambda row: row.study_instance_uid,
            "patient": lambda row: short(row.patient),
            "observed": lambda row: moment(row.observed_at),
            "name": lambda row: row.name,
            "value": lambda row: f"{row.value:g} {row.unit}",
            "given": lambda row: (
                f"{row.given_value:g} {row.given_unit}" if row.given_unit != row.unit else ""
            ),
            "source": lambda row: row.source,
            "arrived": lambda row: moment(row.at),
        },
        as_json=as_json,
        empty="No clinical values yet.",
    )


@app.command()
def forget(
    context: typer.Context,
    study: Annotated[str, typer.Option(help="Study Instance UID")] = "",
    patient: Annotated[str, typer.Option(help="PatientID")] = "",
    issuer: Annotated[str, typer.Option(help="Issuer of Patient ID, where there is one")] = "",
) -> None:
    """Remove the values of a study or of a patient."""
    if not (study or patient):
        fail("name a study or a patient")
    site = site_of(context)
    key = site_key(site.settings.pseudonyms)
    whose = pseudonym_of(key, patient, issuer) if patient else ""
    with site.database() as database, database.begin() as tx:
        gone = clinical_values.forget(tx, study, whose)
    console.print(f"{gone} values removed.", highlight=False)


@app.command()
def quantities(as_json: AsJson = False) -> None:
    """List the quantities that are known, with their units and codes."""
    emit_rows(
        "Quantities",
        list(QUANTITIES.values()),
        {
            "name": lambda one: one.name,
            "meaning": lambda one: one.meaning,
            "unit": lambda one: one.unit,
            "also": lambda one: ", ".join(unit for unit in one.factors if unit != one.unit),
            "from": lambda one: f"{one.lowest:g}",
            "to": lambda one: f"{one.highest:g}",
            "codes": lambda one: ", ".join(f"{scheme} {code}" for scheme, code in one.codes),
        },
        as_json=as_json,
        empty="",
    )
