"""DICOM web services (PS3.18): what the origin server answers, and what is asked as user agent."""

from __future__ import annotations

from http import HTTPStatus

from pydicom.datadict import dictionary_description, keyword_for_tag

from gatekeeper.conformance.document import Block, Code, Section, Steps, Table
from gatekeeper.conformance.overview import SENDER, WEB
from gatekeeper.conformance.site import Site
from gatekeeper.send.stow_answer import BUSY, DIVISIBLE, MEANING
from gatekeeper.web.query import Level
from storage.records import Scope

ROOT = "/dicom-web"
HTTP_STATUSES = "HTTP statuses returned by the origin server"
RESOURCES = "Resources of the origin server"
STUDY, SERIES = "/studies/{study}", "/studies/{study}/series/{series}"
INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"
_FILES, _JSON = "multipart/related; type=application/dicom", "application/dicom+json"
_SEARCH, _RETRIEVE, _METADATA = "search", "retrieve", "retrieve metadata"

ROUTES: tuple[tuple[str, str, str, Scope, str], ...] = (
    ("POST", "/studies", "store", Scope.STOW, _JSON),
    ("POST", STUDY, "store", Scope.STOW, _JSON),
    ("GET", "/studies", _SEARCH, Scope.READ, _JSON),
    ("GET", "/series", _SEARCH, Scope.READ, _JSON),
    ("GET", "/instances", _SEARCH, Scope.READ, _JSON),
    ("GET", f"{STUDY}/series", _SEARCH, Scope.READ, _JSON),
    ("GET", f"{STUDY}/instances", _SEARCH, Scope.READ, _JSON),
    ("GET", f"{SERIES}/instances", _SEARCH, Scope.READ, _JSON),
    ("GET", STUDY, _RETRIEVE, Scope.READ, _FILES),
    ("GET", SERIES, _RETRIEVE, Scope.READ, _FILES),
    ("GET", INSTANCE, _RETRIEVE, Scope.READ, _FILES),
    ("GET", f"{STUDY}/metadata", _METADATA, Scope.READ, _JSON),
    ("GET", f"{SERIES}/metadata", _METADATA, Scope.READ, _JSON),
    ("GET", f"{INSTANCE}/metadata", _METADATA, Scope.READ, _JSON),
)
"""Method, path below `ROOT`, transaction, scope of the token, and media type of the answer."""


def web(site: Site) -> Section:
    """Return the section."""
    return Section(
        "DICOM web services",
        parts=(
            Section(f"{WEB}: origin server", _origin(site)),
            Section(f"{SENDER}: user agent", _agent(site)),
        ),
    )


def _origin(site: Site) -> tuple[Block, ...]:
    settings = site.settings.web
    if settings.port:
        where = f"The service is open here on port {settings.port}, below {ROOT}."
    else:
        where = f"The service is not open here (web.port is 0); open, it is below {ROOT}."
    served = {
        "held": "studies that are held for a person",
        "all": "every study that is kept",
    }[settings.serves]
    return (
        f"{where} Searched and retrieved are {served}.",
        Table(
            RESOURCES,
            ("Method", "Resource", "Transaction", "Scope of the token", "Media type of the answer"),
            tuple(
                (method, Code(path), transaction, scope.value, Code(kind))
                for method, path, transaction, scope, kind in ROUTES
            ),
        ),
        Steps(
            (
                (
                    "Store: the request is multipart/related; type=application/dicom, each part a "
                    "DICOM file of any class and transfer syntax of this chapter. Metadata with "
                    "bulk data (application/dicom+json, +xml) is not taken. The answer is the "
                    "Store Instances Response Module."
                ),
                (
                    "What is answered as stored is as durable as after a C-STORE that was answered "
                    "0000. Failure Reason (0008,1197) has the statuses of C-STORE, and C122 for a "
                    "transfer syntax that is not taken."
                ),
                (
                    f"A request has up to {settings.maximum_parts} parts and "
                    f"{settings.maximum_request_mib} MiB, a part up to "
                    f"{settings.maximum_object_mib} MiB; {settings.uploads} requests are taken in "
                    "at once."
                ),
                (
                    "Retrieve: the data set as received, in the transfer syntax as received. "
                    "Nothing is transcoded or rendered; a request for another transfer syntax is "
                    "answered 406. An instance that came with two contents is given twice."
                ),
                "Retrieve metadata: without bulk data and without bulk data URIs.",
                (
                    "Search: attributes of the level and of those above are matched and returned; "
                    "lists of UIDs, wildcards and ranges are matched, names without regard to "
                    f"case. limit and offset are supported, up to {settings.maximum_results} "
                    "matches an answer; includefield adds nothing; fuzzymatching is answered with "
                    "a warning and literal matching."
                ),
            )
        ),
        _attributes(),
        _statuses(),
    )


