"""Changes: the one way in which the dynamic configuration is changed, each change a version.

A change is one transaction: the tables and the version that tells who changed them, when and why.
Two administrators at once are served one after the other. What was written past this module is
noticed, and recorded as a change by `UNKNOWN`, before the next change or by `gatekeeper check`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from sqlalchemy import Connection

from gatekeeper.configuration import choice
from gatekeeper.configuration.document import Document, digest_of
from gatekeeper.configuration.whole import Whole
from gatekeeper.errors import GatekeeperError
from gatekeeper.settings import Settings
from storage import configuration_versions as versions
from storage.engine import Database
from storage.records import ConfigurationVersion

UNKNOWN = "unknown"
"""Who made a change that did not come by way of this module."""
OURSELVES = "gatekeeper"
"""Who records the first version."""


class ConfigurationRefused(GatekeeperError):
    """A change that would bring a problem that was not there; nothing of it was kept.

    Args:
        problems: each with its section and item.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class ConfigurationMoved(GatekeeperError):
    """The configuration is at another version than the one that the change was made for."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(
            f"the configuration is at version {found}, not {expected}: look at "
            f"`gatekeeper config diff {expected} {found}`, then try again"
        )


@contextlib.contextmanager
def changing(
    database: Database,
    who: str,
    why: str,
    settings: Settings,
    *,
    expect: int | None = None,
    restored_from: int | None = None,
) -> Generator[Connection]:
    """Yield a transaction in which the configuration's tables may be changed.

    At its end the version is written, in the same transaction, unless nothing differs.

    Args:
        database: of the site.
        who: account that changes it.
        why: in a sentence, for who reads the versions.
        settings: of the site.
        expect: number of the version that is to be changed; None for whichever is in force.
        restored_from: number of the version that this change returns to.

    Raises:
        ConfigurationMoved: if `expect` is not the version in force.
        ConfigurationRefused: if the change brings a problem that was not there before.
        ConfigurationError: if the choice of an older version of Gatekeeper cannot be taken over.
        DatabaseUnavailableError: if another change is under way for too long.
    """
    whole = Whole.of(settings)
    with database.begin() as tx:
        versions.lock(tx, whole.tables)
        before = _recorded(tx, whole, settings)
        if expect is not None and expect != before.number:
            raise ConfigurationMoved(expect, before.number)
        yield tx
        after = whole.read(tx)
        digest = digest_of(after)
        if digest == before.digest:
            return
        _refuse(whole, before.document, after)
        versions.append(tx, who, why, after, digest, restored_from)


def put(
    database: Database,
    document: Document,
    who: str,
    why: str,
    settings: Settings,
    *,
    expect: int | None = None,
    restored_from: int | None = None,
) -> None:
    """Have exactly this canonical document in force; raises as `changing` does."""
    whole = Whole.of(settings)
    with changing(database, who, why, settings, expect=expect, restored_from=restored_from) as tx:
        # Before anything is written, so that a bad document is refused by name and not half-way.
        _refuse(whole, whole.read(tx), document)
        whole.write(tx, document)


def accept(database: Database, who: str, why: str, settings: Settings) -> bool:
    """Answer for what was changed past this module: the same document under a name.

    Returns:
        False when the version in force has a name already.

    Raises:
        ConfigurationError, DatabaseUnavailableError: as `changing` does.
    """
    whole = Whole.of(settings)
    with database.begin() as tx:
        versions.lock(tx, whole.tables)
        latest = _recorded(tx, whole, settings)
        if latest.who == UNKNOWN:
            versions.append(tx, who, why, latest.document, latest.digest)
        return latest.who == UNKNOWN


def noticed(database: Database, settings: Settings) -> ConfigurationVersion:
    """Return the version in force, having recorded what was changed past this module.

    Raises:
        ConfigurationError: if the choice of an older version of Gatekeeper cannot be taken over.
        DatabaseUnavailableError: if the database could not answer.
    """
    whole = Whole.of(settings)
    with database.read() as tx:
        latest = versions.latest(tx)
        if latest is not None and latest.digest == digest_of(whole.read(tx)):
            return latest
    with database.begin() as tx:
        versions.lock(tx, whole.tables)
        return _recorded(tx, whole, settings)


def _refuse(whole: Whole, before: Document, after: Document) -> None:
    """Refuse a document for the problems that the one before it does not have.

    Raises:
        ConfigurationRefused: naming all of them.
    """
    if found := whole.problems(after):
        known = whole.problems(before)
        if brought := [one for one in found if one not in known]:
            raise ConfigurationRefused(brought)


def _recorded(tx: Connection, whole: Whole, settings: Settings) -> ConfigurationVersion:
    """Return the version in force, written first where there is none of what the tables hold."""
    latest = versions.latest(tx)
    if latest is None:
        taken = choice.take_over(tx, settings)
        who, why = OURSELVES, "as it was when versions began"
        if taken:
            why += f"; {taken} active bundles taken over from {choice.FILE}"
    else:
        who, why = UNKNOWN, "changed past `gatekeeper`: written to the database directly"
    document = whole.read(tx)
    digest = digest_of(document)
    if latest is not None and latest.digest == digest:
        return latest
    return versions.append(tx, who, why, document, digest)
