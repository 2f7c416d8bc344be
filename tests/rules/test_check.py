"""What a rule names has to be there when it is saved, and stays while it is asked."""

from __future__ import annotations

from typing import Any

import pytest
from support.rules import a_rule

from gatekeeper.rules import book
from gatekeeper.rules.check import Surroundings, check_rule, refusals, rules_naming
from gatekeeper.rules.rule import MAXIMUM_RULES, RuleError
from storage import nodes, rules
from storage.engine import Database
from storage.records import Node, Role

NODES = (
    Node("PACS", "pacs", 104, roles=(Role.ARCHIVE,)),
    Node("AI", "ai", 104, roles=(Role.DOWNSTREAM,)),
    Node("OLD", "old", 104, roles=(Role.ARCHIVE, Role.DOWNSTREAM), enabled=False),
    Node("CT1", "ct1", 0, roles=(Role.SCANNER,)),
)
AROUND = Surroundings({node.ae_title: node for node in NODES}, ("mr-brain",), ("ward",))


@pytest.mark.parametrize(
    "then",
    [
        {"forward": "PACS"},
        {"forward": "AI"},
        {"hold": "AI"},
        {"hold": "*"},
        {"analyse": "mr-brain"},
        {"notify": "ward"},
        {"priors": "PACS"},
        {"skip": True},
        {"priority": 5},
    ],
)
def test_a_rule_that_names_what_is_there_is_saved(then: dict[str, Any]) -> None:
    """Every action has a form that is accepted."""
    check_rule(a_rule("fine", then=[then]), AROUND)


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ({"forward": "AX"}, "no node 'AX'; there are AI, CT1, OLD, PACS"),
        ({"forward": "OLD"}, "node OLD is disabled"),
        ({"forward": "CT1"}, "node CT1 has no port"),
        ({"hold": "AX"}, "no node 'AX'"),
        ({"hold": "OLD"}, "node OLD is disabled"),
        ({"hold": "PACS"}, "PACS is not gated"),
        ({"analyse": "mr-knee"}, "no installed bundle 'mr-knee'; there are mr-brain"),
        ({"notify": "boss"}, "no channel 'boss'; there are ward"),
        ({"priors": "AX"}, "no node 'AX'"),
        ({"priors": "AI"}, "AI has not the role archive"),
        ({"priors": "OLD"}, "node OLD is disabled"),
    ],
)
def test_a_rule_that_names_what_is_not_there_is_refused(then: dict[str, Any], told: str) -> None:
    """A rule that named a deleted destination lost images in a well-known router."""
    with pytest.raises(RuleError) as caught:
        check_rule(a_rule("mine", then=[{"priority": 1}, then]), AROUND)

    assert caught.value.place == f"then[1].{next(iter(then))}"
    assert told in str(caught.value)


def test_the_archive_never_waits_for_a_verdict() -> None:
    """Forwarding to it by a rule about the verdict is refused; to others it is not."""
    late = a_rule("late", "verdict is CLEAR", then=[{"forward": "AI"}, {"forward": "PACS"}])

    assert [place for place, _ in refusals(late, AROUND)] == ["then[1].forward"]
    assert "never waits" in next(refusals(late, AROUND))[1]


def test_enabled_rules_that_name_a_node_are_found() -> None:
    """By forward, hold and priors; a disabled rule stands in nobody's way."""
    found = rules_naming(
        "PACS",
        [
            a_rule("a", then=[{"forward": "AI"}, {"forward": "PACS"}]),
            a_rule("b", then=[{"priors": "PACS"}]),
            a_rule("c", then=[{"hold": "PACS"}], enabled=False),
            a_rule("d", then=[{"hold": "*"}]),
            a_rule("e", then=[{"notify": "PACS"}]),
        ],
    )

    assert [rule.name for rule in found] == ["a", "b"]


def test_the_book_keeps_rules_in_order_and_refuses_what_does_not_fit(database: Database) -> None:
    """Saved by name, as often as wanted, up to a limit."""
    with database.begin() as tx:
        nodes.save(tx, NODES[1])
        book.save(tx, a_rule("b"), AROUND)
        book.save(tx, a_rule("a", enabled=False), AROUND)
        book.save(tx, a_rule("b", "Modality is MR", stop=True), AROUND)
        with pytest.raises(RuleError, match="no node 'AX'"):
            book.save(tx, a_rule("c", then=[{"forward": "AX"}]), AROUND)

        assert book.read_book(tx).rules == (
            a_rule("b", "Modality is MR", stop=True),
            a_rule("a", enabled=False),
        )
        for number in range(MAXIMUM_RULES - 2):
            rules.save(tx, f"more {number}", {"then": [{"skip": True}]}, enabled=True)
        book.save(tx, a_rule("a"), AROUND)
        with pytest.raises(RuleError, match="no more are allowed"):
            book.save(tx, a_rule("too many"), AROUND)


def test_a_stored_rule_that_no_longer_parses_is_named_and_logged(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are asked without it."""
    with database.begin() as tx:
        rules.save(tx, "good", {"then": [{"forward": "AI"}]}, enabled=True)
        rules.save(tx, "bad", {"when": ["Gone is 1"], "then": [{"skip": True}]}, enabled=True)
        odd: Any = ["no table"]
        rules.save(tx, "odd", odd, enabled=True)

        found = book.read_book(tx)

    assert found.rules == (a_rule("good"),)
    assert list(found.problems) == ["bad", "odd"]
    assert "'Gone' is neither" in found.problems["bad"]
    logged = capsys.readouterr()
    assert (logged.out + logged.err).count("rule_not_readable") == 2
