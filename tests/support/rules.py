"""Rules and facts for tests, written as a person writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatekeeper.rules.document import parse_rule
from gatekeeper.rules.facts import SeriesFacts, StudyFacts, Values
from gatekeeper.rules.fields import field_of
from gatekeeper.rules.rule import Rule
from gatekeeper.rules.values import of_text


def a_rule(name: str = "rule", *when: Any, then: Any = None, **fields: Any) -> Rule:
    """Return a rule that forwards to AI, or does what `then` says."""
    document = {"name": name, "when": list(when), "then": then or [{"forward": "AI"}], **fields}
    return parse_rule(document)


def typed(given: Mapping[str, Any]) -> Values:
    """Return values of fields from words: a list for several."""
    found: dict[str, Any] = {}
    for name, words in given.items():
        several = words if isinstance(words, list | tuple) else [words]
        kind = field_of(name).kind
        read = (of_text(kind, str(one)) for one in several)
        found[name] = tuple(one for one in read if one is not None)
    return found


def a_study(*series: Mapping[str, Any], **study: Any) -> StudyFacts:
    """Return a study with these fields, and its series, numbered from 1.1 on, with theirs."""
    return StudyFacts(
        "1",
        typed(study),
        tuple(
            SeriesFacts(f"1.{number}", typed(given)) for number, given in enumerate(series, start=1)
        ),
    )
