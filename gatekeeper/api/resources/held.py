"""Held: the studies that wait for a person, whose hold ends first comes first."""

from __future__ import annotations

from gatekeeper.admin.routing import Desk
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import After, Answer, Limit
from gatekeeper.api.paging import Page, moment_and_text_of, place_after
from gatekeeper.api.resources.studies import Forward, Header
from gatekeeper.identity.permission import Permission
from storage import forwards, study_headers

routes = ApiRoutes("Studies")


class Held(Answer):
    """A study that is held."""

    study_instance_uid: str
    header: Header | None
    forwards: list[Forward]


@routes.get("/held", Permission.VIEW)
def listing(console: Desk, limit: Limit = 50, after: After = "") -> Page[Held]:
    """List what is held; `release` and `reject` of a study decide."""
    with console.database.read() as tx:
        found = forwards.held_studies(tx, limit, moment_and_text_of(after))
        uids = [uid for _, uid in found]
        of = forwards.held_of(tx, uids)
        headers = study_headers.of_studies(tx, uids)
    items = [
        Held.model_validate(
            {"study_instance_uid": uid, "header": headers.get(uid), "forwards": of.get(uid, [])}
        )
        for uid in uids
    ]
    return Page(items=items, next=place_after(found, limit, *found[-1]) if found else None)
