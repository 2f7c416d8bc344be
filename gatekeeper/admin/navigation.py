"""The menu: every page that is not below another, in groups, with what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.identity.permission import Permission


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the menu."""

    title: str
    path: str
    icon: str
    needs: Permission = Permission.VIEW


@dataclass(frozen=True, slots=True)
class Group:
    """Lines of the menu under one heading."""

    title: str
    entries: Sequence[Entry]


MENU: Sequence[Group] = (
    Group(
        "Studies",
        (
            Entry("Overview", "/", "house"),
            Entry("Studies", "/studies", "layers"),
            Entry("Held", "/held", "sign-stop"),
            Entry("Queue", "/queue", "hourglass-split"),
        ),
    ),
    Group(
        "Judging",
        (
            Entry("Models", "/models", "cpu"),
            Entry("Drift", "/drift", "graph-up"),
        ),
    ),
    Group(
        "Site",
        (
            Entry("Nodes", "/nodes", "hdd-network"),
            Entry("Rules", "/rules", "funnel"),
            Entry("Configuration", "/configuration", "clock-history"),
            Entry("Settings", "/settings", "sliders"),
            Entry("Accounts", "/accounts", "people", Permission.ACCOUNTS),
        ),
    ),
    Group(
        "Watching",
        (
            Entry("Health", "/watch", "heart-pulse"),
            Entry("Audit", "/audit", "journal-text", Permission.AUDIT),
        ),
    ),
)
