"""Nodes on the pages: added, changed, tried step by step, paused, removed unless rules forbid."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from support.dicom_peers import ScriptedPeer
from support.pages import Pages, text_of
from support.rules import a_rule
from support.waiting import until

from gatekeeper.rules.document import write_rule
from storage import configuration_versions as versions
from storage import nodes, rules
from storage.engine import Database
from storage.records import Confirm, Node, Role

SECONDS = 60.0
HOSTILE = "A<b>&\"'/?#%x"


def node_of(database: Database, ae_title: str) -> Node | None:
    with database.read() as tx:
        return nodes.get(tx, ae_title)


def enter(database: Database, node: Node) -> None:
    with database.begin() as tx:
        nodes.save(tx, node)


def fields(**given: object) -> Mapping[str, object]:
    usual = {"language": "en", "retrieve": "get", "confirm": "none"}
    return usual | given


def test_a_node_is_added_and_edited_as_on_the_command_line(
    pages: Pages, database: Database
) -> None:
    """Its role implies what is usual, and every change is a version with a name and a reason."""
    form = fields(ae_title="PACS", address="10.1.9.9:104", roles="archive", why="new archive")
    added = pages.post("/nodes/new", form)
    assert (added.status_code, added.headers["location"]) == (303, "/nodes/PACS")
    node = node_of(database, "PACS")
    assert node == Node(
        "PACS", "10.1.9.9", 104, receives_results=True, roles=(Role.ARCHIVE,), description=""
    )
    again = pages.post("/nodes/new", form)
    assert (again.status_code, "already" in text_of(again.text)) == (422, True)

    changed = fields(
        address="10.1.9.9:11112",
        roles="archive",
        receives_studies="yes",
        confirm="commitment",
        sop_classes="MR, SR",
        objects=["report", "montage"],
    )
    assert pages.post("/nodes/PACS/edit", changed).status_code == 303
    node = node_of(database, "PACS")
    assert node is not None
    assert (node.port, node.receives_studies, node.confirm) == (11112, True, Confirm.COMMITMENT)
    assert (node.sop_classes, node.objects) == (("MR", "SR"), ("report", "montage"))
    with database.read() as tx:
        latest = versions.listing(tx, 2)
    assert [(one.who, one.why) for one in latest] == [
        ("anna", "node edit PACS"),
        ("anna", "new archive"),
    ]


REFUSED: Sequence[tuple[Mapping[str, str], str]] = (
    ({"address": "10.1.9.9:99999"}, "not HOST:PORT"),
    ({"roles": "archive"}, "needs HOST:PORT"),
    ({"ae_title": "SEVENTEEN LETTERS"}, "AE"),
    ({"networks": "10.1.2.0/99"}, "CIDR"),
    ({"sop_classes": "MRI"}, "no SOP class"),
    ({"quiet_seconds": "soon"}, "quiet time"),
    ({}, "say what the node does: \u2018the role\u2019"),
)


def test_what_cannot_be_is_refused_with_its_rule_and_stays_typed(
    pages: Pages, database: Database
) -> None:
    """Nothing of it is kept but what was typed, in the form."""
    usual = {"ae_title": "NEW", "address": "10.7.7.7", "description": "kept here"}
    for given, rule in REFUSED:
        answer = pages.post("/nodes/new", fields(**{**usual, **given}))
        assert answer.status_code == 422
        assert rule in text_of(answer.text)
        assert "kept here" in answer.text
    assert node_of(database, "NEW") is None


def test_a_node_is_called_and_each_step_shown_with_its_time(
    pages: Pages, database: Database
) -> None:
    """An answer, a refusal and a peer that is not there end as steps, and the echo is kept."""

    def called(what: str) -> str:
        begun = pages.post("/nodes/SCRIPTED/call", {"call": what})
        assert begun.status_code == 303, begun.text
        key = begun.headers["location"].partition("run=")[2].partition("#")[0]
        part = f"/node-parts/run/{key}"
        until(lambda: pages.get(part).status_code == 286, SECONDS, "the call has ended")
        assert pages.get(f"/nodes/SCRIPTED?run={key}").status_code == 200
        return text_of(pages.get(part).text)

    with ScriptedPeer() as peer:
        enter(database, Node("SCRIPTED", "127.0.0.1", peer.port, receives_results=True))
        assert "echo" in called("echo")
        with database.read() as tx:
            echo = nodes.last_echo(tx, "SCRIPTED")
        assert echo is not None
        assert echo.answered
        assert "montage and heatmap: can be delivered" in called("contexts")
        told = called("commitment")
        assert "store" in told
        assert "It did not work" in told
        assert "GATEKEEPER^TEST" in told
    assert "no connection to" in called("roundtrip")
    refused = pages.post("/nodes/ROUTER/call", {"call": "echo"})
    assert (refused.status_code, "has no port" in text_of(refused.text)) == (422, True)


def test_a_node_is_paused_and_stays_while_a_rule_names_it(pages: Pages, database: Database) -> None:
    """A pause shows wherever the node does; a removal says which rule forbids it."""
    assert pages.post("/nodes/ROUTER/switch", {"enabled": "no"}).status_code == 303
    assert "This node is disabled" in text_of(pages.get("/nodes/ROUTER").text)
    assert "disabled" in text_of(pages.get("/node-parts/list").text)
    assert pages.post("/nodes/ROUTER/switch", {"enabled": "yes"}).status_code == 303
    node = node_of(database, "ROUTER")
    assert node is not None
    assert node.enabled

    enter(database, Node("AI", "10.1.1.1", 104, roles=(Role.DOWNSTREAM,), receives_studies=True))
    document = write_rule(a_rule("to the AI"))
    with database.begin() as tx:
        rules.save(tx, "to the AI", document, enabled=True)
    refused = pages.post("/nodes/AI/remove")
    assert refused.status_code == 422
    assert "a rule names node AI: to the AI" in text_of(refused.text)
    assert "--force" not in refused.text
    assert node_of(database, "AI") is not None
    assert pages.post("/nodes/AI/remove", {"disable_rules": "yes"}).status_code == 303
    assert node_of(database, "AI") is None
    with database.read() as tx:
        assert [row.enabled for row in rules.listing(tx)] == [False]


def test_hostile_names_are_only_text(pages: Pages, database: Database) -> None:
    """On the list, the node's page, its form and its sheet, which has no script and one style."""
    text = "<script>alert(1)</script> \N{RIGHT-TO-LEFT OVERRIDE}gpj.exe"
    enter(database, Node(HOSTILE, "10.9.9.9", 0, may_send=True, description=text))
    path = "/nodes/A%3Cb%3E%26%22%27%2F%3F%23%25x"
    for page in ("/nodes", path, path + "/edit", path + "/sheet"):
        answer = pages.get(page)
        assert answer.status_code == 200, page
        assert "<script>alert" not in answer.text
        assert "<b>" not in answer.text
        assert HOSTILE in html.unescape(answer.text)
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in pages.get(path).text
    assert "style-src 'sha256-" in pages.get(path + "/sheet").headers["content-security-policy"]
    assert pages.post(path + "/switch", {"enabled": "no"}).status_code == 303
    missing = pages.get("/nodes/NOBODY")
    assert (missing.status_code, "not known" in text_of(missing.text)) == (404, True)


def test_who_may_only_look_changes_and_calls_nothing(pages: Pages) -> None:
    """403 for everything that changes a node or calls it; the page offers none of it."""
    for path in ("/nodes/new", "/nodes/ROUTER/edit", "/nodes/ROUTER/remove", "/nodes/ROUTER/call"):
        assert pages.post(path, {}, "viewer").status_code == 403
    page = pages.get("/nodes/ROUTER", "viewer").text
    assert "/remove" not in page
    assert "/call" not in page
