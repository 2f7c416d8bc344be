"""Documents have one form, and a file says all of one: properties over every shape of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from configuration.documents import WHOLE, documents, stated
from hypothesis import given

from gatekeeper.configuration import file
from gatekeeper.configuration.document import canonical, differences, digest_of
from gatekeeper.errors import ConfigurationError

PACS = {"host": "10.1.9.9", "port": 104, "receives_results": True}


@given(documents())
def test_what_is_exported_is_imported_as_it_was(document: Any) -> None:
    """The file says the whole document, and the same document as the same bytes."""
    text = file.written(document, WHOLE.sections)

    assert WHOLE.parse(file.parsed(text, "file")) == document
    assert file.written(json.loads(canonical(document)), WHOLE.sections) == text


@given(stated())
def test_a_document_has_one_form(given_: Any) -> None:
    """Parsing what was parsed changes nothing, and no section is empty."""
    document = WHOLE.parse(given_)

    assert canonical(WHOLE.parse(document)) == canonical(document)
    assert all(document.values())


@given(documents(), documents())
def test_nothing_differs_exactly_where_documents_are_equal(first: Any, second: Any) -> None:
    """An empty diff and an equal digest are the same statement."""
    assert (differences(first, second) == ()) == (digest_of(first) == digest_of(second))
    assert differences(first, first) == ()


@given(documents(), documents())
def test_a_difference_names_what_it_takes_to_get_there(first: Any, second: Any) -> None:
    """Applied to the first document, the differences give the second."""
    made = json.loads(canonical(first))
    for one in differences(first, second):
        items = made.setdefault(one.section, {})
        if not one.key and one.after is None:
            del items[one.item]
        elif not one.key:
            items[one.item] = one.after
        elif one.after is None:
            del items[one.item][one.key]
        else:
            items[one.item][one.key] = one.after

    assert {name: items for name, items in made.items() if items} == second


def test_the_diff_tells_apart_what_python_calls_equal() -> None:
    """1, 1.0 and true are three values in a file."""
    found = differences({"s": {"i": {"key": 1}}}, {"s": {"i": {"key": True}}})

    assert [(one.key, one.before, one.after) for one in found] == [("key", 1, True)]


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"nods": {}}, "nods: no such section"),
        ({"nodes": 3}, "nodes: must be a table"),
        ({"nodes": {"PACS": 3}}, "nodes.PACS: must be a table"),
        ({"nodes": {"PACS": {}}}, "nodes.PACS.host: is missing"),
        ({"nodes": {"PACS": PACS | {"hots": ""}}}, "nodes.PACS.hots: no such key"),
        ({"nodes": {"PACS": PACS | {"port": "104"}}}, "nodes.PACS.port: must be a whole number"),
        ({"nodes": {"PACS": PACS | {"port": True}}}, "nodes.PACS.port: must be a whole number"),
        ({"nodes": {"PACS": PACS | {"tls": 1}}}, "nodes.PACS.tls: must be true or false"),
        ({"nodes": {"PACS": PACS | {"confirm": "x"}}}, "nodes.PACS.confirm: must be one of none"),
        ({"nodes": {"PACS": PACS | {"confirm": []}}}, "nodes.PACS.confirm: must be one of none"),
        ({"nodes": {"PACS": PACS | {"roles": "x"}}}, "nodes.PACS.roles: must be a list"),
        ({"nodes": {"PACS": PACS | {"roles": ["x"]}}}, r"nodes.PACS.roles\[0\]: must be one of"),
        (
            {"nodes": {"PACS": PACS | {"networks": [3]}}},
            r"nodes.PACS.networks\[0\]: must be a text",
        ),
        (
            {"nodes": {"PACS": PACS | {"description": "\0"}}},
            "nodes.PACS.description: must be a text",
        ),
        (
            {"nodes": {"PACS": PACS | {"quiet_seconds": float("nan")}}},
            "nodes.PACS.quiet_seconds: must be a finite number",
        ),
        ({"rules": {"r": {"then": []}}}, "rules.r: it does nothing"),
        ({"rules": {"r": {"then": [{"fly": 1}]}}}, r"rules.r: then\[0\]: an action is a table"),
        ({"rules": {"r": {"position": "1", "then": []}}}, "rules.r.position: must be a whole"),
        ({"rules": {"r": {"name": "s", "then": []}}}, "rules.r.name: a rule is named by its table"),
        ({"channels": {"c": {"kind": "fax", "address": ""}}}, "channels.c.kind: must be one of"),
        ({"models": {"MR": {"bundle": ""}}}, "models.MR: 'MR' is not a profile"),
        (
            {"models": {"MR/BRAIN/T1": {"bundle": ""}, "mr/brain/t1": {"bundle": ""}}},
            "models.mr/brain/t1: is named twice",
        ),
        ({"models": {"MR/BRAIN/T1": {}}}, "models.MR/BRAIN/T1.bundle: is missing"),
        ({"policy": {"listen": {"port": 104}}}, "listen.port: is not set in the database"),
        (
            {"policy": {"models": {"false_hold_rate": 0.9}}},
            "models.false_hold_rate: must be at most 0.5",
        ),
        (
            {"policy": {"models": {"false_hold_rate": float("nan")}}},
            "models.false_hold_rate: must be a finite number",
        ),
    ],
)
def test_what_is_wrong_is_named(given_: dict[str, Any], named: str) -> None:
    """The section, the item and the key, in the sentence that a person reads."""
    with pytest.raises(ConfigurationError, match=named):
        WHOLE.parse(given_)


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (PACS | {"port": 0}, "nodes.PACS: is sent to, but has no port"),
        (PACS | {"port": 70000}, "nodes.PACS: port 70000"),
        (PACS | {"language": "tlh"}, "nodes.PACS: "),
        (PACS | {"objects": ["film"]}, "nodes.PACS: "),
        (PACS | {"networks": ["10.1"]}, "nodes.PACS: "),
        (PACS | {"certificate": "ab"}, "nodes.PACS: "),
        (PACS | {"quiet_seconds": -1}, "nodes.PACS: quiet_seconds is under 0"),
        (PACS | {"sop_classes": ["films"]}, "nodes.PACS: "),
        (PACS | {"url": "ftp://h/"}, "nodes.PACS: "),
        (PACS | {"roles": ["archive", "downstream"]}, "nodes.PACS: a node is an archive or "),
    ],
)
def test_a_node_that_cannot_work_is_a_problem(item: dict[str, Any], named: str) -> None:
    """With its name, as the commands would say."""
    [problem] = WHOLE.problems(WHOLE.parse({"nodes": {"PACS": item}}))

    assert problem.startswith(named)


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ({"kind": "email", "address": "nobody"}, "channels.c: address"),
        ({"kind": "webhook", "address": "http://h/"}, "channels.c: webhook"),
        ({"kind": "email", "address": "a@b", "events": ["x"]}, "channels.c: events: no event 'x'"),
    ],
)
def test_a_channel_that_cannot_work_is_a_problem(item: dict[str, Any], named: str) -> None:
    """With its name, as the commands would say."""
    [problem] = WHOLE.problems(WHOLE.parse({"channels": {"c": item}}))

    assert problem.startswith(named)


def test_rules_stand_in_the_file_in_their_order() -> None:
    """As a person would write them; one without a position comes last."""
    stated_ = {
        "rules": {
            "a second": {"position": 7, "then": [{"forward": "PACS"}]},
            "b last": {"when": ["Modality is MR"], "then": [{"skip": True}]},
            "c first": {
                "position": 2,
                "when": [{"any": ["source is CT1"]}],
                "then": [{"hold": "*"}],
            },
        }
    }
    document = WHOLE.parse(stated_)
    text = file.written(document, WHOLE.sections)

    assert document["rules"]["b last"]["position"] == 8
    names = [line for line in text.splitlines() if line.startswith('[rules."')]
    assert names == ['[rules."c first"]', '[rules."a second"]', '[rules."b last"]']


def test_a_bundle_that_is_not_there_is_a_problem() -> None:
    """Or one that was made for something else."""
    chosen = {"MR/BRAIN/T1": {"bundle": "gone"}, "MR/PELVIS/T2": {"bundle": "mr-brain-t1"}}
    found = WHOLE.problems(WHOLE.parse({"models": chosen}))

    assert "bundle gone is not installed" in found[0]
    assert found[1] == "models.MR/PELVIS/T2: mr-brain-t1 is made for MR/BRAIN/T1"


@pytest.mark.parametrize("text", ["format = 2", "nodes", "nodes = {", "format = 'x'"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    """Of another format, or no TOML at all."""
    with pytest.raises(ConfigurationError, match="file"):
        file.parsed(text, "file")
