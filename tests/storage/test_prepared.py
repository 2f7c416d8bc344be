"""Statements that the driver runs: the same rows and the same errors as through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError

from storage import instances
from storage.engine import Database, insert_on
from storage.prepared import Prepared
from storage.records import Instance
from storage.schema import association_study, instance

LINKING = Prepared(
    lambda dialect: insert_on(dialect, association_study).values(
        study_instance_uid=bindparam("study"), association_id=bindparam("association")
    )
)
SIZES = Prepared(
    lambda _dialect: select(instance.c.size, instance.c.own_result).where(
        instance.c.sop_instance_uid == bindparam("uid"), instance.c.removed_at.is_(None)
    )
)


def test_rows_are_returned_in_the_order_of_their_columns(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """Nothing for what is not there; a boolean is as good as a number."""
    made = an_instance()
    with database.begin() as tx:
        instances.record(tx, made, None)
        [found] = SIZES.run(tx, {"uid": made.sop_instance_uid})
        assert SIZES.run(tx, {"uid": "9.9"}) == []

    assert tuple(found) == (made.size, made.own_result)


def test_what_the_schema_forbids_is_sqlalchemys_error_and_undoes_the_transaction(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """A link to an association that is not there; the next transaction is none the worse."""
    with pytest.raises(IntegrityError), database.begin() as tx:
        instances.record(tx, an_instance(), None)
        LINKING.run(tx, {"study": "1.2.999", "association": 99})

    with database.begin() as tx:
        assert instances.count(tx) == 0
        assert instances.record(tx, an_instance(), None).new
