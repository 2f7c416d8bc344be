"""Check: whether what a rule names is there, before it is saved and by `gatekeeper check`.

That a rule is well-formed (its fields exist, each is compared as its kind allows, nothing is done
on receipt that waits for a verdict) is checked where it is made; see `gatekeeper.rules.rule`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gatekeeper.rules.document import write_action
from gatekeeper.rules.plan import Phase
from gatekeeper.rules.rule import (
    Action,
    Analyse,
    Forward,
    Hold,
    Notify,
    Priors,
    Rule,
    RuleError,
)
from storage.records import Node, Role


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rules may name.

    Attributes:
        nodes: by AE title.
        bundles: names of installed bundles.
        channels: names of channels that can be told.
    """

    nodes: Mapping[str, Node] = field(default_factory=dict[str, Node])
    bundles: Collection[str] = ()
    channels: Collection[str] = ()


def check_rule(rule: Rule, around: Surroundings) -> None:
    """Refuse a rule that names what is not there.

    Raises:
        RuleError: naming the rule, the place and what is allowed.
    """
    for place, problem in refusals(rule, around):
        raise RuleError(problem, rule.name, place)


def refusals(rule: Rule, around: Surroundings) -> Iterator[tuple[str, str]]:
    """Yield each place in a rule that names what is not there, with what is wrong."""
    for index, action in enumerate(rule.actions):
        problem = _problem(action, rule, around)
        if problem:
            [key, *_] = write_action(action)
            yield f"then[{index}].{key}", problem


def rules_naming(node: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the enabled rules that name a node, and so stand in the way of its removal."""
    return tuple(
        rule
        for rule in rules
        if rule.enabled and any(_node_of(action) == node for action in rule.actions)
    )


def _node_of(action: Action) -> str:
    return action.node if isinstance(action, Forward | Hold | Priors) else ""


def _problem(action: Action, rule: Rule, around: Surroundings) -> str:
    match action:
        case Forward(name):
            return _reached(name, around) or _forward_problem(around.nodes[name], rule)
        case Hold(name) if name:
            return _known(name, around) or _hold_problem(around.nodes[name])
        case Priors(name):
            return _reached(name, around) or _priors_problem(around.nodes[name])
        case Notify(channel):
            return _named("channel", channel, around.channels)
        case Analyse(bundle):
            return _named("installed bundle", bundle, around.bundles)
        case _:
            return ""


def _forward_problem(node: Node, rule: Rule) -> str:
    if rule.phase is Phase.JUDGED and Role.ARCHIVE in node.roles:
        return (
            f"{node.ae_title} is an archive, which never waits for a verdict; forward to it by a "
            "rule about what was received"
        )
    return ""


def _hold_problem(node: Node) -> str:
    if node.gated:
        return ""
    return f"{node.ae_title} is not gated: only a node with the role {Role.DOWNSTREAM} is held from"


def _priors_problem(node: Node) -> str:
    if Role.ARCHIVE in node.roles:
        return ""
    return f"{node.ae_title} has not the role {Role.ARCHIVE}, and priors are fetched from one"


def _reached(name: str, around: Surroundings) -> str:
    problem = _known(name, around)
    if problem or around.nodes[name].port:
        return problem
    return f"node {name} has no port, so that it cannot be called"


def _known(name: str, around: Surroundings) -> str:
    problem = _named("node", name, around.nodes)
    if problem or around.nodes[name].enabled:
        return problem
    return f"node {name} is disabled"


def _named(what: str, name: str, known: Collection[str]) -> str:
    if name in known:
        return ""
    there = f"there are {', '.join(sorted(known))}" if known else "there is none"
    return f"no {what} {name!r}; {there}"
