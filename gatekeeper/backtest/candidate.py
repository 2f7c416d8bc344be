"""Candidate: terms that are not in force, as one JSON document, and what they are over the site's.

A candidate says only what it changes: a policy, rules, models, or all of an exported
configuration. It is checked as the configuration would check it, so that what was tried can be
activated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection

from gatekeeper import config
from gatekeeper.backtest.terms import ANY_NODE, Terms
from gatekeeper.configuration import choice, policy
from gatekeeper.configuration.document import Document
from gatekeeper.errors import ConfigurationError
from gatekeeper.gate.policy import policy_by
from gatekeeper.rules.book import parse_book
from gatekeeper.rules.check import Surroundings, check_rule
from gatekeeper.rules.document import parse_rule
from gatekeeper.settings import Settings
from models.activation import ProfileKey
from models.errors import ModelError
from models.registry import BundleInfo, Registry
from storage import nodes, policies
from storage import rules as stored_rules
from storage.records import Node, Role

FALSE_HOLD_RATE = "models.false_hold_rate"
RATE_OF_PROFILE = "false_hold_rate."
"""Beginning of the keys of single profiles' rates: ``false_hold_rate.MR/BRAIN/T1``."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What would be changed.

    Attributes:
        policy: values by key, over those in force.
        rules: documents in order, in place of the rules in force; None to keep those.
        models: name of the bundle by profile, over the choice in force.
        folder: further folder of bundles; empty for none.
        gated: AE titles of the gated nodes, in place of those in force; None to keep those.
        whole: whether `policy` and `models` stand in place of all that is set, as in an exported
            configuration.
    """

    policy: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rules: Sequence[Mapping[str, Any]] | None = None
    models: Mapping[str, str] | None = None
    folder: str = ""
    gated: Sequence[str] | None = None
    whole: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """The candidate as JSON; what it leaves alone is left out."""
        found = {key: value for key, value in asdict(self).items() if value not in (None, "", {})}
        return {key: value for key, value in found.items() if value is not False}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Return the candidate of a document."""
        return cls(**dict(document))

    @property
    def in_words(self) -> str:
        """What it changes, in a line."""
        parts = [f"{key} = {value}" for key, value in dict(self.policy).items()]
        if self.rules is not None:
            parts.append(f"{len(self.rules)} rules")
        parts += [f"{name or 'nobody'} for {key}" for key, name in (self.models or {}).items()]
        if self.whole:
            parts.insert(0, "a whole configuration")
        return ", ".join(parts) or "nothing"

    def terms(self, tx: Connection, settings: Settings) -> Terms:
        """Return what studies would be decided by; without a change, what they are decided by.

        Args:
            tx: on the configuration in force.
            settings: of the site, without the policy of the database.

        Raises:
            RuleError: if a rule of the candidate does not parse.
        """
        given = {} if self.whole else policies.values(tx)
        values = given | dict(self.policy)
        found = _over(settings, values)
        own = [node.ae_title for node in nodes.listing(tx) if node.gated]
        gated = own if self.gated is None else list(self.gated)
        rules = (
            parse_book(stored_rules.listing(tx)).rules
            if self.rules is None
            else tuple(parse_rule(one) for one in self.rules)
        )
        return Terms(
            false_hold_rate=found.models.false_hold_rate,
            reference_stands_in=found.models.reference_stands_in,
            false_hold_rates=self._rates(tx, settings, values),
            policy=policy_by(found.gate),
            rules=rules,
            gated=tuple(sorted(gated)) or (ANY_NODE,),
        )

    def _rates(
        self, tx: Connection, settings: Settings, values: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return the rates of single profiles, by the name of the bundle that answers for each."""
        own = {
            key.removeprefix(RATE_OF_PROFILE): float(value)
            for key, value in values.items()
            if key.startswith(RATE_OF_PROFILE)
        }
        if not own:
            return {}
        registry = self.registry(tx, settings)
        profiles = {one.name: str(one.profile.key) for one in registry.bundles()}
        profiles |= {one.info.name: str(one.profile.key) for one in registry.answering}
        return {name: own[key] for name, key in profiles.items() if key in own}

    def registry(self, tx: Connection, settings: Settings) -> Registry:
        """Return the bundles under the candidate's choice.

        Raises:
            ModelError: if a profile of it is none.
        """
        directories = self.directories(settings)
        return Registry(directories, self.choice(tx, settings))

    def directories(self, settings: Settings) -> tuple[Path, ...]:
        """Return the folders of bundles."""
        own = (Path(self.folder),) if self.folder else ()
        return (*settings.models.directories, *own)

    def choice(self, tx: Connection, settings: Settings) -> dict[ProfileKey, str]:
        """Return the bundle by profile; raises as `registry` does."""
        in_force = {} if self.whole else dict(choice.chosen(tx, settings) or {})
        named = {ProfileKey.parse(key): name for key, name in (self.models or {}).items()}
        return in_force | named


IN_FORCE = Candidate()
"""The candidate that changes nothing."""


def of_policy(values: Mapping[str, Any]) -> Candidate:
    """Return a candidate that sets these keys.

    Raises:
        ConfigurationError: if a key may not be set, or a value breaks the rule of its setting.
    """
    return Candidate(policy={key: policy.checked(key, value) for key, value in values.items()})


def of_rules(documents: Sequence[Mapping[str, Any]], around: Surroundings) -> Candidate:
    """Return a candidate with these rules in place of all that are in force.

    Raises:
        RuleError: if one does not parse, or names what is not there.
    """
    for document in documents:
        check_rule(parse_rule(document), around)
    return Candidate(rules=[dict(document) for document in documents])


def of_model(found: BundleInfo, profile: str = "", folder: str = "") -> Candidate:
    """Return a candidate in which a bundle answers for its profile, or for a part of it.

    Raises:
        ConfigurationError: if it is not made for the profile.
    """
    try:
        key = ProfileKey.parse(profile) if profile else found.profile.key
    except ModelError as error:
        raise ConfigurationError("model", str(error)) from None
    if found.profile.narrowed(key) is None:
        raise ConfigurationError("model", f"{found.name} is made for {found.profile.key}")
    return Candidate(models={str(key): found.name}, folder=folder)


def of_configuration(document: Document, *, rules: bool) -> Candidate:
    """Return a candidate of a whole canonical configuration; see `gatekeeper.configuration`.

    Args:
        document: an empty section is left out of it.
        rules: whether rules are a section of the configuration; if not, those in force stay.
    """
    values = {
        f"{section}.{name}": value
        for section, item in document.get("policy", {}).items()
        for name, value in item.items()
    }
    listed = document.get("nodes", {})
    gated = [name for name, item in listed.items() if Role.DOWNSTREAM in item.get("roles", ())]
    listed_rules = _in_order(document.get("rules", {}))
    return Candidate(
        policy=values,
        rules=[{"name": name, **_rule(item)} for name, item in listed_rules] if rules else None,
        models={
            key: str(item.get("bundle", "")) for key, item in document.get("models", {}).items()
        },
        gated=gated,
        whole=True,
    )


def around(known: Sequence[Node], bundles: Sequence[str]) -> Surroundings:
    """Return what the rules of a candidate may name."""
    return Surroundings(nodes={node.ae_title: node for node in known}, bundles=list(bundles))


def _over(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return the settings with values by key over them; one that cannot be used is passed over."""
    known = policy.open_rows()
    for key, value in values.items():
        section, _, name = key.partition(".")
        if key not in known:
            continue
        with contextlib.suppress(ConfigurationError):
            changed = replace(
                getattr(settings, section), **{name: config.checked(known[key], value)}
            )
            settings = replace(settings, **{section: changed})
    return settings


def _in_order(items: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(items.items(), key=lambda one: (one[1].get("position", 0), one[0]))


def _rule(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "position"}
