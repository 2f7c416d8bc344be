"""Taking clinical values: rows of a CSV file or a document of the API.

`keep` is what the command line and the REST API call. A document is taken as a whole or not at
all, so that whoever sent it knows what is here; each row that is wrong is named with its number.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from gatekeeper import pseudonym
from gatekeeper.clinical.quantities import named
from gatekeeper.errors import ClinicalRefused, IdentifierError
from gatekeeper.identifiers import Uid
from storage import clinical_values
from storage.records import ClinicalValue

FIELDS = ("study", "patient", "issuer", "observed", "name", "value", "unit")
"""Of a row: Study Instance UID or PatientID with its issuer, when, what, how much, UCUM unit."""
MAXIMUM_ROWS = 100_000
LARGEST_DOCUMENT = 16 << 20
_NAMED_WRONG = 20


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a document.

    Attributes:
        new: values that were not known.
        known: values that were kept before.
    """

    new: int
    known: int


def keep(
    tx: Connection,
    rows: Iterable[Mapping[str, object]],
    source: str,
    reference: str,
    key: bytes,
) -> Kept:
    """Keep the values of a document; doing so twice changes nothing.

    Args:
        tx: the open transaction.
        rows: each with fields of `FIELDS`. One of `study` and `patient` is needed, the other left
            out or empty: a value of a study is used for it alone, one of a patient for his studies
            within the window of `clinical.window_days`. `observed` is an ISO 8601 date or date and
            time, UTC where it has no offset, needed for a patient.
        source: ``csv`` or ``api``.
        reference: where it can be looked up: digest of the file, name of the caller.
        key: of `gatekeeper.pseudonym`; PatientID is kept as its keyed hash alone.

    Raises:
        ClinicalRefused: naming up to 20 wrong rows; nothing is kept then.
    """
    values: list[ClinicalValue] = []
    wrong: list[str] = []
    for number, row in enumerate(rows, start=1):
        if number > MAXIMUM_ROWS:
            raise ClinicalRefused(f"over {MAXIMUM_ROWS:,} rows in one document")
        try:
            values.append(_checked(row, source, reference, key))
        except ClinicalRefused as error:
            wrong.append(f"row {number}: {error}")
    if wrong:
        more = f"\n... and {len(wrong) - _NAMED_WRONG} more" if len(wrong) > _NAMED_WRONG else ""
        raise ClinicalRefused("\n".join(wrong[:_NAMED_WRONG]) + more)
    if not values:
        raise ClinicalRefused("the document has no rows")
    new = clinical_values.add(tx, values)
    return Kept(new, len(values) - new)


def rows_of_csv(content: bytes) -> list[dict[str, object]]:
    """Return the rows of a CSV file with a header line of `FIELDS`, UTF-8.

    Raises:
        ClinicalRefused: if it is too large, no such table, or has an unknown column.
    """
    if len(content) > LARGEST_DOCUMENT:
        raise ClinicalRefused(f"the file is over {LARGEST_DOCUMENT >> 20} MiB")
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True)
        head = list(reader.fieldnames or ())
        unknown = [column for column in head if column not in FIELDS]
        lacking = [column for column in ("name", "value", "unit") if column not in head]
        if unknown or lacking:
            raise ClinicalRefused(f"the columns must be of: {', '.join(FIELDS)}")
        return [{str(name): text for name, text in row.items()} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ClinicalRefused(
            f"the file is no CSV table in UTF-8 ({type(error).__name__})"
        ) from None


def _checked(row: Mapping[str, object], source: str, reference: str, key: bytes) -> ClinicalValue:
    unknown = [name for name in row if name not in FIELDS]
    if unknown:
        raise ClinicalRefused(f"a field that is not one of: {', '.join(FIELDS)}")
    study, patient = _text(row, "study"), _text(row, "patient")
    if bool(study) == bool(patient):
        raise ClinicalRefused("exactly one of study and patient is needed")
    try:
        study = str(Uid.parse(study)) if study else ""
    except IdentifierError as error:
        raise ClinicalRefused(f"study: {error}") from None
    observed_at = _observed(_text(row, "observed"))
    if patient and not observed_at:
        raise ClinicalRefused("a value of a patient needs the time of its observation")
    quantity = named(_text(row, "name"))
    value, unit = _number(row.get("value")), _text(row, "unit")
    return ClinicalValue(
        study_instance_uid=study,
        patient=pseudonym.patient(key, patient, _text(row, "issuer")) if patient else "",
        observed_at=observed_at,
        name=quantity.name,
        value=quantity.converted(value, unit),
        unit=quantity.unit,
        given_value=value,
        given_unit=unit,
        source=source,
        reference=reference,
    )


def _text(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ClinicalRefused(f"{name} is not a text")
    return value.strip()


def _number(value: object) -> float:
    try:
        found = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise ClinicalRefused("value is not a number")
    return found


def _observed(text: str) -> float:
    if not text:
        return 0.0
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ClinicalRefused("observed is not an ISO 8601 date or date and time") from None
