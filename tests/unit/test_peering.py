"""What a node's role implies, and what does not go together."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gatekeeper.peering import does, problem, with_roles
from storage.records import Confirm, Node, Retrieve, Role

NODE = Node("NODE", "10.1.2.3", 104)


@pytest.mark.parametrize(
    ("role", "sends", "results", "studies"),
    [
        (Role.SCANNER, True, False, False),
        (Role.ARCHIVE, False, True, False),
        (Role.WORKSTATION, False, True, False),
        (Role.DOWNSTREAM, False, False, True),
    ],
)
def test_a_role_implies_what_such_a_node_does(
    role: Role, sends: bool, results: bool, studies: bool
) -> None:
    """And every node in one role alone could work."""
    node = with_roles(NODE, (role,))

    assert (node.may_send, node.receives_results, node.receives_studies) == (
        sends,
        results,
        studies,
    )
    assert problem(node) is None
    assert node.gated is (role is Role.DOWNSTREAM)


def test_roles_come_in_one_order_and_each_once() -> None:
    """The same roles make the same node, however they were written."""
    roles = (Role.ARCHIVE, Role.SCANNER, Role.ARCHIVE)
    assert with_roles(NODE, roles).roles == (Role.SCANNER, Role.ARCHIVE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "say what the node does"),
        ({"roles": (Role.ARCHIVE, Role.DOWNSTREAM)}, "not both"),
        ({"receives_results": True, "port": 0}, "HOST:PORT"),
        ({"receives_studies": True, "port": 0}, "HOST:PORT"),
        ({"roles": (Role.ARCHIVE,), "port": 0}, "HOST:PORT"),
        ({"may_send": True, "objects": ("report",)}, "--objects"),
        ({"may_send": True, "confirm": Confirm.FIND}, "--confirm"),
        ({"may_send": True, "language": "de"}, "--language"),
        ({"may_send": True, "retrieve": Retrieve.MOVE}, "--retrieve"),
    ],
)
def test_what_does_not_go_together_is_named(changes: dict[str, Any], said: str) -> None:
    """By the option to change."""
    assert said in (problem(dataclasses.replace(NODE, **changes)) or "")


def test_a_downstream_node_without_studies_is_forwarded_what_a_rule_names() -> None:
    """--no-studies is no contradiction to the role."""
    node = dataclasses.replace(with_roles(NODE, (Role.DOWNSTREAM,)), receives_studies=False)

    assert problem(node) is None
    assert does(node) == ["is forwarded the studies that a rule names, past the gate"]
