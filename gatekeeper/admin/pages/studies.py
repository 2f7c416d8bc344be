"""Studies: found by patient, description, device, verdict and stage, one page at a time."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import Response

from gatekeeper.admin.console import Console
from gatekeeper.admin.rendering import live, render
from gatekeeper.admin.routing import Desk, Routes
from gatekeeper.history import StudyPage, find_studies
from gatekeeper.identity.permission import Permission
from storage import study_headers
from storage.study_search import Position, Stage, StudyFilter

routes = Routes()

STUDIES_A_PAGE = 50
_VERDICTS = ("SUSPECT", "CLEAR", "UNREADABLE", "UNCALIBRATED")
_FIELDS = (
    "text",
    "verdict",
    "stage",
    "held",
    "modality",
    "source",
    "device",
    "received_from",
    "received_to",
    "study_from",
    "study_to",
)
_FURTHER = _FIELDS[5:]
_LONGEST = 200

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a search asks for.

    Attributes:
        typed: by field, as it was typed, to stand in the form again.
        by: the same, parsed.
        after: where the page begins; None for the first.
        problems: what of it could not be understood and is left out, in sentences.
    """

    typed: Mapping[str, str]
    by: StudyFilter
    after: Position | None
    problems: tuple[str, ...]

    @property
    def query(self) -> str:
        """The fields as a query string, without the page."""
        return urlencode({name: text for name, text in self.typed.items() if text})

    @property
    def is_narrow(self) -> bool:
        """Whether anything is asked for."""
        return any(self.typed.values())

    @property
    def is_further(self) -> bool:
        """Whether one of the fields is used that are folded away."""
        return any(self.typed[name] for name in _FURTHER)


@routes.get("/studies", Permission.VIEW)
def search(request: Request, console: Desk) -> Response:
    """Show a page of the studies that have what is asked for."""
    asked = asked_of(request.query_params)
    with console.database.read() as tx:
        devices = study_headers.devices(tx)
    return render(
        request,
        "studies.html",
        asked=asked,
        devices=devices,
        verdicts=_VERDICTS,
        stages=[one.value for one in Stage],
        **_found(console, asked),
    )


@routes.get("/studies/list", Permission.VIEW)
def listed(request: Request, console: Desk) -> Response:
    """Show the page of studies again, if it has changed."""
    asked = asked_of(request.query_params)
    return live(request, "studies_list.html", asked=asked, **_found(console, asked))


def asked_of(given: Mapping[str, str]) -> Asked:
    """Return what a query string asks for; what it has wrong is left out and said."""
    typed = {name: given.get(name, "").strip()[:_LONGEST] for name in _FIELDS}
    problems: list[str] = []

    def parsed(name: str, parse: Callable[[str], _Parsed], problem: str) -> _Parsed | None:
        if not typed[name]:
            return None
        try:
            return parse(typed[name])
        except (ValueError, OverflowError, OSError):
            problems.append(problem)
            return None

    no_date = "{} is left out: it is no date, as 2026-03-31 is one."
    received_to = parsed("received_to", _end_of, no_date.format("'Received until'"))
    study_from = parsed("study_from", _date, no_date.format("'Study from'"))
    study_to = parsed("study_to", _date, no_date.format("'Study until'"))
    by = StudyFilter(
        text=typed["text"],
        verdict=typed["verdict"].upper(),
        stage=parsed("stage", Stage, "The stage is left out: there is no such stage."),
        held={"yes": True, "no": False}.get(typed["held"]),
        modality=typed["modality"].upper(),
        source_ae=typed["source"],
        device=typed["device"],
        received_from=parsed("received_from", _beginning_of, no_date.format("'Received from'")),
        received_to=received_to,
        study_date_from="" if study_from is None else study_from.strftime("%Y%m%d"),
        study_date_to="" if study_to is None else study_to.strftime("%Y%m%d"),
    )
    return Asked(typed, by, _after(given.get("after", "")), tuple(problems))


def _found(console: Console, asked: Asked) -> dict[str, Any]:
    with console.database.read() as tx:
        page: StudyPage = find_studies(tx, asked.by, STUDIES_A_PAGE, asked.after)
    following = ""
    if page.following is not None:
        after = f"{page.following.received_at!r}~{page.following.study_instance_uid}"
        following = "/studies?" + "&".join(filter(None, (asked.query, urlencode({"after": after}))))
    first = "/studies" + (f"?{asked.query}" if asked.query else "")
    return {"page": page, "following": following, "first": first}


def _after(text: str) -> Position | None:
    at, _, uid = text.partition("~")
    try:
        return Position(float(at), uid[:64]) if uid else None
    except ValueError:
        return None


def _date(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def _beginning_of(text: str) -> float:
    return _midnight(_date(text))


def _end_of(text: str) -> float:
    return _midnight(_date(text) + datetime.timedelta(days=1))


def _midnight(day: datetime.date) -> float:
    return datetime.datetime.combine(day, datetime.time()).astimezone().timestamp()