def _attributes() -> Table:
    return Table(
        "Attributes of QIDO-RS",
        ("Level", "Attribute", "Tag"),
        tuple(
            (
                level.name.lower(),
                dictionary_description(keyword_for_tag(int(tag, 16))),
                Code(f"({tag[:4]},{tag[4:]})"),
            )
            for level in Level
            for tag in level.value
        ),
    )


def _statuses() -> Table:
    rows = (
        (200, "success; of store: every instance is kept"),
        (202, "store: some instances are kept; the others have their failure reason"),
        (400, "a parameter, UID or body that breaks a rule, which the answer names"),
        (401, "no bearer token, or one that is not valid"),
        (403, "the token's scope does not allow this, or its node may not send"),
        (404, "not here, or not served; or no such resource"),
        (405, "no such method"),
        (406, "the caller accepts no media type or transfer syntax that there is"),
        (408, "the body stopped coming, or the request took too long"),
        (409, "store: no instance is kept"),
        (410, "retrieve: removed by retention"),
        (413, "the body, or a part of it, is too large"),
        (415, "the body is compressed, or of another media type"),
        (429, "too many failed tokens of this address; see Retry-After"),
        (500, "a defect of ours"),
        (503, "out of resources, or as many uploads as may be are under way; see Retry-After"),
    )
    return Table(
        HTTP_STATUSES,
        ("Status", "Name", "When"),
        tuple((Code(str(status)), HTTPStatus(status).phrase, text) for status, text in rows),
    )


def _agent(site: Site) -> tuple[Block, ...]:
    send = site.settings.send
    called = [node.ae_title for node in site.sent_to if node.url]
    return (
        f"Nodes that are sent to by STOW-RS here: {', '.join(called) or 'none'}.",
        Steps(
            (
                (
                    "Store (POST to the studies resource): multipart/related; "
                    f"type=application/dicom, up to {send.stow_objects} objects in a request and "
                    f"no further one from {send.stow_mib} MiB on, each in the transfer syntax that "
                    "it is kept in. Accepted is application/dicom+json."
                ),
                (
                    "An object counts as stored only when the answer lists it in Referenced SOP "
                    "Sequence. Failure and warning reasons are judged as the statuses of C-STORE."
                ),
                (
                    "Search (GET of the studies resource, limit 1): by gatekeeper node echo, to "
                    "see that the service answers."
                ),
                (
                    "Redirects are not followed. A bearer token or a name with password is sent "
                    "where one is set for the node, and by https alone."
                ),
            )
        ),
        Table(
            "HTTP statuses received by the Sender, without a list of instances",
            ("Status", "Meaning", "What becomes of the objects"),
            (
                *tuple(
                    (
                        Code(str(status)),
                        MEANING.get(status, HTTPStatus(status).phrase),
                        _becomes(status),
                    )
                    for status in sorted({*BUSY, *DIVISIBLE, *MEANING})
                ),
                (Code("200, 202"), "success, and no list", "retry briefly"),
                (Code("any other"), "no object's fault", "retry briefly"),
            ),
        ),
    )


def _becomes(status: int) -> str:
    if status in BUSY:
        return "the attempt ends; the next one comes no sooner than Retry-After asks for"
    if status in DIVISIBLE:
        return f"asked again in halves; one object alone: {DIVISIBLE[status].value}"
    return "retry briefly"
