"""Rules: what is done with which study, in the order in which they are asked, edited by rows."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request
from fastapi.responses import Response

from gatekeeper.admin.console import Console
from gatekeeper.admin.forms import Typed, word
from gatekeeper.admin.rendering import go, render, trouble
from gatekeeper.admin.routing import Desk, Routes, principal_of
from gatekeeper.admin.rule_form import ACTIONS, GROUPS, RuleForm, wrong_row
from gatekeeper.admin.showing import shown
from gatekeeper.configuration.changes import changing
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.permission import Permission
from gatekeeper.rules import words
from gatekeeper.rules.book import parse_book, rule_of, save, surroundings, switch
from gatekeeper.rules.fields import OUR_FIELDS, Field, field_of
from gatekeeper.rules.matching import Op, ops_for
from gatekeeper.rules.rule import RuleError
from gatekeeper.web.guard import audit_of
from storage import rules as stored

routes = Routes()

COMMON = (
    "Modality",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "BodyPartExamined",
    "PatientAge",
    "PatientSex",
    "PatientID",
    "AccessionNumber",
    "RequestingService",
    "InstitutionName",
    "StationName",
    "Manufacturer",
    "ManufacturerModelName",
    "MagneticFieldStrength",
    "ImageType",
    "SequenceName",
    "ContrastBolusAgent",
    "SliceThickness",
    "StudyDate",
)
"""Attributes that rules often ask about, offered in the form; any DICOM keyword may be asked."""


@routes.get("/rules", Permission.VIEW)
def listing(request: Request, console: Desk) -> Response:
    """Show the rules in the order in which they are asked."""
    return render(request, "rules.html", problem="", **_book(console))


@routes.get("/rules/new", Permission.CONFIGURE)
def ask_new(request: Request, console: Desk, text: Annotated[str, Query()] = "") -> Response:
    """Ask for a new rule."""
    empty = 'name = ""\nwhen = ["Modality is MR"]\nthen = [{ priority = "urgent" }]\n'
    return _form(request, console, RuleForm(text=empty if text else ""))


@routes.post("/rules/new", Permission.CONFIGURE)
def add(request: Request, console: Desk, form: Typed) -> Response:
    """Add a rule at the end."""
    typed = RuleForm.typed(form)
    try:
        rule = typed.rule()
        with _changing(request, console, word(form, "why"), f"rule add {rule.name}") as tx:
            if stored.get(tx, rule.name) is not None:
                raise RuleError("there is one of this name already: edit it", rule.name, "name")
            save(tx, rule, surroundings(tx, console.settings))
    except GatekeeperError as error:
        return _form(request, console, typed, error=error, why=word(form, "why"))
    return go(request, "/rules", f"Saved rule {rule.name}.")


@routes.get("/rules/{name}/edit", Permission.CONFIGURE)
def ask_edit(
    request: Request, console: Desk, name: str, text: Annotated[str, Query()] = ""
) -> Response:
    """Ask for another shape of a rule."""
    with console.database.read() as tx:
        row = stored.get(tx, name)
    if row is None:
        return trouble(request, 404, "There is no such rule", f"rule {shown(name)} is not known")
    try:
        typed = RuleForm.of(rule_of(row), as_text=bool(text))
    except RuleError as error:
        # What an older version stored and this one does not read is written anew.
        return _form(request, console, RuleForm(name=name), error=error, before=name)
    return _form(request, console, typed, before=name)


@routes.post("/rules/{name}/edit", Permission.CONFIGURE)
def edit(request: Request, console: Desk, name: str, form: Typed) -> Response:
    """Replace a rule where it stands."""
    typed = RuleForm.typed(form, name)
    try:
        rule = typed.rule()
        with _changing(request, console, word(form, "why"), f"rule edit {name}") as tx:
            if stored.get(tx, name) is None:
                raise RuleError("it is not known", name)
            save(tx, rule, surroundings(tx, console.settings))
    except GatekeeperError as error:
        return _form(request, console, typed, error=error, before=name, why=word(form, "why"))
    return go(request, "/rules", f"Saved rule {name}.")


@routes.post("/rules/{name}/switch", Permission.CONFIGURE)
def switch_rule(request: Request, console: Desk, name: str, form: Typed) -> Response:
    """Have a rule asked, or not."""
    enabled = word(form, "enabled") == "yes"
    done = "enable" if enabled else "disable"
    try:
        with _changing(request, console, word(form, "why"), f"rule {done} {name}") as tx:
            around = surroundings(tx, console.settings)
            switch(tx, name, enabled=enabled, around=around)
    except GatekeeperError as error:
        return _refused(request, console, error)
    return _done(request, console, f"Rule {name} is {done}d.")


@routes.post("/rules/{name}/move", Permission.CONFIGURE)
def move(request: Request, console: Desk, name: str, form: Typed) -> Response:
    """Ask a rule earlier or later."""
    by = -1 if word(form, "to") == "up" else 1
    try:
        with _changing(request, console, word(form, "why"), f"rule move {name}") as tx:
            names = [row.name for row in stored.listing(tx)]
            if name not in names:
                raise RuleError("it is not known", name)
            position = min(max(1, names.index(name) + 1 + by), len(names))
            stored.move(tx, name, position)
    except GatekeeperError as error:
        return _refused(request, console, error)
    return _done(request, console, f"Rule {name} is asked as number {position}.")


@routes.post("/rules/{name}/remove", Permission.CONFIGURE)
def remove(request: Request, console: Desk, name: str, form: Typed) -> Response:
    """Remove a rule."""
    try:
        with _changing(request, console, word(form, "why"), f"rule remove {name}") as tx:
            if not stored.remove(tx, name):
                raise RuleError("it is not known", name)
    except GatekeeperError as error:
        return _refused(request, console, error)
    return go(request, "/rules", f"Removed rule {name}.")


def _changing(request: Request, console: Console, why: str, otherwise: str) -> Any:
    who = principal_of(request).name
    return changing(console.database, who, why or otherwise, console.settings)


def _book(console: Console) -> dict[str, Any]:
    with console.database.read() as tx:
        rows = stored.listing(tx)
    book = parse_book(rows)
    rules = {rule.name: rule for rule in book.rules}
    return {
        "header_bytes": console.settings.rules.header_kib << 10,
        "rules": [
            {
                "name": row.name,
                "path": f"/rules/{quote(row.name, safe='')}",
                "enabled": row.enabled,
                "description": rules[row.name].description if row.name in rules else "",
                "asked": words.asked(rules.get(row.name)),
                "when": words.when(rules.get(row.name), book.problems.get(row.name, "")),
                "then": words.then(rules.get(row.name)),
                "readable": row.name in rules,
                "changed": row.updated_at,
            }
            for row in rows
        ],
    }


def _refused(request: Request, console: Console, error: GatekeeperError) -> Response:
    audit_of(request.scope).reason = str(error)
    page = "rules_list.html" if request.headers.get("hx-request") else "rules.html"
    # htmx swaps no answer that is an error, and this one is to be read.
    status = 200 if request.headers.get("hx-request") else 422
    return render(request, page, http_status=status, problem=str(error), **_book(console))


def _done(request: Request, console: Console, text: str) -> Response:
    if request.headers.get("hx-request"):
        return render(request, "rules_list.html", said=text, **_book(console))
    return go(request, "/rules", text)


def _form(
    request: Request,
    console: Console,
    typed: RuleForm,
    *,
    error: GatekeeperError | None = None,
    before: str = "",
    why: str = "",
) -> Response:
    if error is not None:
        audit_of(request.scope).reason = str(error)
    with console.database.read() as tx:
        around = surroundings(tx, console.settings)
    return render(
        request,
        "rule_form.html",
        http_status=200 if error is None else 422,
        form=typed,
        before=before,
        problem="" if error is None else str(error),
        wrong=wrong_row(error) if isinstance(error, RuleError) else ("", -1),
        why=why,
        groups=list(GROUPS.items()),
        actions=list(ACTIONS.items()),
        ops=[op.value for op in Op],
        fields=[_row(field_of(name)) for name in (*OUR_FIELDS, *COMMON)],
        targets=sorted({*around.nodes, *around.bundles, *around.channels, "urgent", "routine"}),
    )


def _row(field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "kind": str(field.kind),
        "of": str(field.scope),
        "ops": ", ".join(ops_for(field)),
        "choices": ", ".join(field.choices),
    }
