"""Rules in the few words of a listing."""

from __future__ import annotations

from gatekeeper.rules.document import write_action
from gatekeeper.rules.plan import Phase
from gatekeeper.rules.rule import Group, Rule, Test
from gatekeeper.rules.wording import write_test


def asked(rule: Rule | None) -> str:
    """Return when a rule is asked; None for one that does not parse."""
    if rule is None:
        return "not readable"
    return ("once judged" if rule.phase is Phase.JUDGED else "on receipt") if rule.enabled else "no"


def when(rule: Rule | None, problem: str) -> str:
    """Return the condition of a rule in one line, or why it does not parse."""
    if rule is None:
        return problem
    return _words(rule.condition) or "every study"


def _words(member: Group | Test) -> str:
    if isinstance(member, Test):
        return write_test(member)
    words = (" or " if member.any else " and ").join(
        f"({_words(one)})" if isinstance(one, Group) and len(one.members) > 1 else _words(one)
        for one in member.members
    )
    return f"not ({words})" if member.negate else words


def then(rule: Rule | None) -> str:
    """Return what a rule does in one line."""
    if rule is None:
        return ""
    actions = [
        " ".join(
            str(part) for pair in write_action(action).items() for part in pair if part is not True
        )
        for action in rule.actions
    ]
    return ", ".join([*actions, *(["stop"] if rule.stop else [])])
