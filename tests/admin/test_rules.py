"""Rules on the pages: made by rows or as text, ordered, and tried on what is dropped or stored."""

from __future__ import annotations

from typing import Any

from listen.wire import encoded, image
from support.pages import Pages, text_of
from support.receiving import receive_data, running_receiver
from support.web import part10

from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.rules.book import parse_book
from gatekeeper.rules.rule import Rule
from storage import nodes, rules
from storage.engine import Database
from storage.records import Node, Role

MARK = "<script>alert(1)</script>"


def book(database: Database) -> list[Rule]:
    with database.read() as tx:
        return list(parse_book(rules.listing(tx)).rules)


def a_form(name: str = "", **given: Any) -> dict[str, Any]:
    usual = {
        "name": name,
        "group": "any",
        "field": ["StudyDescription", "source", ""],
        "op": ["contains", "one of", "is"],
        "value": ["trauma", "MR1, CT1", ""],
        "kind": ["forward", "priority", ""],
        "target": ["AI", "urgent", ""],
        "hours": ["", "", ""],
        "count": ["", "", ""],
        "modality": ["", "", ""],
        "enabled": "yes",
        "why": "the AI is for trauma",
    }
    return usual | given


def enter(database: Database) -> None:
    with database.begin() as tx:
        nodes.save(tx, Node("AI", "10.1.1.1", 104, roles=(Role.DOWNSTREAM,), receives_studies=True))


def test_a_rule_is_made_by_rows_changed_as_text_and_put_in_order(
    pages: Pages, database: Database
) -> None:
    """What the rows say is what the command line would have stored; each change is a version."""
    enter(database)
    assert pages.post("/rules/new", a_form("trauma")).status_code == 303
    assert pages.post("/rules/new", a_form("second", group="all")).status_code == 303
    shown = text_of(pages.get("/rules").text)
    assert "StudyDescription contains trauma or source one of MR1, CT1" in shown
    assert "forward AI, priority urgent" in shown
    assert pages.post("/rules/second/move", {"to": "up"}).status_code == 303
    assert [rule.name for rule in book(database)] == ["second", "trauma"]
    assert pages.post("/rules/second/switch", {"enabled": "no"}).status_code == 303
    assert [rule.enabled for rule in book(database)] == [False, True]

    again = a_form(every=["0"], op=["contains", "is not", "is"], value=["x", "MR1", ""])
    assert pages.post("/rules/trauma/edit", again).status_code == 303
    edited = pages.get("/rules/trauma/edit").text
    assert 'value="MR1"' in edited
    nested = """when = [{ any = ["Modality is MR", { none = ["source is X"] }] }]
then = [{ hold = "*", hours = 4 }]"""
    assert pages.post("/rules/trauma/edit", {"text": nested}).status_code == 303
    # Groups in groups have no rows.
    assert "none = " in pages.get("/rules/trauma/edit").text
    assert pages.post("/rules/second/remove").status_code == 303
    assert [rule.name for rule in book(database)] == ["trauma"]
    assert pages.post("/rules/trauma/remove", {}, "viewer").status_code == 403


def test_what_is_wrong_in_a_rule_is_named_in_its_row(pages: Pages, database: Database) -> None:
    """The field that was meant, the ways to compare it, the node that is not there."""
    enter(database)
    refused = (
        ({"field": ["StudyDescripton", "source", ""]}, "meant: StudyDescription", "Field 1"),
        ({"op": ["contains", "between", "is"]}, "between", "Field 2"),
        ({"target": ["NOBODY", "urgent", ""]}, "no node &#39;NOBODY&#39;", "Action 1"),
        ({"kind": ["hold", "", ""], "hours": ["soon", "", ""]}, "hours is a number", "Action 1"),
        ({"kind": ["", "", ""]}, "needs an action", ""),
        ({"name": MARK}, "letters, digits, spaces", ""),
        ({"text": "when = ["}, "not TOML", ""),
    )
    for given, why, row in refused:
        answer = pages.post("/rules/new", a_form("new") | given)
        assert answer.status_code == 422
        assert why in answer.text
        assert MARK not in answer.text
        marked = (
            answer.text.partition("rule-row wrong")[2]
            or answer.text.partition("rule-row action wrong")[2]
        )
        assert bool(marked) == bool(row)
        assert row in marked[:600]
    assert book(database) == []


def test_a_dropped_file_shows_each_condition_with_the_value_found(
    pages: Pages, database: Database
) -> None:
    """Header alone, foreign text escaped; what is no DICOM file and what is too much are said."""
    enter(database)
    pages.post("/rules/new", a_form("trauma"))
    file = part10("1.2.3.1", StudyDescription=f"Trauma {MARK}", PatientName=MARK)

    def tried(content: bytes, **given: str) -> str:
        answer = pages.post("/rules/try", given, files={"files": ("x.dcm", content)})
        assert MARK not in answer.text
        return text_of(answer.text)

    told = tried(file, source="MR9", verdict="SUSPECT", p_value="0.01")
    assert "forwarded to AI (rule trauma)" in told
    assert f"StudyDescription contains trauma it is Trauma {MARK}" in told
    assert "source one of MR1, CT1 it is MR9 no" in told
    assert "Once judged" in told
    assert "no DICOM file" in tried(b"plain text")
    assert "no DICOM file" in tried(file[:200])
    assert "p-value" in tried(file, p_value="often")
    assert "drop a DICOM file" in text_of(pages.post("/rules/try", {}).text)


def test_rules_are_tried_on_a_study_that_was_received(pages: Pages, database: Database) -> None:
    """By its UID, with who sent it as received."""
    enter(database)
    pages.post("/rules/new", a_form("trauma"))
    with running_receiver(database, pages.spool) as receiver:
        scanner = OpenAssociation("MR1", "127.0.0.1")
        data = encoded(image("1.2.3.1", StudyInstanceUID="1.2.3"))
        assert receive_data(receiver, "1.2.3.1", data, scanner).status == 0
    told = text_of(pages.post("/rules/try", {"study": "1.2.3"}).text)
    assert "source one of MR1, CT1 it is MR1" in told
    assert "forwarded to AI" in told
    assert "no study of this UID" in text_of(pages.post("/rules/try", {"study": "1.2.9"}).text)
    assert "not a UID" in text_of(pages.post("/rules/try", {"study": MARK}).text)
