"""Clinical values: lung function, saturation, age, brought by programs and used beside images."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request
from pydantic import Field, StrictFloat, StrictInt

from gatekeeper.admin.routing import Desk, principal_of
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import Answer, Asked, Line, StudyUid
from gatekeeper.clinical import service
from gatekeeper.identity.permission import Permission
from gatekeeper.pseudonym import site_key
from storage import clinical_values

routes = ApiRoutes("Clinical values")

_ROWS = 10_000
_SHOWN = 1000


class Row(Asked):
    """One value, of a study or of a patient; see `gatekeeper clinical import`."""

    study: Line = ""
    patient: Line = ""
    issuer: Line = ""
    observed: Line = Field("", description="ISO 8601; UTC where it has no offset.")
    name: Line
    value: StrictInt | StrictFloat
    unit: Line = Field(description="UCUM.")


class Rows(Asked):
    """Values that are kept as a whole or not at all."""

    rows: Annotated[list[Row], Field(min_length=1, max_length=_ROWS)]


class Kept(Answer):
    """What became of them."""

    new: int
    known: int


class Value(Answer):
    """One value that is kept, in the one unit of its name."""

    study_instance_uid: str
    observed_at: float
    name: str
    value: float
    unit: str
    given_value: float
    given_unit: str
    source: str
    reference: str


@routes.post("/clinical-values", Permission.OPERATE)
def keep(request: Request, console: Desk, asked: Rows) -> Kept:
    """Keep values; a second time changes nothing. PatientID is kept as its keyed hash alone."""
    key = site_key(console.settings.pseudonyms)
    rows = [one.model_dump() for one in asked.rows]
    with console.database.begin() as tx:
        kept = service.keep(tx, rows, "api", principal_of(request).name, key)
    return Kept.model_validate(kept)


@routes.get("/studies/{uid}/clinical-values", Permission.VIEW)
def of_study(console: Desk, uid: StudyUid) -> list[Value]:
    """List the values that were brought for a study, the newest first."""
    with console.database.read() as tx:
        found = clinical_values.listing(tx, uid, _SHOWN)
    return [Value.model_validate(one) for one in found]
