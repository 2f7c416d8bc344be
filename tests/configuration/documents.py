"""Documents of every shape that the sections know, for properties."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gatekeeper.configuration.document import Document
from gatekeeper.configuration.whole import Whole
from gatekeeper.notify.events import Event
from gatekeeper.results.kinds import KINDS
from gatekeeper.settings import Settings
from storage.records import Confirm, Details, Role

SETTINGS = Settings()
WHOLE = Whole.of(SETTINGS)

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_titles = st.text("ABCDEFGHJK-_0123456789", min_size=1, max_size=16)
_nodes = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["10.1.2.3", "localhost", "pacs.hospital.example"]),
        "port": st.integers(0, 65535),
    },
    optional={
        "may_send": st.booleans(),
        "receives_results": st.booleans(),
        "networks": st.lists(st.sampled_from(["10.0.0.0/8", "fd00::/8"]), max_size=2),
        "quiet_seconds": st.floats(0, 1e6) | st.integers(0, 100),
        "enabled": st.booleans(),
        "description": _texts,
        "objects": st.lists(st.sampled_from(sorted(KINDS)), max_size=3, unique=True),
        "language": st.sampled_from(["en", "de"]),
        "tls": st.booleans(),
        "certificate": st.sampled_from(["", "ab" * 32]),
        "confirm": st.sampled_from([one.value for one in Confirm]),
        "roles": st.lists(st.sampled_from([one.value for one in Role]), max_size=2, unique=True),
        "receives_studies": st.booleans(),
    },
)
_bundles = {"MR/BRAIN/T1": "mr-brain-t1", "mr/brain/flair": "mr-brain-flair-atlas"}
_models = {
    profile: st.fixed_dictionaries(
        {"bundle": st.sampled_from(["", name])},
        optional={"digest": st.sampled_from(["a" * 64, "b" * 64])},
    )
    for profile, name in _bundles.items()
}
_channels = st.fixed_dictionaries(
    {"kind": st.just("email"), "address": st.just("mri@hospital.example")},
    optional={
        "events": st.lists(st.sampled_from([str(one) for one in Event]), max_size=2, unique=True),
        "details": st.sampled_from([one.value for one in Details]),
        "enabled": st.booleans(),
    },
)
_rules = st.fixed_dictionaries(
    {
        "then": st.lists(
            st.sampled_from([{"skip": True}, {"hold": "*", "hours": 4}, {"priority": "urgent"}]),
            min_size=1,
            max_size=2,
            unique_by=str,
        )
    },
    optional={
        "when": st.lists(
            st.sampled_from(
                ["Modality is MR", {"any": ["source is CT1", {"none": ["source is CT2"]}]}]
            ),
            max_size=2,
        ),
        "position": st.integers(1, 5),
        "enabled": st.booleans(),
        "stop": st.booleans(),
        "description": st.text("aä \"\\'#\n", max_size=5),
    },
)
_rates = st.floats(0.0001, 0.5, allow_nan=False)


def stated() -> st.SearchStrategy[dict[str, Any]]:
    """Return configurations as a person may write them: with defaults, 5 for 5.0."""
    return st.fixed_dictionaries(
        {},
        optional={
            "nodes": st.dictionaries(_titles, _nodes.map(_workable), max_size=4),
            "channels": st.dictionaries(st.sampled_from(["mri", "it.duty"]), _channels),
            "rules": st.dictionaries(st.sampled_from(["motion", "at night"]), _rules),
            "models": st.fixed_dictionaries({}, optional=_models),
            "policy": st.just({})
            | _rates.map(
                lambda rate: {
                    "models": {"false_hold_rate": rate},
                    "false_hold_rate": {"MR/BRAIN/T1": rate},
                }
            ),
        },
    )


def documents() -> st.SearchStrategy[Document]:
    """Return canonical documents."""
    return stated().map(WHOLE.parse)


def _workable(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node without the fields that do not go together, and with a port where it needs one.

    See `gatekeeper.peering.problem`.
    """
    kept: dict[str, Any] = node | {"may_send": True}
    roles = [one for one in node.get("roles", []) if one != Role.DOWNSTREAM]
    if Role.ARCHIVE in roles:
        kept["roles"] = roles
    receives = node.get("receives_results") or node.get("receives_studies")
    called = receives or set(kept.get("roles", [])) - {Role.SCANNER}
    if called:
        kept["port"] = node["port"] or 104
    else:
        kept.pop("confirm", None)
    if not node.get("receives_results"):
        kept.pop("objects", None)
        kept.pop("language", None)
    return kept
