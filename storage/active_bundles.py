"""Active bundles: which one the site has chosen for which profile."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from storage.engine import facts, insert
from storage.records import ActiveBundle
from storage.schema import active_bundle as table


def save(tx: Connection, chosen: ActiveBundle) -> None:
    """Choose a bundle for a profile, in place of the one chosen before."""
    values = {"bundle": chosen.bundle, "digest": chosen.digest}
    tx.execute(
        insert(tx, table)
        .values(profile=chosen.profile, **values)
        .on_conflict_do_update(index_elements=[table.c.profile], set_=values)
    )


def remove(tx: Connection, profile: str) -> bool:
    """Leave a profile to the default; False when nothing was chosen for it."""
    return tx.execute(delete(table).where(table.c.profile == profile)).rowcount == 1


def listing(tx: Connection) -> list[ActiveBundle]:
    """Return all choices in the order of their profiles."""
    rows = tx.execute(select(table)).mappings()
    return sorted((ActiveBundle(**facts(row)) for row in rows), key=lambda one: one.profile)
